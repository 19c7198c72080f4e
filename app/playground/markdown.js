// Shows the part of Markdown that model cards use. It makes elements and text only, so nothing in a card can run.

import { h } from "./dom.js";

const PICTURE = /^!\[([^\]]*)\]\(([\w.-]+)\)/;

/**
 * @param {string} text
 * @param {(alt: string, file: string) => Node} picture
 * @returns {Node[]}
 */
export function markdown(text, picture) {
  /** @type {Node[]} */
  const made = [];
  for (const block of text.replaceAll("\r", "").split(/\n{2,}/)) {
    const lines = block.split("\n").filter((line) => line.trim());
    const first = lines[0] ?? "";
    const heading = /^(#{1,6}) (.*)/.exec(first);
    if (!first || heading?.[1] === "#") continue;
    if (heading) made.push(h("h3", {}, inline(heading[2] ?? "", picture)));
    else if (first.startsWith("|")) made.push(table(lines, picture));
    else if (first.startsWith("- "))
      made.push(
        h(
          "ul",
          {},
          lines.map((line) => h("li", {}, inline(line.replace(/^- /, ""), picture))),
        ),
      );
    else made.push(h("p", {}, inline(lines.join(" "), picture)));
  }
  return made;
}

/**
 * @param {string[]} lines
 * @param {(alt: string, file: string) => Node} picture
 */
function table(lines, picture) {
  const rows = lines.map(cells).filter((row) => !row.every((cell) => /^:?-+:?$/.test(cell)));
  const [head = [], ...body] = rows;
  const made = h(
    "tbody",
    {},
    body.map(([name = "", ...rest]) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, inline(name, picture)),
        rest.map((cell) => h("td", {}, inline(cell, picture))),
      ),
    ),
  );
  const isNamed = head.some(Boolean);
  const top =
    isNamed &&
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        head.map((cell) => (cell ? h("th", { scope: "col" }, inline(cell, picture)) : h("td"))),
      ),
    );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" },
    h("table", { class: isNamed ? "figures" : "facts" }, top, made),
  );
}

/** @param {string} line */
const cells = (line) =>
  line
    .replace(/^\||\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll("\\|", "|"));

/**
 * @param {string} text
 * @param {(alt: string, file: string) => Node} picture
 * @returns {(Node | string)[]}
 */
function inline(text, picture) {
  /** @type {(Node | string)[]} */
  const made = [];
  let plain = "";
  for (let at = 0; at < text.length;) {
    const rest = text.slice(at);
    const code = /^`([^`]+)`/.exec(rest);
    const shown = PICTURE.exec(rest);
    const found = code ?? shown;
    if (!found) {
      plain += text[at++];
      continue;
    }
    if (plain) made.push(plain);
    plain = "";
    made.push(code ? h("code", {}, code[1]) : picture(shown?.[1] ?? "", shown?.[2] ?? ""));
    at += found[0].length;
  }
  return plain ? [...made, plain] : made;
}
