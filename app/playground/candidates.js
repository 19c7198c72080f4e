// Draws what the network would write at each position, as bars; each bar is a button that asks "what if".

import { h, percent, symbolOf } from "./dom.js";

/** @typedef {import("./api.js").Step} Step */

/**
 * Whether a symbol was forced against the network's own choice.
 * @param {Step} step
 */
export const isChanged = (step) => step.is_forced && step.symbol !== step.candidates[0]?.symbol;

/**
 * @param {Step[]} steps
 * @param {(place: number, symbol: string | number) => void} force
 */
export function candidates(steps, force) {
  return h(
    "ol",
    { class: "positions" },
    steps.map((step, place) =>
      h(
        "li",
        { "data-target": place, class: isChanged(step) ? "changed" : false },
        h("h3", {}, h("span", { class: "unseen" }, "Position "), place + 1, isChanged(step) && h("em", {}, "forced")),
        h(
          "ul",
          {},
          shown(step).map((each) => h("li", {}, bar(place, step, each, force))),
        ),
      ),
    ),
  );
}

/**
 * The candidates, and the symbol that was forced though it is none of them.
 * @param {Step} step
 */
function shown(step) {
  const isListed = step.candidates.some((each) => each.symbol === step.symbol);
  return isListed ? step.candidates : [...step.candidates.slice(0, 4), step];
}

/**
 * @param {number} place
 * @param {Step} step
 * @param {import("./api.js").Candidate} candidate
 * @param {(place: number, symbol: string | number) => void} force
 */
function bar(place, step, { symbol, probability }, force) {
  const isWritten = symbol === step.symbol;
  return h(
    "button",
    {
      type: "button",
      class: "bar",
      "data-key": `position ${place} ${symbol}`,
      "aria-pressed": String(isWritten),
      "--share": probability.toFixed(4),
      onclick: () => force(place, symbol),
    },
    symbolOf(symbol),
    h("span", { class: "unseen" }, ", "),
    h("span", { class: "share" }, likelihood(probability)),
  );
}

/**
 * A probability for people. One that was rounded to 0 is not nothing.
 * @param {number} probability
 */
const likelihood = (probability) => percent(probability || 1e-9);
