// Makes elements and puts words together. Text is always text: nothing here reads markup.

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * An element with its attributes, listeners (`onclick: …`) and children.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/**
 * The same for drawings.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Child | Child[])} children
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

/**
 * @template {Element} Made
 * @param {Made} element
 * @param {Record<string, any>} properties
 * @param {(Child | Child[])[]} children
 */
function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) /** @type {any} */ (element).style.setProperty(name, String(value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(.../** @type {(Node | string)[]} */ (children.flat().filter((child) => child || child === 0)));
  return element;
}

/**
 * Puts other children in place of those that there are. Focus stays on what has the same `data-key`.
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function replace(element, ...children) {
  const active = document.activeElement;
  const key = active && element.contains(active) ? active.getAttribute("data-key") : null;
  element.replaceChildren(
    .../** @type {(Node | string)[]} */ (children.flat().filter((child) => child || child === 0)),
  );
  if (key) /** @type {HTMLElement | null} */ (element.querySelector(`[data-key="${CSS.escape(key)}"]`))?.focus();
}

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** @param {number} value */
export const grouped = (value) => GROUPED.format(value);

/**
 * A probability for people: never 100% unless it is, never 0% unless it is.
 * @param {number} share
 */
export function percent(share) {
  if (share === 0 || share === 1) return `${share * 100}%`;
  if (share < 0.001) return "<0.1%";
  if (share > 0.999) return ">99.9%";
  return `${(share * 100).toFixed(1)}%`;
}

/** @param {number} seconds */
export function milliseconds(seconds) {
  const value = seconds * 1000;
  return `${value < 10 ? value.toFixed(1) : grouped(value)} ms`;
}

/** @param {number} bytes */
export function bytesOf(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;
}

/**
 * How a symbol is shown: a blank and a space would not be seen.
 * @param {string | number} symbol
 * @returns {HTMLElement}
 */
export function symbolOf(symbol) {
  if (symbol === "") return h("i", { class: "blank" }, "blank");
  if (symbol === " ") return h("i", { class: "blank" }, "space");
  return h("b", { class: "symbol" }, String(symbol));
}

/**
 * What a view begins with.
 * @param {string} title
 * @param {string} lede
 * @param {...(Child | Child[])} more
 */
export const intro = (title, lede, ...more) =>
  h("div", { class: "intro" }, h("h1", {}, title), h("p", { class: "lede" }, lede), ...more);

/**
 * The same in words.
 * @param {string | number} symbol
 */
export const spoken = (symbol) => (symbol === "" ? "blank" : symbol === " " ? "space" : String(symbol));

/**
 * A figure of the page: what it is, two lines that say what one is looking at, and its picture.
 * @param {string} id
 * @param {string} title
 * @param {string} about
 * @param {...(Child | Child[])} picture
 */
export function figure(id, title, about, ...picture) {
  const heading = h("h2", { id: `${id}-title` }, title);
  const caption = h("div", { class: "margin" }, heading, h("p", {}, about));
  const body = h("div", { class: "picture" }, ...picture);
  return {
    root: h("section", { class: "figure", id, "aria-labelledby": `${id}-title` }, caption, body),
    caption,
    body,
  };
}

/**
 * A table that is made when somebody opens it, for those who want the numbers or cannot see the picture.
 * @param {string} label
 * @param {() => Node} make
 */
export function numbers(label, make) {
  const place = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label });
  const details = h("details", { class: "numbers" }, h("summary", {}, label), place);
  details.addEventListener("toggle", () => {
    if (details.open && !place.firstChild) place.append(make());
  });
  return details;
}

/**
 * A button that copies a text and says so.
 * @param {string} label
 * @param {() => string} text
 */
export function copyButton(label, text) {
  const said = h("span", { role: "status" });
  const button = h("button", { type: "button", class: "quiet", onclick: copy }, label);
  async function copy() {
    try {
      await navigator.clipboard.writeText(text());
      said.textContent = "Copied";
    } catch {
      said.textContent = "The browser does not let a page copy here";
    }
    setTimeout(() => (said.textContent = ""), 2000);
  }
  return h("span", { class: "copy" }, button, said);
}
