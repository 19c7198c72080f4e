// The live view: what the service does now, drawn from its metrics, a reading each second.

import { json, modelPath, request } from "./api.js";
import { figure, grouped, h, intro, milliseconds, replace, svg } from "./dom.js";
import { requestOf } from "./form.js";
import { between, buckets, parse, quantile, total } from "./metrics.js";

/** @typedef {import("./metrics.js").Reading} Reading */
/** @typedef {{ at: number, reading: Reading }} Moment */
/** @typedef {{ name: string, values: (number | null)[], style: string }} Line */

const EVERY_MS = 1000;
const MOST_MOMENTS = 121;
const WINDOW = 10;
const WIDTH = 600;
const HEIGHT = 150;
const SENT = 200;
const AT_ONCE = 8;
const OWN = "/metrics";

/** @param {import("./app.js").Context} context */
export function liveView(context) {
  /** @type {Moment[]} */
  const moments = [];
  let timer = 0;
  let isShown = false;

  const requests = figure(
    "requests",
    "Requests",
    "How many requests are answered each second, over the last two minutes. Those that ask for these figures are left out.",
  );
  const latency = figure(
    "latency",
    "Latency",
    "How long an answer takes inside the service. Half of all requests are faster than the full line, and 99 of 100 faster than the dashed one.",
  );
  const sizes = figure(
    "sizes",
    "Batches",
    "What arrives while a network runs is its next batch. The bars show how many items the batches held since the service began.",
  );
  const queue = figure(
    "queue",
    "Queue",
    "How many items wait for their turn. A queue that stays long means that more comes in than the networks can answer.",
  );
  const answers = figure(
    "answers",
    "Answers",
    "Where the truth can be computed, each answer is held against it after it was sent. One that is wrong is logged.",
  );
  const status = h("p", { class: "sending", role: "status" });
  const send = h("button", { type: "button", onclick: sendSome }, `Send ${SENT} examples`);
  const root = h(
    "div",
    { class: "live" },
    intro(
      "The service at work",
      "Figures of all its processes, read once a second from the address that Prometheus reads. Nothing moves? Send it something to do.",
      context.models.length > 0 && h("p", { class: "send" }, send, status),
    ),
    requests.root,
    latency.root,
    sizes.root,
    queue.root,
    answers.root,
  );
  document.addEventListener("visibilitychange", () => isShown && !document.hidden && look());
  return { root, show, hide, refresh: look };

  function show() {
    if (isShown) return;
    isShown = true;
    look();
  }

  function hide() {
    isShown = false;
    clearTimeout(timer);
  }

  async function look() {
    clearTimeout(timer);
    if (!isShown || document.hidden) return;
    try {
      const answer = await request("metrics");
      moments.push({ at: performance.now(), reading: parse(await answer.text()) });
      if (moments.length > MOST_MOMENTS) moments.shift();
      context.works();
      draw();
    } catch (error) {
      return context.fails(/** @type {Error} */ (error));
    }
    timer = setTimeout(look, EVERY_MS);
  }

  function draw() {
    const last = moments[moments.length - 1];
    if (!last) return;
    /** @param {Record<string, string>} labels */
    const isOthers = ({ route }) => route !== OWN;
    const answered = rates(moments, (reading) => total(reading, "service_requests_total", isOthers));
    const failed = rates(moments, (reading) =>
      total(reading, "service_requests_total", (labels) => isOthers(labels) && /^[45]/.test(labels.status ?? "")),
    );
    drawLines(requests.body, "requests a second", [
      { name: "answered", values: answered, style: "one" },
      { name: "of them refused or failed", values: failed, style: "two" },
    ]);
    const spread = moments.map(({ reading }, place) => {
      const before = moments[Math.max(0, place - WINDOW)]?.reading;
      return between(
        buckets(before, "service_request_seconds", isOthers),
        buckets(reading, "service_request_seconds", isOthers),
      );
    });
    drawLines(
      latency.body,
      "milliseconds",
      [
        { name: "half are faster", values: spread.map((counts) => inMs(quantile(counts, 0.5))), style: "one" },
        { name: "99 of 100 are faster", values: spread.map((counts) => inMs(quantile(counts, 0.99))), style: "two" },
      ],
      (value) => milliseconds(value / 1000),
    );
    drawSizes(sizes.body, last.reading);
    drawLines(queue.body, "items that wait", [
      { name: "waiting", values: moments.map(({ reading }) => total(reading, "service_queue_depth")), style: "one" },
    ]);
    drawAnswers(answers.body, last.reading);
  }

  async function sendSome() {
    send.disabled = true;
    status.textContent = `Sending ${SENT} requests …`;
    const asked = context.models.filter((model) => model.example);
    let left = SENT;
    let failed = 0;
    /** @param {number} first */
    async function sender(first) {
      for (let place = first; left-- > 0; place++) {
        const model = asked[place % asked.length];
        const body = model?.example && requestOf(model.interface, model.example);
        await json(modelPath(model?.name ?? "", "predict"), { body }).catch(() => failed++);
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, (_, place) => sender(place)));
    status.textContent = failed ? `${SENT} sent, ${failed} of them failed.` : `${SENT} sent, all answered.`;
    send.disabled = false;
  }
}

/** @param {number | null} seconds */
const inMs = (seconds) => (seconds === null ? null : seconds * 1000);

/**
 * @param {Moment[]} moments
 * @param {(reading: Reading) => number} count
 */
