// The view in which one asks a model: the value, the answer, and pictures of what the network did.

import { Offline, Problem, askIfOffered, details, json, modelPath, symbolsRead } from "./api.js";
import { attentionMap } from "./attention.js";
import { candidates, isChanged } from "./candidates.js";
import { compareFigure } from "./compare.js";
import { copyButton, figure, h, intro, milliseconds, percent, replace, symbolOf } from "./dom.js";
import { briefEvidence } from "./evidence.js";
import { placeOf, requestOf, room, textOf, valueOf } from "./form.js";
import { byPeak, heatmap, inOrder, legend } from "./heatmap.js";
import { showNearest } from "./nearest.js";
import { picker } from "./picker.js";
import { code, curlLine, pythonLines } from "./share.js";
import { write } from "./state.js";

/** @typedef {import("./api.js").Summary} Summary */
/** @typedef {import("./api.js").Details} Details */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./app.js").Context} Context */
/** @typedef {import("./api.js").Answer} Answer */

const TYPING_MS = 30;
const CALM_MS = 180;
const REMEMBER_MS = 900;
const SLOW_MS = 250;
const RETRY_S = 2;
const MOST_REMEMBERED = 20;
const NO_ATTENTION =
  "This network cannot look back. All that it knows as it writes is what it kept in mind after the last symbol: " +
  "the last row below.";

