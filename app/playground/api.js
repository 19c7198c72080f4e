// Asks the service. Knows its addresses, its errors and its keys, and nothing of the page.

/** Where the service is: this file lies one folder below. */
export const ROOT = new URL("..", import.meta.url).href;

const KEPT = "api-key";
const NO_ROUTE = [404, 405];

/** @typedef {{ pointer: string, detail: string, rule: string, position?: number }} Fault */
/** @typedef {{ name: string, plural: string, schema: Record<string, any>, description: string }} Field */
/**
 * @typedef {{
 *   name: string, version: string, versions: string[], n_best: number,
 *   interface: { input: Field, options: Field[], outputs: Field[] }, example: Record<string, any> | null
 * }} Summary
 */
/**
 * @typedef {Summary & {
 *   examples: Record<string, any>[], files: Record<string, { size: number, sha256: string }>, problem: Record<string, any>,
 *   limits: Record<string, any>, lengths: Record<string, number>, network: Record<string, any>,
 *   evaluation: Record<string, any>, vocabularies: Record<string, { symbols: (string | number)[] }>
 * }} Details
 */
/** @typedef {{ symbol: string | number, probability: number }} Candidate */
/** @typedef {Candidate & { is_forced: boolean, candidates: Candidate[], attention: number[] | null }} Step */

/** @typedef {Record<string, any> & { confidence: number, steps?: Step[] }} Answer */

/**
 * The symbols that the network read, where the answer is explained.
 * @param {Answer} answer
 * @returns {(string | number)[]}
 */
export const symbolsRead = (answer) => answer.source_symbols ?? [];

/** What the service says is wrong. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {string} detail
   * @param {Fault[]} faults
   * @param {number} retryAfter seconds; 0 if the service does not say
   */
  constructor(status, detail, faults = [], retryAfter = 0) {
    super(detail);
    this.status = status;
    this.faults = faults;
    this.retryAfter = retryAfter;
  }
}

/** The service does not answer at all. */
export class Offline extends Error {}

let key = sessionStorage.getItem(KEPT) ?? "";

/** Whether a key is sent. */
export const hasKey = () => key !== "";

/** @param {string} given */
export function useKey(given) {
  key = given.trim();
  if (key) sessionStorage.setItem(KEPT, key);
  else sessionStorage.removeItem(KEPT);
}

/**
 * The answer to a GET, or to a POST if there is a body. Raises `Problem` or `Offline`, or `AbortError` if told to stop.
 * @param {string} path
 * @param {{ body?: unknown, signal?: AbortSignal }} [options]
 * @returns {Promise<Response>}
 */
export async function request(path, { body, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = key ? { "X-API-Key": key } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const init = { headers, signal, ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }) };
  let response;
  try {
    response = await fetch(new URL(path, ROOT), init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Offline("The service does not answer.");
  }
  if (response.ok) return response;
  throw await problemOf(response);
}

/** @param {Response} response */
async function problemOf(response) {
  const retryAfter = Number(response.headers.get("retry-after")) || 0;
  if (!response.headers.get("content-type")?.includes("json")) {
    return response.status >= 500
      ? new Offline(`The service does not answer; a server before it says ${response.status}.`)
      : new Problem(response.status, `The answer has the status ${response.status}.`);
  }
  const problem = await response.json().catch(() => ({}));
  return new Problem(response.status, problem.detail ?? problem.error ?? "", problem.errors ?? [], retryAfter);
}

/**
 * @param {string} path
 * @param {{ body?: unknown, signal?: AbortSignal }} [options]
 * @returns {Promise<any>}
 */
export const json = async (path, options) => (await request(path, options)).json();

/**
 * The address of a model's route.
 * @param {string} name
 * @param {string} route
 * @param {Record<string, string | number | undefined>} [query]
 */
export function modelPath(name, route = "", query = {}) {
  const given = Object.entries(query).filter(([, value]) => value);
  const text = new URLSearchParams(given.map(([each, value]) => [each, String(value)])).toString();
  return `models/${encodeURIComponent(name)}${route && `/${route}`}${text && `?${text}`}`;
}

/** @type {Set<string>} Routes that the service, or a model, does not offer. */
const missing = new Set();

/**
 * Asks a route that not every model offers. Gives null where it is not offered; what is wrong with the value is raised.
 * @param {string} name
 * @param {string} route
 * @param {Record<string, string | number | undefined>} query
 * @param {unknown} body
 * @param {AbortSignal} [signal]
 */
export async function askIfOffered(name, route, query, body, signal) {
  const known = `${name}/${query.version ?? ""}/${route}`;
  if (missing.has(known)) return null;
  try {
    return await json(modelPath(name, route, query), { body, signal });
  } catch (error) {
    const isRefused = error instanceof Problem && (NO_ROUTE.includes(error.status) || error.status === 400);
    if (!isRefused) throw error;
    missing.add(known);
    return null;
  }
}

/** Lets routes be asked for again that were not offered: another release may answer now. */
export function forget() {
  missing.clear();
  described.clear();
}

/** @type {Map<string, Promise<Details>>} */
const described = new Map();

/**
 * All that the service tells of a model; asked for once.
 * @param {string} name
 * @param {string} [version]
 * @returns {Promise<Details>}
 */
export function details(name, version) {
  const known = `${name}/${version ?? ""}`;
  let found = described.get(known);
  if (!found) {
    found = json(modelPath(name, "", { version }));
    described.set(known, found);
    found.catch(() => described.delete(known));
  }
  return found;
}