function rates(moments, count) {
  return moments.map(({ at, reading }, place) => {
    const before = moments[place - 1];
    return before ? Math.max(0, ((count(reading) - count(before.reading)) * 1000) / (at - before.at)) : null;
  });
}

/**
 * @param {Element} place
 * @param {string} unit
 * @param {Line[]} lines
 * @param {(value: number) => string} [written]
 */
function drawLines(
  place,
  unit,
  lines,
  written = (value) => (value < 10 ? String(Math.round(value * 10) / 10) : grouped(value)),
) {
  const most = niceAbove(Math.max(...lines.flatMap(({ values }) => values.map((value) => value ?? 0))));
  /** @param {number} value */
  const y = (value) => HEIGHT - (value / most) * (HEIGHT - 8);
  const drawn = lines.map(({ values, style }) =>
    svg("path", { class: style, d: path(values, y), "vector-effect": "non-scaling-stroke" }),
  );
  const now = lines.map(({ name, values, style }) => {
    const last = values.findLast((value) => value !== null);
    return h("li", { class: style }, h("b", {}, last === undefined || last === null ? "—" : written(last)), ` ${name}`);
  });
  replace(
    place,
    h(
      "div",
      { class: "chart" },
      h("span", { class: "most" }, `${written(most)} ${unit === "milliseconds" ? "" : unit}`),
      svg(
        "svg",
        {
          viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": `${unit}, over the last two minutes: ${now.map((each) => each.textContent).join(", ")}`,
        },
        [0, 0.5, 1].map((share) =>
          svg("line", {
            class: "grid",
            x1: 0,
            x2: WIDTH,
            y1: y(share * most),
            y2: y(share * most),
            "vector-effect": "non-scaling-stroke",
          }),
        ),
        drawn,
      ),
      h("p", { class: "span" }, h("span", {}, "two minutes ago"), h("span", {}, "now")),
    ),
    h("ul", { class: "now" }, now),
  );
}

/**
 * @param {(number | null)[]} values
 * @param {(value: number) => number} y
 */
function path(values, y) {
  const first = MOST_MOMENTS - values.length;
  let isDown = false;
  return values
    .map((value, place) => {
      if (value === null) {
        isDown = false;
        return "";
      }
      const word = `${isDown ? "L" : "M"}${(((first + place) / (MOST_MOMENTS - 1)) * WIDTH).toFixed(1)} ${y(value).toFixed(1)}`;
      isDown = true;
      return word;
    })
    .join("");
}

/** @param {number} value */
function niceAbove(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10) * power;
}

/**
 * @param {Element} place
 * @param {Reading} reading
 */
function drawSizes(place, reading) {
  const counts = buckets(reading, "service_batch_size");
  let before = 0;
  let bound = 0;
  const bars = [...counts].map(([upTo, count]) => {
    const words = upTo === Infinity ? `over ${bound}` : upTo - bound > 1 ? `${bound + 1} to ${upTo}` : String(upTo);
    const bar = { words, count: count - before };
    [before, bound] = [count, upTo];
    return bar;
  });
  const most = Math.max(1, ...bars.map(({ count }) => count));
  replace(
    place,
    before === 0
      ? h("p", { class: "nothing" }, "No batch has run yet.")
      : h(
          "table",
          { class: "bars" },
          h("caption", { class: "unseen" }, "Batches by the number of their items"),
          h(
            "thead",
            { class: "unseen" },
            h("tr", {}, h("th", { scope: "col" }, "items"), h("th", { scope: "col" }, "batches")),
          ),
          h(
            "tbody",
            {},
            bars.map(({ words, count }) =>
              h(
                "tr",
                {},
                h("th", { scope: "row" }, words),
                h("td", {}, h("span", { class: "bar", "--share": count / most }, grouped(count))),
              ),
            ),
          ),
        ),
  );
}

/**
 * @param {Element} place
 * @param {Reading} reading
 */
function drawAnswers(place, reading) {
  const names = [
    ...new Set((reading.get("service_model_info") ?? []).map(({ labels }) => `${labels.model} ${labels.version}`)),
  ].sort();
  const rows = names.map((each) => {
    const [model, version] = each.split(" ");
    /** @param {Record<string, string>} labels */
    const isIts = (labels) => labels.model === model && labels.version === version;
    const isJudged = (reading.get("service_answers_total") ?? []).some(({ labels }) => isIts(labels));
    const batches = total(reading, "service_model_seconds_count", isIts);
    return [
      h("th", { scope: "row" }, `${model}, version ${version}`),
      h("td", {}, grouped(total(reading, "service_batch_size_sum", isIts))),
      h("td", {}, batches ? milliseconds(total(reading, "service_model_seconds_sum", isIts) / batches) : "—"),
      h(
        "td",
        {},
        isJudged
          ? grouped(total(reading, "service_answers_total", (labels) => isIts(labels) && labels.is === "exact"))
          : "—",
      ),
      h(
        "td",
        {},
        isJudged
          ? grouped(total(reading, "service_answers_total", (labels) => isIts(labels) && labels.is === "wrong"))
          : "—",
      ),
      h("td", {}, grouped(total(reading, "service_dropped_total", isIts))),
    ];
  });
  const head = ["model", "answered", "a batch takes", "exact", "wrong", "dropped"];
  replace(
    place,
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "group", "aria-label": "Answers by model" },
      h(
        "table",
        { class: "figures" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            head.map((each) => h("th", { scope: "col" }, each)),
          ),
        ),
        h(
          "tbody",
          {},
          rows.map((row) => h("tr", {}, row)),
        ),
      ),
    ),
  );
}
