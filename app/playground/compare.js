// Puts two inputs side by side, and shows which states differ.

import { Problem, symbolsRead } from "./api.js";
import { figure, h, replace, spoken } from "./dom.js";
import { textOf } from "./form.js";
import { byPeak, heatmap, inOrder, legend } from "./heatmap.js";

/** @typedef {import("./api.js").Answer} Answer */

const WAIT_MS = 60;
const MOST_UNITS = 6;

/**
 * @param {(text: string | null) => void} changed
 * @param {(text: string, signal: AbortSignal) => Promise<Answer>} ask
 * @param {(but: string) => Promise<string | undefined>} example
 */
export function compareFigure(changed, ask, example) {
  const made = figure(
    "compare",
    "Two inputs side by side",
    "Type a second value. The third map is the first minus the second: " +
      "where it is pale, the network holds both for the same.",
  );
  const input = h("input", {
    id: "second",
    type: "text",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    "aria-describedby": "second-error",
    oninput: () => changed(input.value),
  });
  const random = h("button", { type: "button", class: "quiet", onclick: tryAnother }, "An example");
  const fault = h("p", { id: "second-error", class: "fault", role: "status" });
  const maps = h("div", { class: "maps" });
  made.body.append(
    h("div", { class: "second" }, h("label", { for: "second" }, "Second value"), input, random),
    fault,
    maps,
  );
  /** @type {Answer | null} */
  let one = null;
  /** @type {Answer | null} */
  let other = null;
  let isSorted = false;
  let asked = "";
  let output = "";
  let stop = new AbortController();
  let timer = 0;

  return { root: made.root, show, draw };

  /**
   * @param {string | null} text
   * @param {import("./api.js").Summary} model
   */
  function show(text, model) {
    output = model.interface.outputs[0]?.name ?? "";
    if (input.value !== (text ?? "")) input.value = text ?? "";
    const wanted = JSON.stringify([model.name, model.version, text]);
    if (wanted === asked) return;
    asked = wanted;
    stop.abort();
    clearTimeout(timer);
    if (!text) {
      other = null;
      fault.textContent = "";
      redraw();
      return;
    }
    stop = new AbortController();
    const { signal } = stop;
    timer = setTimeout(() => run(text, signal), WAIT_MS);
  }

  /**
   * @param {string} text
   * @param {AbortSignal} signal
   */
  async function run(text, signal) {
    try {
      const found = await ask(text, signal);
      if (signal.aborted) return;
      other = found.steps ? found : null;
      fault.textContent = "";
    } catch (error) {
      if (signal.aborted) return;
      other = null;
      asked = "";
      fault.textContent = error instanceof Problem ? error.message : "The service does not answer.";
    }
    redraw();
  }

  /**
   * @param {Answer} answer
   * @param {boolean} sorted
   */
  function draw(answer, sorted) {
    one = answer;
    isSorted = sorted;
    redraw();
  }

  async function tryAnother() {
    const text = await example(input.value);
    if (text !== undefined) changed(text);
  }

  function redraw() {
    if (!one?.steps || !other?.steps) {
      replace(maps);
      return;
    }
    const pairs = [
      {
        title: "while reading",
        side: /** @type {const} */ ("source"),
        rows: [one.encoder_states, other.encoder_states],
        symbols: [symbolsRead(one), symbolsRead(other)],
      },
      {
        title: "while writing",
        side: /** @type {const} */ ("target"),
        rows: [one.decoder_states, other.decoder_states],
        symbols: [one.steps.map((each) => each.symbol), other.steps.map((each) => each.symbol)],
      },
    ];
    replace(maps, pairs.map(compared));
  }

  /** @param {{ title: string, side: "source" | "target", rows: number[][][], symbols: (string | number)[][] }} given */
  function compared({ title, side, rows: [first = [], second = []], symbols: [read = [], read2 = []] }) {
    const order = (isSorted ? byPeak : inOrder)(first);
    const steps = Math.min(first.length, second.length);
    const difference = first
      .slice(0, steps)
      .map((row, step) => row.map((value, unit) => value - (second[step]?.[unit] ?? 0)));
    const most = Math.max(0.1, ...difference.map((row) => Math.max(...row.map(Math.abs))));
    const both = difference.map((_, step) =>
      read[step] === read2[step] ? (read[step] ?? "") : `${spoken(read[step] ?? "")} · ${spoken(read2[step] ?? "")}`,
    );
    return h(
      "div",
      { class: "triple" },
      block(
        `${textOf(one?.[output])}, ${title}`,
        heatmap({ label: `First input ${title}`, rows: first, symbols: read, side, order }),
      ),
      block(
        `${textOf(other?.[output])}, ${title}`,
        heatmap({ label: `Second input ${title}`, rows: second, symbols: read2, side, order }),
      ),
      block(
        "the difference",
        heatmap({ label: `Difference ${title}`, rows: difference, symbols: both, side, order, most }),
        legend(most),
        differing(difference),
      ),
    );
  }
}

/**
 * @param {string} title
 * @param {...Node} content
 */
const block = (title, ...content) => h("div", {}, h("h3", {}, title), content);

/** @param {number[][]} difference */
function differing(difference) {
  const units = inOrder(difference).map((unit) => {
    const values = difference.map((row) => Math.abs(row[unit] ?? 0));
    const most = Math.max(...values);
    return { unit, most, step: values.indexOf(most) };
  });
  units.sort((one, other) => other.most - one.most);
  const words = units
    .slice(0, MOST_UNITS)
    .map(({ unit, most, step }) => `${unit + 1} (by ${most.toFixed(2)} at step ${step + 1})`);
  return h("p", { class: "differing" }, `Units that differ most: ${words.join(", ")}.`);
}
