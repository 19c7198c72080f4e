// Draws states as a heat map: a row for each step, a column for each unit, a colour for each value.
//
// A row is a canvas one pixel high and a pixel wide for each unit. The browser scales it, so it is crisp on any screen.

import { h, numbers, spoken, symbolOf } from "./dom.js";

const SHADES = 128;

/** @type {Uint8ClampedArray | null} Colours from the least value to the largest, four bytes each. */
let colours = null;
const repaint = new Set();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  colours = null;
  for (const each of [...repaint]) if (!each()) repaint.delete(each);
});

function scale() {
  if (colours) return colours;
  const style = getComputedStyle(document.documentElement);
  const [negative, zero, positive] = ["--negative", "--zero", "--positive"].map((name) =>
    style.getPropertyValue(name).trim().split(/\s+/).map(Number),
  );
  colours = new Uint8ClampedArray((2 * SHADES + 1) * 4);
  for (let shade = -SHADES; shade <= SHADES; shade++) {
    const end = shade < 0 ? negative : positive;
    const share = (Math.abs(shade) / SHADES) ** 0.85;
    const place = (shade + SHADES) * 4;
    for (let part = 0; part < 3; part++) {
      colours[place + part] = (zero?.[part] ?? 0) * (1 - share) + (end?.[part] ?? 0) * share;
    }
    colours[place + 3] = 255;
  }
  return colours;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number[]} values
 * @param {number[]} order
 * @param {number} most
 */
function paint(canvas, values, order, most) {
  const image = new ImageData(order.length, 1);
  const all = scale();
  order.forEach((unit, x) => {
    const share = Math.max(-1, Math.min(1, (values[unit] ?? 0) / most));
    const place = (Math.round(share * SHADES) + SHADES) * 4;
    image.data.set(all.subarray(place, place + 4), x * 4);
  });
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

/**
 * Units sorted by the step at which they are strongest.
 * @param {number[][]} rows
 */
export function byPeak(rows) {
  const units = inOrder(rows);
  const peaks = units.map((unit) => {
    let best = 0;
    rows.forEach((row, step) => {
      if (Math.abs(row[unit] ?? 0) > Math.abs(rows[best]?.[unit] ?? 0)) best = step;
    });
    return best + (1 - (rows[best]?.[unit] ?? 0)) / 4; // positive ones before negative ones
  });
  return units.sort((one, other) => (peaks[one] ?? 0) - (peaks[other] ?? 0));
}

/** @param {number[][]} rows */
export const inOrder = (rows) => (rows[0] ?? []).map((_, unit) => unit);

/**
 * @param {{
 *   label: string, rows: number[][], symbols: (string | number)[], side: "source" | "target", order: number[],
 *   most?: number
 * }} given `most` is the value of the strongest colour
 */
export function heatmap({ label, rows, symbols, side, order, most = 1 }) {
  const readout = h("output", { class: "readout" });
  const cross = h("div", { class: "cross", hidden: true });
  const canvases = rows.map(() => h("canvas", { width: order.length, height: 1, "aria-hidden": "true" }));
  const lines = rows.map((_, step) =>
    h(
      "div",
      { class: "heat-row", [`data-${side}`]: step },
      h("span", {}, symbolOf(symbols[step] ?? "")),
      canvases[step],
    ),
  );
  const map = h(
    "div",
    {
      class: "heat",
      tabindex: "0",
      role: "group",
      "aria-label": `${label}: ${rows.length} steps of ${order.length} units. The arrow keys read single values.`,
      "--steps": rows.length,
      onkeydown,
      onpointermove,
      onpointerleave: clear,
      onblur: clear,
    },
    lines,
    cross,
  );
  let at = { step: 0, place: -1 };

  function draw() {
    canvases.forEach((canvas, step) => paint(canvas, rows[step] ?? [], order, most));
    return map.isConnected;
  }

  /**
   * @param {number} step
   * @param {number} place
   */
  function show(step, place) {
    at = { step, place };
    const unit = order[place] ?? 0;
    const value = (rows[step]?.[unit] ?? 0).toFixed(2).replace("-", "−");
    readout.textContent = `step ${step + 1}, ${spoken(symbols[step] ?? "")}, unit ${unit + 1}: ${value}`;
    const canvas = canvases[step];
    if (!canvas) return;
    const width = canvas.clientWidth / order.length;
    cross.hidden = false;
    cross.style.left = `${canvas.offsetLeft + place * width}px`;
    cross.style.width = `${Math.max(width, 2)}px`;
  }

  function clear() {
    cross.hidden = true;
    readout.textContent = "";
  }

  /** @param {PointerEvent} event */
  function onpointermove(event) {
    const row = /** @type {Element} */ (event.target).closest(".heat-row");
    const step = row ? lines.indexOf(/** @type {HTMLDivElement} */ (row)) : -1;
    const box = canvases[step]?.getBoundingClientRect();
    if (!box || event.clientX < box.left || event.clientX >= box.right) return;
    show(step, Math.floor(((event.clientX - box.left) / box.width) * order.length));
  }

  /** @param {KeyboardEvent} event */
  function onkeydown(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[/** @type {keyof typeof moves} */ (event.key)];
    if (!move) return;
    event.preventDefault();
    const step = Math.max(0, Math.min(rows.length - 1, at.step + (at.place < 0 ? 0 : (move[0] ?? 0))));
    show(step, Math.max(0, Math.min(order.length - 1, at.place + (move[1] ?? 0))));
  }

  draw();
  repaint.add(draw);
  return h("div", { class: "heat-block" }, map, readout, numbers("The numbers as a table", table));

  function table() {
    const head = h(
      "tr",
      {},
      h("th", { scope: "col" }, "step"),
      inOrder(rows).map((unit) => h("th", { scope: "col" }, unit + 1)),
    );
    const body = rows.map((row, step) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, symbolOf(symbols[step] ?? "")),
        row.map((value) => h("td", {}, value.toFixed(2))),
      ),
    );
    return h(
      "table",
      { class: "figures" },
      h("caption", {}, `${label}, a column for each unit`),
      h("thead", {}, head),
      h("tbody", {}, body),
    );
  }
}

/**
 * What the colours mean.
 * @param {number} [most]
 */
export function legend(most = 1) {
  const end = Number.isInteger(most) ? String(most) : most.toFixed(2);
  return h(
    "div",
    { class: "legend" },
    h("span", {}, `−${end}`),
    h("i", { class: "ramp", "aria-hidden": "true" }),
    h("span", {}, `+${end}`),
  );
}
