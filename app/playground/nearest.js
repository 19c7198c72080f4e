// Shows which known examples the network holds for most alike: their embeddings, from many dimensions to two.

import { askIfOffered } from "./api.js";
import { h, replace, svg } from "./dom.js";
import { requestOf, requestText, textOf } from "./form.js";

/** @typedef {import("./api.js").Details} Details */
/** @typedef {Record<string, any>} Request */
/** @typedef {{ request: Request, answer: any, embedding: number[] }} Known */
/** @typedef {{ known: Known[], centre: number[], axes: number[][] }} Space */

const NEAREST = 5;
const SIZE = 320;

/** @type {WeakMap<Details, Promise<Space | null>>} */
const spaces = new WeakMap();

/**
 * Fills `place` for a request; gives false where the model has no embeddings to show.
 * @param {HTMLElement} place
 * @param {Details} model
 * @param {Request} given
 * @param {(request: Request) => void} choose
 * @param {AbortSignal} signal
 */
export async function showNearest(place, model, given, choose, signal) {
  let made = spaces.get(model);
  if (!made) {
    made = spaceOf(model);
    spaces.set(model, made);
    made.catch(() => spaces.delete(model));
  }
  const space = await made;
  if (!space) return false;
  const answer = await askIfOffered(model.name, "embed", { version: model.version }, given, signal);
  if (!answer) return false;
  /** @type {number[]} */
  const own = answer.embedding;
  const near = space.known
    .map((each) => ({ ...each, alike: cosine(minus(own, space.centre), minus(each.embedding, space.centre)) }))
    .sort((one, other) => other.alike - one.alike)
    .slice(0, NEAREST);
  const list = h(
    "ol",
    { class: "near" },
    near.map(({ request, answer: written, alike }, rank) =>
      h(
        "li",
        {},
        h(
          "button",
          {
            type: "button",
            class: "bar",
            "--share": Math.max(0, alike).toFixed(3),
            "data-key": `near ${rank}`,
            onclick: () => choose(request),
          },
          h("span", { class: "symbol" }, `${requestText(model.interface, request)} → ${textOf(written)}`),
          h("span", { class: "share" }, alike.toFixed(2)),
        ),
      ),
    ),
  );
  replace(place, scatter(space, own, near, (request) => requestText(model.interface, request), given), list);
  return true;
}

/**
 * @param {Details} model
 * @returns {Promise<Space | null>}
 */
async function spaceOf(model) {
  const { input, outputs } = model.interface;
  if (model.examples.length < 3) return null;
  const requests = model.examples.map((each) => requestOf(model.interface, each));
  const values = requests.map((each) => (Object.keys(each).length > 1 ? each : each[input.name]));
  const answer = await askIfOffered(model.name, "embed/batch", { version: model.version }, { [input.plural]: values });
  if (!answer) return null;
  const first = outputs[0]?.name ?? "";
  /** @type {Known[]} */
  const known = answer.results.flatMap((/** @type {any} */ each, /** @type {number} */ place) =>
    each.embedding ? [{ request: requests[place] ?? {}, answer: model.examples[place]?.[first], embedding: each.embedding }] : [],
  );
  const centre = (known[0]?.embedding ?? []).map((_, unit) => mean(known.map((each) => each.embedding[unit] ?? 0)));
  return { known, centre, axes: mainAxes(known.map((each) => minus(each.embedding, centre))) };
}

/** @param {number[]} values */
const mean = (values) => values.reduce((sum, each) => sum + each, 0) / values.length;

/**
 * @param {number[]} one
 * @param {number[]} other
 */
const dot = (one, other) => one.reduce((sum, each, place) => sum + each * (other[place] ?? 0), 0);

/**
 * @param {number[]} one
 * @param {number[]} other
 */
const minus = (one, other) => one.map((each, place) => each - (other[place] ?? 0));

/**
 * @param {number[]} one
 * @param {number[]} other
 */
const cosine = (one, other) => dot(one, other) / (Math.sqrt(dot(one, one) * dot(other, other)) || 1);

/**
 * The two directions in which points differ most, by power iteration.
 * @param {number[][]} points
 */
function mainAxes(points) {
  /** @type {number[][]} */
  const axes = [];
  for (let count = 0; count < 2; count++) {
    let axis = (points[count] ?? []).map((each, place) => each + ((place % 7) - 3) / 100);
    for (let turn = 0; turn < 40; turn++) {
      const shares = points.map((point) => dot(point, axis));
      let next = axis.map((_, unit) => shares.reduce((sum, share, row) => sum + share * (points[row]?.[unit] ?? 0), 0));
      for (const found of axes) {
        const along = dot(next, found);
        next = next.map((each, unit) => each - along * (found[unit] ?? 0));
      }
      const length = Math.sqrt(dot(next, next)) || 1;
      axis = next.map((each) => each / length);
    }
    axes.push(axis);
  }
  return axes;
}

/**
 * @param {Space} space
 * @param {number[]} own
 * @param {Known[]} near
 * @param {(request: Request) => string} shown
 * @param {Request} given
 */
function scatter(space, own, near, shown, given) {
  /** @param {number[]} embedding */
  const flat = (embedding) => space.axes.map((axis) => dot(minus(embedding, space.centre), axis));
  const points = space.known.map((each) => flat(each.embedding));
  const mine = flat(own);
  const all = [...points, mine];
  const least = [0, 1].map((axis) => Math.min(...all.map((point) => point[axis] ?? 0)));
  const most = [0, 1].map((axis) => Math.max(...all.map((point) => point[axis] ?? 0)));
  /** @param {number[]} point */
  const at = (point) =>
    point.map(
      (each, axis) => 16 + ((each - (least[axis] ?? 0)) / ((most[axis] ?? 0) - (least[axis] ?? 0) || 1)) * (SIZE - 32),
    );
  const close = new Set(near.map((each) => each.embedding));
  const [x, y] = at(mine);
  return svg(
    "svg",
    {
      class: "scatter",
      viewBox: `0 0 ${SIZE} ${SIZE}`,
      role: "img",
      "aria-label": `A map of ${points.length} known examples; the nearest to ${shown(given)} are in the list`,
    },
    near.map((each) => {
      const [x2, y2] = at(flat(each.embedding));
      return svg("line", { x1: x, y1: y, x2, y2 });
    }),
    points.map((point, place) => {
      const [cx, cy] = at(point);
      const known = space.known[place];
      return svg(
        "circle",
        { cx, cy, r: 4, class: known && close.has(known.embedding) ? "close" : "" },
        svg("title", {}, known ? shown(known.request) : ""),
      );
    }),
    svg("circle", { cx: x, cy: y, r: 7, class: "own" }, svg("title", {}, shown(given))),
  );
}
