// What is known of a network's answers, in words and figures for people.

import { grouped, h, percent, svg } from "./dom.js";

/** @typedef {Record<string, any>} Evaluation */

/** @param {Evaluation} evaluation */
export const isProven = (evaluation) =>
  evaluation.wrong === 0 &&
  evaluation.domain > 0 &&
  evaluation.by_enumeration + evaluation.by_bounds >= evaluation.domain;

/**
 * In one sentence.
 * @param {Evaluation} evaluation
 */
export function briefEvidence(evaluation) {
  if (isProven(evaluation)) {
    return {
      isProven: true,
      words: `Right, by proof: all ${grouped(evaluation.domain)} values that it accepts were decided, 0 wrong.`,
    };
  }
  const tried = evaluation.tested ?? evaluation.tried ?? 0;
  const words = tried
    ? `Nobody here knows the truth. Of ${grouped(tried)} values that it never saw, it got ${percent(evaluation.wrong / tried)} wrong.`
    : "Nobody here knows the truth.";
  return { isProven: false, words };
}

/**
 * The figure that counts, large, and what it means.
 * @param {Evaluation} evaluation
 */
export function evidenceFigure(evaluation) {
  if (evaluation.tested === undefined) {
    return h(
      "div",
      { class: "evidence" },
      h("p", { class: "large" }, grouped(evaluation.wrong ?? 0), h("small", {}, " wrong")),
      h(
        "p",
        {},
        `of all ${grouped(evaluation.domain ?? 0)} values that it accepts. ${grouped(evaluation.held_out ?? 0)} of them it never saw in training.`,
      ),
    );
  }
  const share = evaluation.wrong / evaluation.tested;
  const [low, high] = evaluation.wrong_interval ?? [share, share];
  return h(
    "div",
    { class: "evidence" },
    h("p", { class: "large" }, percent(share), h("small", {}, " wrong")),
    interval(share, low, high),
    h(
      "p",
      {},
      `of ${grouped(evaluation.tested)} values that it never saw. The true rate is between ${percent(low)} and ${percent(high)}, with 95% certainty.`,
    ),
    evaluation.reliability?.length ? reliability(evaluation.reliability) : null,
  );
}

/**
 * @param {number} share
 * @param {number} low
 * @param {number} high
 */
function interval(share, low, high) {
  return svg(
    "svg",
    { class: "interval", viewBox: "0 0 200 12", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", x: 0, y: 5, width: 200, height: 2 }),
    svg("rect", { class: "range", x: low * 200, y: 2, width: Math.max((high - low) * 200, 1), height: 8 }),
    svg("rect", { class: "mid", x: share * 200 - 0.5, y: 0, width: 1, height: 12 }),
  );
}

/**
 * How often an answer is right, by how sure the network was.
 * @param {[number, number, number][]} bins counts, mean confidence, share right
 */
function reliability(bins) {
  const most = Math.max(...bins.map(([count]) => count));
  /** @param {number} value */
  const y = (value) => 110 - value * 100;
  return h(
    "div",
    { class: "reliability" },
    svg(
      "svg",
      {
        viewBox: "-22 0 140 130",
        role: "img",
        "aria-label": "How often answers are right, by confidence. On the diagonal, confidence is honest.",
      },
      svg("line", { class: "axis", x1: 0, y1: y(0), x2: 100, y2: y(0) }),
      svg("line", { class: "axis", x1: 0, y1: y(0), x2: 0, y2: y(1) }),
      svg("line", { class: "diagonal", x1: 0, y1: y(0), x2: 100, y2: y(1) }),
      bins.map(([count, sure, right]) =>
        svg(
          "circle",
          { cx: sure * 100, cy: y(right), r: 1.2 + 3.2 * Math.sqrt(count / most) },
          svg("title", {}, `${grouped(count)} answers: ${percent(sure)} sure, ${percent(right)} right`),
        ),
      ),
      svg("text", { x: 100, y: 122, "text-anchor": "end" }, "sure →"),
      svg("text", { x: -3, y: 14, "text-anchor": "end" }, "right"),
    ),
    h(
      "p",
      {},
      "Each dot is a group of answers that were about as sure. On the diagonal the network is as often right as it says; a larger dot stands for more answers.",
    ),
  );
}