/** @param {Context} context */
export function askView(context) {
  /** @type {State} */
  let state = context.state;
  /** @type {Summary} */
  let model = /** @type {Summary} */ (context.models[0]);
  /** @type {Answer | null} The answer that the pictures are of. */
  let answer = null;
  /** @type {{ key: string, text: string } | null} What the model answers if nothing is forced. */
  let natural = null;
  let answered = "";
  let isSorted = false;
  let lighted = "";
  let turn = 0;
  let stop = new AbortController();
  let timers = /** @type {number[]} */ ([]);
  /** @type {{ link: string, value: string, text: string, model: string }[]} */
  const past = [];

  // The value

  const label = h("label", { for: "value" });
  const about = h("p", { id: "value-about" });
  const input = h("input", {
    id: "value",
    type: "text",
    autocomplete: "off",
    autocapitalize: "off",
    autocorrect: "off",
    spellcheck: "false",
    "aria-describedby": "value-error value-room value-about",
    oninput: () => typed(),
    onscroll: () => (mirror.scrollLeft = input.scrollLeft),
  });
  const mirror = h("div", { class: "mirror", "aria-hidden": "true" });
  const fault = h("p", { id: "value-error", class: "fault", role: "status" });
  const left = h("p", { id: "value-room", class: "room" });
  const options = h("div", { class: "options" });
  const random = h("button", { type: "button", class: "quiet", onclick: tryAnother }, "Another example");

  // The answer

  const written = h("output", { for: "value", class: "written" });
  const certainty = h("div", { class: "certainty" });
  const verdict = h("p", { class: "verdict" });
  const time = h("p", { class: "time" });
  const whatIf = h("div", { class: "what-if", role: "status" });
  const result = h("div", { class: "result" }, written, certainty, whatIf, verdict, time);

  // The pictures

  const positions = figure(
    "positions",
    "What it would write",
    "At each position the network weighs every symbol that it knows; the bars show the likeliest. " +
      "Press another one to ask what would follow if it had written that.",
  );
  const others = h("div", { class: "others" });
  const attention = figure(
    "attention",
    "Where it looks",
    "A row is a symbol that was written, a column one that was read. " +
      "The stronger the colour, the more the network looked there as it wrote.",
  );
  const memory = figure(
    "states",
    "What it keeps in mind",
    "The network remembers in units: numbers between −1 and 1, each a column. A row is a step, from top to bottom: " +
      "see which units change when a symbol comes in.",
  );
  const sort = h("input", {
    type: "checkbox",
    id: "sorted",
    onchange: () => ((isSorted = sort.checked), drawStates()),
  });
  memory.caption.append(
    legend(),
    h("p", { class: "choice" }, sort, h("label", { for: "sorted" }, "Sort units by when they peak")),
  );
  const compare = compareFigure(
    (text) => context.go({ compare: text }),
    ask2,
    (but) => anExample([input.value, but]).then((found) => found && textOf(found[model.interface.input.name])),
  );
  const nearest = figure(
    "nearest",
    "What it holds for alike",
    "After reading, the memory is a point in many dimensions, drawn here in the two that tell most. " +
      "The nearer a known example lies, the more alike the two are to the network.",
  );
  const along = figure(
    "along",
    "Take it with you",
    "This view as a link, and the same question for a shell and for Python.",
  );
  const history = figure(
    "history",
    "Asked before",
    "What you asked on this visit, the latest first. It is kept in this page only.",
  );
  history.root.hidden = true;
  const pictures = h(
    "div",
    { class: "pictures", hidden: true },
    positions.root,
    attention.root,
    memory.root,
    compare.root,
    nearest.root,
  );
  const models = picker(context, (name) =>
    context.go({ model: name, version: "", value: null, prefix: [], compare: null, options: {} }, true),
  );
  const versions = h("select", {
    id: "version",
    onchange: () => context.go({ version: versions.value, prefix: [] }, true),
  });
  const versionRow = h("p", { class: "version" }, h("label", { for: "version" }, "Version"), versions);

  const root = h(
    "div",
    { class: "ask" },
    intro(
      "Watch a network read, and write",
      "Each model here is a pair of small LSTM networks. One reads what you type, symbol by symbol, and keeps what matters. " +
        "The other writes the answer from that memory. All you see below is what they really computed, just now.",
    ),
    h(
      "section",
      { class: "figure", "aria-label": "Model" },
      h("div", { class: "margin" }, h("h2", {}, "Choose a model"), versionRow),
      models.root,
    ),
    h(
      "section",
      { class: "figure instrument", "aria-label": "Question" },
      h("div", { class: "margin" }, h("h2", {}, label), about),
      h(
        "div",
        { class: "picture" },
        h("div", { class: "field" }, mirror, input),
        fault,
        options,
        h("div", { class: "under" }, left, random),
      ),
    ),
    h(
      "section",
      { class: "figure instrument answer", "aria-label": "Answer" },
      h("div", { class: "margin" }, h("h2", {}, "The network writes")),
      h("div", { class: "picture" }, result),
    ),
    pictures,
    along.root,
    history.root,
  );
  root.addEventListener("pointerover", light);
  root.addEventListener("focusin", light);
  root.addEventListener("pointerleave", () => lit(null, null));

  return { root, show, refresh: () => ask(0) };

  // What is shown

  /** @param {State} wanted */
  function show(wanted) {
    const found = context.models.find((each) => each.name === wanted.model) ?? context.models[0];
    if (!found) return;
    const isOther = found !== model || wanted.version !== state.version || !input.value;
    const before = keyOf(state);
    state = { ...wanted, model: found.name };
    model = found;
    if (isOther) showModel();
    const field = model.interface.input;
    const value = state.value ?? (model.example ? textOf(model.example[field.name]) : "");
    if (input.value !== value) input.value = value;
    for (const each of options.querySelectorAll("input")) {
      const given = state.options[each.name] ?? "";
      if (each.value !== given) each.value = given;
    }
    compare.show(state.compare, model);
    if (isOther || before !== keyOf(state) || !answer) ask(0);
  }

  function showModel() {
    const field = model.interface.input;
    models.mark(model.name);
    label.textContent = `You give: ${field.name}`;
    about.textContent = sentence(field.description);
    input.inputMode = [field.schema.type].flat().includes("integer") ? "numeric" : "text";
    replace(options, model.interface.options.map(optionRow));
    versionRow.hidden = model.versions.length < 2;
    replace(
      versions,
      [...model.versions].reverse().map((each) => h("option", { value: each }, each)),
    );
    versions.value = state.version || model.version;
    answer = null;
    answered = "";
    natural = null;
    pictures.hidden = along.root.hidden = true;
    nearest.root.hidden = true;
    replace(others);
  }

  /** @param {import("./api.js").Field} option */
  function optionRow({ name, schema, description }) {
    const id = `option-${name}`;
    const given = h("input", {
      id,
      name,
      type: "text",
      autocomplete: "off",
      placeholder: String(schema.default ?? ""),
      inputMode: [schema.type].flat().includes("integer") ? "numeric" : "text",
      "aria-describedby": `${id}-about value-error`,
      oninput: () => typed(),
    });
    return h("p", {}, h("label", { for: id }, name), given, h("span", { id: `${id}-about` }, sentence(description)));
  }

  function typed() {
    const given = [...options.querySelectorAll("input")].map((each) => [each.name, each.value.trim()]);
    state = { ...state, value: input.value, prefix: [], options: Object.fromEntries(given) };
    context.note(state);
    ask(TYPING_MS);
  }

  /** @param {Record<string, any>} request */
  function choose(request) {
    put(request);
    input.focus({ preventScroll: true });
    root.querySelector(".instrument")?.scrollIntoView({ block: "nearest" });
  }

  /** @param {Record<string, any>} request */
  function put(request) {
    const given = model.interface.options.filter(({ name }) => name in request);
    const texts = given.map(({ name }) => [name, textOf(request[name])]);
    const value = textOf(request[model.interface.input.name]);
    context.go({ value, prefix: [], options: Object.fromEntries(texts) });
  }

  async function tryAnother() {
    const example = await anExample([input.value]);
    if (example) put(requestOf(model.interface, example));
  }

  /**
   * An example that the model is known to answer.
   * @param {string[]} but none with these values
   */
  async function anExample(but) {
    const field = model.interface.input.name;
    const known = await details(model.name, state.version).then(
      (found) => found.examples,
      () => [],
    );
    const others = known.filter((each) => !but.includes(textOf(each[field])));
    return others[Math.floor(Math.random() * others.length)];
  }

  /**
   * @param {number} place
   * @param {string | number} symbol
   */
  function force(place, symbol) {
    const steps = answer?.steps ?? [];
    const natural = steps[place]?.candidates[0]?.symbol === symbol;
    const isUndone = steps[place]?.symbol === symbol && steps[place]?.is_forced;
    const before = steps.slice(0, place).map((each) => each.symbol);
    const keeps = steps.slice(0, place).some(isChanged);
    context.go({ prefix: isUndone || natural ? (keeps ? before : []) : [...before, symbol] });
  }

  // Asking

  /**
   * The request for a value, with the options as they stand.
   * @param {string} text
   * @returns {Record<string, unknown>}
   */
  function body(text = input.value) {
    const { input: field, options: known } = model.interface;
    const given = known.filter(({ name }) => state.options[name]);
    const values = given.map(({ name, schema }) => [name, valueOf(state.options[name] ?? "", schema)]);
    return { [field.name]: valueOf(text, field.schema), ...Object.fromEntries(values) };
  }

  /** @param {number} wait */
  function ask(wait) {
    stop.abort();
    stop = new AbortController();
    timers.forEach(clearTimeout);
    const mine = ++turn;
    const signal = stop.signal;
    later(() => run(mine, signal), wait);
    const space = room(input.value, model.interface.input.schema);
    left.textContent = space?.words ?? "";
    left.classList.toggle("over", space !== null && !space.fits);
  }

  /**
   * @param {() => void} act
   * @param {number} wait
   */
  function later(act, wait) {
    timers.push(setTimeout(act, wait));
  }

  /**
   * @param {Record<string, unknown>} given
   * @param {AbortSignal} signal
   * @param {(string | number)[]} prefix
   * @returns {Promise<Answer>}
   */
  async function answerTo(given, signal, prefix) {
    const query = { version: state.version };
    const asked = prefix.length ? { ...given, prefix } : given;
    const explained = await askIfOffered(model.name, "explain", query, asked, signal);
    return explained ?? json(modelPath(model.name, "predict", query), { body: given, signal });
  }

  /**
   * @param {number} mine
   * @param {AbortSignal} signal
   */
  async function run(mine, signal) {
    const slow = setTimeout(() => root.classList.add("waiting"), SLOW_MS);
    const began = performance.now();
    const given = body();
    try {
      const found = await answerTo(given, signal, state.prefix);
      if (mine !== turn) return;
      const seconds = (performance.now() - began) / 1000;
      context.works();
      draw(found, seconds, given);
      later(() => more(mine, signal, given), CALM_MS);
      later(() => remember(found), REMEMBER_MS);
    } catch (error) {
      if (mine === turn) fail(/** @type {Error} */ (error));
    } finally {
      clearTimeout(slow);
      if (mine === turn) root.classList.remove("waiting");
    }
  }

  /** @param {Error} error */
  function fail(error) {
    const isOfValue = error instanceof Problem && error.status === 422;
    const isOfPrefix = isOfValue && error.faults.some((each) => each.pointer.startsWith("/prefix"));
    const isOfService = error instanceof Offline || (error instanceof Problem && error.status === 401);
    root.classList.add("stale");
    replace(written, "—");
    replace(certainty);
    replace(whatIf, isOfPrefix && [h("p", {}, error.message), release()]);
    verdict.textContent = "";
    time.textContent = answer ? `The pictures below are of ${answered}, the last value that was answered.` : "";
    fault.textContent = isOfService || isOfPrefix ? "" : error.message;
    mark(isOfValue && !isOfPrefix ? error.faults : []);
    input.setAttribute("aria-invalid", String(isOfValue && !isOfPrefix));
    if (isOfService) {
      context.fails(error);
      return;
    }
    context.works();
    if (error instanceof Problem && [429, 503, 504].includes(error.status)) {
      const wait = error.retryAfter || RETRY_S;
      fault.textContent += ` Asking again in ${wait} s.`;
      later(() => ask(0), wait * 1000);
    }
  }

  /** @param {import("./api.js").Fault[]} faults */
  function mark(faults) {
    const text = input.value;
    const place = faults[0] && placeOf(faults[0], text, model.interface.input.schema);
    if (!place) replace(mirror);
    else replace(mirror, text.slice(0, place[0]), h("mark", {}, text.slice(...place) || " "), text.slice(place[1]));
    mirror.scrollLeft = input.scrollLeft;
  }

  // Drawing

  /**
   * @param {Answer} found
   * @param {number} seconds
   * @param {Record<string, unknown>} given
   */
  function draw(found, seconds, given) {
    answer = found;
    answered = input.value;
    root.classList.remove("stale");
    pictures.hidden = along.root.hidden = false;
    fault.textContent = "";
    input.removeAttribute("aria-invalid");
    mark([]);
    const [first, ...rest] = model.interface.outputs;
    const text = textOf(first && found[first.name]);
    const key = keyOf({ ...state, prefix: [] });
    if (!state.prefix.length) natural = { key, text };
    replace(
      written,
      h("span", { class: "value" }, text),
      rest.map(
        (field) =>
          textOf(found[field.name]) !== text &&
          h("span", { class: "aside" }, `${field.name}: ${textOf(found[field.name])}`),
      ),
    );
    replace(
      certainty,
      h("span", { class: "meter", "--share": found.confidence, "aria-hidden": "true" }),
      h(
        "span",
        {},
        h("b", {}, percent(found.confidence)),
        state.prefix.length ? " likely, given what you forced" : " sure",
      ),
    );
    time.textContent = `${milliseconds(seconds)}, there and back. ${found.model?.name ?? model.name}, version ${found.model?.version ?? model.version}.`;
    drawWhatIf(text, key);
    drawVerdict(found, first && found[first.name]);
    drawSteps(found);
    drawStates();
    drawAlong(given, first?.name ?? "");
    compare.draw(found, isSorted);
  }

  /**
   * @param {string} text
   * @param {string} key
   */
  async function drawWhatIf(text, key) {
    const place = (answer?.steps ?? []).findLastIndex(isChanged);
    const step = answer?.steps?.[place];
    if (!step) return replace(whatIf);
    const own = step.candidates[0];
    const forced = h(
      "span",
      {},
      `What if position ${place + 1} were `,
      symbolOf(step.symbol),
      own ? " and not " : "",
      own ? symbolOf(own.symbol) : "",
      "? ",
    );
    const told = h("span", {});
    replace(whatIf, h("p", {}, forced, told), release());
    if (natural?.key !== key) {
      const mine = turn;
      const found = await answerTo(body(), stop.signal, []).catch(() => null);
      if (mine !== turn || !found) return;
      natural = { key, text: textOf(found[model.interface.outputs[0]?.name ?? ""]) };
    }
    told.textContent = natural.text === text ? "The answer stays the same." : `Left alone, it writes ${natural.text}.`;
  }

  function release() {
    const undo = () => context.go({ prefix: [] });
    return h("button", { type: "button", class: "quiet", "data-key": "release", onclick: undo }, "Leave it alone");
  }

  /**
   * @param {Answer} found
   * @param {unknown} value
   */
  async function drawVerdict(found, value) {
    if ("truth" in found) {
      const isRight = JSON.stringify(found.truth) === JSON.stringify(value);
      verdict.className = isRight ? "verdict right" : "verdict wrong";
      verdict.textContent = isRight ? "Right: the truth is the same." : `Wrong: the truth is ${textOf(found.truth)}.`;
      return;
    }
    const mine = turn;
    const known = await details(model.name, state.version).catch(() => null);
    if (mine !== turn || !known) return;
    const { words, isProven } = briefEvidence(known.evaluation);
    verdict.className = isProven && !state.prefix.length ? "verdict right" : "verdict";
    verdict.textContent = state.prefix.length ? "" : words;
  }

  /** @param {Answer} found */
  function drawSteps(found) {
    const steps = found.steps;
    positions.root.hidden = memory.root.hidden = attention.root.hidden = compare.root.hidden = !steps;
    if (!steps) {
      time.textContent += " This model shows its answers only, not how it came to them.";
      return;
    }
    replace(positions.body, candidates(steps, force), others);
    const hasAttention = steps.some((each) => each.attention);
    attention.root.classList.toggle("none", !hasAttention);
    replace(attention.body, hasAttention ? attentionMap(symbolsRead(found), steps) : h("p", {}, NO_ATTENTION));
  }

  function drawStates() {
    if (!answer?.steps) return;
    const { encoder_states: reading, decoder_states: writing, steps } = answer;
    const order = isSorted ? byPeak : inOrder;
    const maps = [
      { title: "while it reads", rows: reading, symbols: symbolsRead(answer), side: /** @type {const} */ ("source") },
      {
        title: "while it writes",
        rows: writing,
        symbols: steps.map((each) => each.symbol),
        side: /** @type {const} */ ("target"),
      },
    ];
    replace(
      memory.body,
      h(
        "div",
        { class: "pair" },
        maps.map(({ title, rows, symbols, side }) =>
          h(
            "div",
            {},
            h("h3", {}, title),
            heatmap({ label: `States ${title}`, rows, symbols, side, order: order(rows) }),
          ),
        ),
      ),
    );
    compare.draw(answer, isSorted);
  }

  /**
   * @param {Record<string, unknown>} given
   * @param {string} output
   */
  function drawAlong(given, output) {
    replace(
      along.body,
      h(
        "p",
        {},
        copyButton("Copy the link to this view", () => location.href),
      ),
      code("curl", curlLine(model.name, state.version, given)),
      code("Python", pythonLines(model.name, state.version, given, output)),
    );
  }

  /**
   * What may take longer, once the reader has stopped typing.
   * @param {number} mine
   * @param {AbortSignal} signal
   * @param {Record<string, unknown>} given
   */
  async function more(mine, signal, given) {
    const known = await details(model.name, state.version).catch(() => null);
    if (!known || mine !== turn) return;
    const near = showNearest(nearest.body, known, given, choose, signal).then(
      (isShown) => mine === turn && (nearest.root.hidden = !isShown),
      () => {},
    );
    if (model.n_best && !state.prefix.length) {
      const query = { version: state.version, n_best: Math.min(5, model.n_best) };
      const found = await json(modelPath(model.name, "predict", query), { body: given, signal }).catch(() => null);
      if (mine === turn && found?.alternatives) drawOthers(found.alternatives);
    } else replace(others);
    await near;
  }

  /** @param {Answer[]} found */
  function drawOthers(found) {
    const first = model.interface.outputs[0]?.name ?? "";
    replace(
      others,
      h("h3", {}, "Whole answers"),
      h(
        "p",
        {},
        "A search keeps the likeliest beginnings and follows each to its end. These are the answers that it finds.",
      ),
      h(
        "ol",
        {},
        found.map((each) =>
          h(
            "li",
            { class: "bar", "--share": each.confidence },
            h("span", { class: "symbol" }, textOf(each[first])),
            h("span", { class: "share" }, percent(each.confidence)),
          ),
        ),
      ),
    );
  }

  /** @param {Answer} found */
  function remember(found) {
    const link = write({ ...state, value: input.value });
    const text = textOf(found[model.interface.outputs[0]?.name ?? ""]);
    const known = past.findIndex((each) => each.link === link);
    if (known >= 0) past.splice(known, 1);
    const given = Object.entries(state.options).filter(([, each]) => each);
    const value = [input.value, ...given.map((each) => each.join(" "))].join("; ");
    past.unshift({ link, value, text, model: model.name });
    past.length = Math.min(past.length, MOST_REMEMBERED);
    history.root.hidden = false;
    replace(
      history.body,
      h(
        "ol",
        { class: "past" },
        past.map((each) =>
          h(
            "li",
            {},
            h(
              "a",
              { href: each.link },
              h("span", { class: "symbol" }, `${each.value} → ${each.text}`),
              h("small", {}, each.model),
            ),
          ),
        ),
      ),
    );
  }

  // Two inputs

  /**
   * @param {string} text
   * @param {AbortSignal} signal
   */
  async function ask2(text, signal) {
    return answerTo(body(text), signal, []);
  }

  // Rows and columns light up together

  /** @param {Event} event */
  function light(event) {
    const found = /** @type {Element} */ (event.target).closest("[data-source], [data-target]");
    lit(found?.getAttribute("data-source") ?? null, found?.getAttribute("data-target") ?? null);
  }

  /**
   * @param {string | null} source
   * @param {string | null} target
   */
  function lit(source, target) {
    const wanted = `${source} ${target}`;
    if (wanted === lighted) return;
    lighted = wanted;
    for (const each of root.querySelectorAll(".lit")) each.classList.remove("lit");
    const all = [source !== null && `[data-source="${source}"]`, target !== null && `[data-target="${target}"]`];
    const wished = all.filter(Boolean).join(", ");
    if (wished) for (const each of pictures.querySelectorAll(wished)) each.classList.add("lit");
  }
}

/** @param {string} text */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/**
 * What an answer depends on.
 * @param {State} state
 */
const keyOf = (state) => write({ ...state, view: "ask", compare: null });
