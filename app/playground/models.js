// The view of the models: what is known of each, its card and plots, its versions and its files.

import { details, hasKey, modelPath, request, ROOT } from "./api.js";
import { bytesOf, copyButton, grouped, h, intro, replace } from "./dom.js";
import { evidenceFigure } from "./evidence.js";
import { requestText, textOf } from "./form.js";
import { markdown } from "./markdown.js";

/** @typedef {import("./api.js").Details} Details */
/** @typedef {import("./app.js").Context} Context */
/** @typedef {import("./state.js").State} State */

const CARD = "report/card.md";

/** @param {Context} context */
export function modelsView(context) {
  const list = h("div", { class: "bundles" });
  const contents = h("ul", { class: "contents" });
  const root = h(
    "div",
    { class: "models" },
    intro(
      "What is known of each model",
      "A model is a folder, sealed when it was trained. It holds the networks, what was found out about their answers, " +
        "and the SHA-256 of every file. The service checks all of it before it serves a model.",
      h("nav", { "aria-label": "Models on this page" }, contents),
    ),
    list,
  );
  let shown = "";
  return { root, show, refresh: () => show(context.state, true) };

  /**
   * @param {State} state
   * @param {boolean} [isAnew]
   */
  async function show(state, isAnew = false) {
    const wanted = `${state.model}/${state.version}`;
    if (shown === wanted && !isAnew) return;
    shown = wanted;
    const parts = context.models.map((model) => {
      const version = model.name === state.model ? state.version : "";
      const part = h(
        "article",
        { class: "bundle", "aria-label": model.name },
        h("p", { class: "loading" }, `Asking for ${model.name} …`),
      );
      const loaded = details(model.name, version).then(
        (found) => (context.works(), replace(part, ...bundle(found, context))),
        (error) => (
          context.fails(error),
          replace(part, h("h2", {}, model.name), h("p", { class: "fault" }, error.message))
        ),
      );
      const link = h("a", { href: `#view=models&model=${encodeURIComponent(model.name)}`, onclick: jump }, model.name);
      /** @param {Event} event */
      function jump(event) {
        event.preventDefault();
        part.scrollIntoView();
        /** @type {HTMLElement | null} */ (part.querySelector("h2"))?.focus({ preventScroll: true });
      }
      return { name: model.name, part, loaded, link };
    });
    replace(
      contents,
      parts.map(({ link }) => h("li", {}, link)),
    );
    replace(
      list,
      parts.map(({ part }) => part),
    );
    await Promise.allSettled(parts.map(({ loaded }) => loaded));
    parts.find(({ name }) => name === state.model && name !== context.models[0]?.name)?.part.scrollIntoView();
  }
}

/**
 * @param {Details} model
 * @param {Context} context
 */
function bundle(model, context) {
  const { input, options, outputs } = model.interface;
  const network = model.network;
  const units = (/** @type {number[]} */ given) => given.join(" and ");
  const facts = [
    ["takes", [input, ...options].map((field) => `${field.name}: ${field.description}`).join("; ")],
    ["gives", outputs.map((field) => `${field.name}: ${field.description}`).join("; ")],
    [
      "network",
      `${String(network.family).replaceAll("_", " ")}; ${units(network.encoder_units)} units read, ${units(network.decoder_units)} write`,
    ],
    ["weights", grouped(network.parameters)],
    ["reads up to", `${model.lengths.source} symbols of ${model.vocabularies.source?.symbols.length ?? "?"} kinds`],
    ["writes up to", `${model.lengths.target} symbols of ${model.vocabularies.target?.symbols.length ?? "?"} kinds`],
    ["evidence", model.evaluation.sentence],
  ];
  const version = h(
    "p",
    { class: "versions" },
    model.versions.length > 1 ? "Versions: " : "Version ",
    model.versions.map((each) => versionLink(model, each, context)),
  );
  const ask = h(
    "a",
    { class: "ask-it", href: `#model=${encodeURIComponent(model.name)}&version=${model.version}`, onclick: go },
    "Ask this model",
  );
  /** @param {Event} event */
  function go(event) {
    event.preventDefault();
    context.go(
      { view: "ask", model: model.name, version: model.version, value: null, prefix: [], compare: null, options: {} },
      true,
    );
  }
  return [
    h("div", { class: "margin" }, h("h2", { tabindex: "-1" }, model.name), version, h("p", {}, ask)),
    h(
      "div",
      { class: "picture" },
      evidenceFigure(model.evaluation),
      h(
        "table",
        { class: "facts" },
        h("caption", { class: "unseen" }, `Facts of ${model.name}`),
        h(
          "tbody",
          {},
          facts.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value))),
        ),
      ),
      examples(model),
      plots(model),
      CARD in model.files && cardOf(model),
      files(model),
    ),
  ];
}

