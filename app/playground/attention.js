// Draws attention as a map: a row for each written symbol, a column for each symbol that was read.

import { h, percent, symbolOf } from "./dom.js";

/** @typedef {import("./api.js").Step} Step */

/**
 * @param {(string | number)[]} source
 * @param {Step[]} steps
 */
export function attentionMap(source, steps) {
  const isLong = source.some((symbol) => String(symbol).length > 2);
  const head = source.map((symbol, place) =>
    h("th", { scope: "col", "data-source": place }, h("span", {}, symbolOf(symbol))),
  );
  const rows = steps.map((step, row) =>
    h(
      "tr",
      {},
      h("th", { scope: "row", "data-target": row }, symbolOf(step.symbol)),
      (step.attention ?? []).map((share, place) =>
        h(
          "td",
          { "data-source": place, "data-target": row, "--share": share.toFixed(3), title: percent(share) },
          h("span", { class: "unseen" }, percent(share)),
        ),
      ),
    ),
  );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": "Attention map" },
    h(
      "table",
      { class: isLong ? "attention long" : "attention" },
      h(
        "caption",
        { class: "unseen" },
        "Share of attention: rows are written symbols, columns are symbols that were read",
      ),
      h("thead", {}, h("tr", {}, h("td", { class: "corner" }), head)),
      h("tbody", {}, rows),
    ),
  );
}
