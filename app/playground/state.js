// What the page shows, as it stands in the address after #, so that a link reopens it.

/**
 * @typedef {{
 *   view: string, model: string, version: string, value: string | null, prefix: (string | number)[],
 *   compare: string | null, options: Record<string, string>
 * }} State
 */

/** @type {State} */
export const EMPTY = { view: "ask", model: "", version: "", value: null, prefix: [], compare: null, options: {} };

/**
 * @param {string} fragment
 * @returns {State}
 */
export function read(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  const view = given.get("view") ?? "ask";
  return {
    view: ["ask", "models", "live"].includes(view) ? view : "ask",
    model: given.get("model") ?? "",
    version: given.get("version") ?? "",
    value: given.get("value"),
    prefix: symbolsOf(given.get("prefix")),
    compare: given.get("compare"),
    options: optionsOf(given.get("options")),
  };
}

/**
 * @param {string | null} text
 * @returns {Record<string, string>}
 */
function optionsOf(text) {
  try {
    const given = Object.entries(JSON.parse(text ?? "{}") ?? {});
    return Object.fromEntries(given.filter(([, each]) => typeof each === "string" && each));
  } catch {
    return {};
  }
}

/** @param {string | null} text */
function symbolsOf(text) {
  try {
    const given = JSON.parse(text ?? "[]");
    return Array.isArray(given) ? given.filter((each) => ["string", "number"].includes(typeof each)) : [];
  } catch {
    return [];
  }
}

/** @param {State} state */
export function write(state) {
  const given = new URLSearchParams();
  if (state.view !== "ask") given.set("view", state.view);
  if (state.model) given.set("model", state.model);
  if (state.version) given.set("version", state.version);
  if (state.value !== null) given.set("value", state.value);
  if (state.prefix.length) given.set("prefix", JSON.stringify(state.prefix));
  if (state.compare !== null) given.set("compare", state.compare);
  if (Object.values(state.options).some(Boolean)) given.set("options", JSON.stringify(state.options));
  return `#${given}`;
}