/**
 * @param {Details} model
 * @param {string} version
 * @param {Context} context
 */
function versionLink(model, version, context) {
  if (version === model.version) return h("b", {}, version, " ");
  const link = h("a", { href: `#view=models&model=${encodeURIComponent(model.name)}&version=${version}` }, version);
  link.addEventListener("click", (event) => {
    event.preventDefault();
    context.go({ model: model.name, version }, true);
  });
  return h("span", {}, link, " ");
}

/** @param {Details} model */
function examples(model) {
  const { outputs } = model.interface;
  const shown = model.examples.slice(0, 6);
  return h(
    "details",
    {},
    h("summary", {}, `Examples that it must always answer alike (${model.examples.length})`),
    h(
      "ul",
      { class: "samples" },
      shown.map((each) =>
        h("li", { class: "symbol" }, `${requestText(model.interface, each)} → ${textOf(each[outputs[0]?.name ?? ""])}`),
      ),
    ),
  );
}

/**
 * A file of the report as a picture. A browser sends no key for one, so where a key is needed the page gets it itself.
 * @param {Details} model
 * @param {string} file
 * @param {string} alt
 */
function picture(model, file, alt) {
  const path = modelPath(model.name, `report/${encodeURIComponent(file)}`, { version: model.version });
  const image = h("img", { alt, loading: "lazy", decoding: "async" });
  if (!hasKey()) image.src = new URL(path, ROOT).href;
  else
    request(path)
      .then((answer) => answer.blob())
      .then((blob) => {
        const reader = new FileReader();
        reader.onload = () => (image.src = String(reader.result));
        reader.readAsDataURL(blob);
      })
      .catch(() => (image.alt = `${alt} (the picture could not be loaded)`));
  return image;
}

/** @param {Details} model */
function plots(model) {
  const names = Object.keys(model.files).filter((path) => /^report\/[\w.-]+\.png$/.test(path));
  if (!names.length) return null;
  const shown = names.map((path) => {
    const file = path.replace("report/", "");
    const name = file.replace(/\.png$/, "").replaceAll(/[-_]/g, " ");
    return h("figure", {}, picture(model, file, `Plot: ${name}`), h("figcaption", {}, name));
  });
  return h(
    "details",
    {},
    h("summary", {}, `Plots of its training (${names.length})`),
    h("div", { class: "plots" }, shown),
  );
}

/** @param {Details} model */
function cardOf(model) {
  const place = h("div", { class: "card" });
  const made = h("details", {}, h("summary", {}, "Model card"), place);
  made.addEventListener("toggle", async () => {
    if (!made.open || place.firstChild) return;
    replace(place, h("p", { class: "loading" }, "Asking for the card …"));
    try {
      const answer = await request(modelPath(model.name, "report/card.md", { version: model.version }));
      replace(
        place,
        markdown(await answer.text(), (alt) => h("i", {}, `(plot: ${alt}, above)`)),
      );
    } catch (error) {
      replace(place, h("p", { class: "fault" }, /** @type {Error} */ (error).message));
    }
  });
  return made;
}

/** @param {Details} model */
function files(model) {
  const entries = Object.entries(model.files);
  const total = entries.reduce((sum, [, { size }]) => sum + size, 0);
  const rows = entries.map(([path, { size, sha256 }]) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, path),
      h("td", { class: "number" }, bytesOf(size)),
      h(
        "td",
        {},
        h("code", { title: sha256 }, sha256.slice(0, 16), "…"),
        " ",
        copyButton("Copy", () => sha256),
      ),
    ),
  );
  return h(
    "details",
    {},
    h("summary", {}, `Files (${entries.length}, ${bytesOf(total)}) with SHA-256`),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "group", "aria-label": `Files of ${model.name}` },
      h(
        "table",
        { class: "figures files" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "file"),
            h("th", { scope: "col" }, "size"),
            h("th", { scope: "col" }, "SHA-256"),
          ),
        ),
        h("tbody", {}, rows),
      ),
    ),
  );
}
