// Starts the page, keeps its state in the address, and says so when the service is gone or wants a key.

import { Offline, Problem, forget, hasKey, json, request, useKey } from "./api.js";
import { askView } from "./ask.js";
import { h, replace } from "./dom.js";
import { read, write } from "./state.js";

/** @typedef {import("./state.js").State} State */
/**
 * What views are given: the models, what is to be shown, and how to change it.
 * @typedef {{
 *   models: import("./api.js").Summary[], state: State, offers: Set<string>,
 *   go: (changes: Partial<State>, isNew?: boolean) => void, note: (state: State) => void,
 *   fails: (error: Error) => void, works: () => void
 * }} Context
 */
/** @typedef {{ root: HTMLElement, show: (state: State) => void, refresh: () => void, hide?: () => void }} View */

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 8000;

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const notice = /** @type {HTMLElement} */ (document.getElementById("notice"));
const links = [...document.querySelectorAll("#links a")].map((link) => link.textContent ?? "");

/** @type {Map<string, Promise<View>>} */
const views = new Map();
/** @type {View | null} */
let current = null;
let wait = FIRST_WAIT_MS;
let timer = 0;
let isGone = false;

/** @type {Context} */
const context = { models: [], state: read(location.hash), offers: new Set(links), go, note, fails, works };

document.getElementById("skip")?.addEventListener("click", (event) => {
  event.preventDefault(); // the address is the page's state
  main.focus();
});
document.getElementById("views")?.addEventListener("click", (event) => {
  const view = /** @type {Element} */ (event.target).closest("a")?.dataset.view;
  if (!view || /** @type {MouseEvent} */ (event).ctrlKey || /** @type {MouseEvent} */ (event).metaKey) return;
  event.preventDefault();
  go({ view }, true);
});
if (!context.offers.has("metrics")) document.querySelector('[data-view="live"]')?.remove();
addEventListener("popstate", () => show(read(location.hash)));
addEventListener("online", tryAgain);
start();

async function start() {
  replace(main, h("p", { class: "lede loading" }, "Asking the service which models there are …"));
  try {
    context.models = (await json("models?brief=true")).models;
    works();
    await show(read(location.hash));
  } catch (error) {
    replace(main, h("p", { class: "lede" }, "The models are shown here as soon as the service answers."));
    fails(/** @type {Error} */ (error));
  }
}

/** @param {string} name */
function view(name) {
  let found = views.get(name);
  if (!found) {
    found = make(name);
    views.set(name, found);
    found.catch(() => views.delete(name));
  }
  return found;
}

/**
 * @param {string} name
 * @returns {Promise<View>}
 */
async function make(name) {
  if (name === "models") return (await import("./models.js")).modelsView(context);
  if (name === "live") return (await import("./live.js")).liveView(context);
  return askView(context);
}

/** @param {State} state */
async function show(state) {
  if (state.view === "live" && !context.offers.has("metrics")) state = { ...state, view: "ask" };
  context.state = state;
  for (const link of document.querySelectorAll("#views a")) {
    const isShown = /** @type {HTMLElement} */ (link).dataset.view === state.view;
    if (isShown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!context.models.length && state.view === "ask") {
    replace(
      main,
      h("h1", {}, "No models yet"),
      h(
        "p",
        { class: "lede" },
        "The service runs, but serves no model. Put a bundle into its models directory, and load this page again.",
      ),
    );
    return;
  }
  const wanted = await view(state.view);
  if (context.state !== state) return; // another one was asked for meanwhile
  if (current !== wanted) {
    current?.hide?.();
    current = wanted;
    main.replaceChildren(wanted.root);
    scrollTo(0, 0);
  }
  wanted.show(state);
}

/**
 * @param {Partial<State>} changes
 * @param {boolean} [isNew] whether the browser's back button leads to what was shown before
 */
function go(changes, isNew = false) {
  const state = { ...context.state, ...changes };
  if (isNew) history.pushState(null, "", write(state));
  else history.replaceState(null, "", write(state));
  show(state);
}

/** @param {State} state */
function note(state) {
  context.state = state;
  history.replaceState(null, "", write(state));
}

// The service is gone, or wants a key

/** @param {Error} error */
function fails(error) {
  if (error instanceof Problem && error.status === 401) return askForKey(error.message);
  const words = error instanceof Offline || error instanceof Problem ? error.message : String(error);
  isGone = true;
  document.body.classList.add("gone");
  clearTimeout(timer);
  timer = setTimeout(tryAgain, wait);
  const seconds = Math.round(wait / 1000);
  wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  replace(
    notice,
    h(
      "p",
      { class: "band" },
      h("b", {}, words),
      ` Trying again in ${seconds} s. `,
      h("button", { type: "button", class: "quiet", onclick: tryAgain, "data-key": "again" }, "Try now"),
    ),
  );
}

function works() {
  wait = FIRST_WAIT_MS;
  clearTimeout(timer);
  if (isGone) document.body.classList.remove("gone");
  isGone = false;
  if (notice.firstChild) replace(notice);
}

async function tryAgain() {
  if (!isGone) return;
  clearTimeout(timer);
  try {
    await request("health/live");
  } catch (error) {
    if (error instanceof Offline) return fails(error);
  }
  forget();
  if (context.models.length) {
    works();
    current?.refresh();
  } else await start();
}

/** @param {string} words */
function askForKey(words) {
  const input = h("input", { id: "key", type: "password", autocomplete: "off", required: true, "data-key": "key" });
  const form = h(
    "form",
    { class: "band", onsubmit },
    h("label", { for: "key" }, words),
    input,
    h("button", { type: "submit" }, "Use this key"),
    h("small", {}, "The page keeps it until you close this tab."),
  );
  replace(notice, form);
  if (!hasKey()) input.focus();

  /** @param {Event} event */
  function onsubmit(event) {
    event.preventDefault();
    useKey(input.value);
    replace(notice);
    if (context.models.length) current?.refresh();
    else start();
  }
}
