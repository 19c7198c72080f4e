// A field of a model's interface as a line of text: its JSON Schema says how to read and to write it.

/** @typedef {import("./api.js").Fault} Fault */
/** @typedef {import("./api.js").Field} Field */
/** @typedef {Record<string, any>} Schema */

const ITEM = /[^\s,;[\]]+/g;
const INTEGER = /^[+-]?\d{1,15}$/;

/**
 * @param {Schema} schema
 * @param {string} type
 */
const is = (schema, type) => [schema.type].flat().includes(type);

/**
 * What a client sends for a text. What is no number is sent as it is, so that the service says what is wrong.
 * @param {string} text
 * @param {Schema} schema
 * @returns {unknown}
 */
export function valueOf(text, schema) {
  if (is(schema, "array")) return itemsOf(text).map(({ word }) => numberOf(word));
  if (is(schema, "integer")) return numberOf(text.trim());
  return text;
}

/** @param {string} word */
const numberOf = (word) => (INTEGER.test(word) ? Number(word) : word);

/** @param {string} text */
function itemsOf(text) {
  return [...text.matchAll(ITEM)].map((found) => ({ word: found[0], start: found.index }));
}

/**
 * The text that stands for a value; null is a dash.
 * @param {any} value
 * @returns {string}
 */
export function textOf(value) {
  if (value === null || value === undefined) return "—";
  return Array.isArray(value) ? value.join(", ") : String(value);
}

/** @typedef {{ input: Field, options: Field[] }} Form */

/**
 * The request that an example is of: its input, and the options that it gives.
 * @param {Form} form
 * @param {Record<string, any>} example
 * @returns {Record<string, any>}
 */
export function requestOf({ input, options }, example) {
  const names = [input, ...options].map((field) => field.name).filter((name) => name in example);
  return Object.fromEntries(names.map((name) => [name, example[name]]));
}

/**
 * The text that stands for a request, or for the example of one.
 * @param {Form} form
 * @param {Record<string, any>} request
 */
export function requestText({ input, options }, request) {
  const given = options.filter((field) => field.name in request);
  return [textOf(request[input.name]), ...given.map((field) => `${field.name} ${textOf(request[field.name])}`)].join("; ");
}

/**
 * How much of what the schema allows a text holds, if it sets a limit.
 * @param {string} text
 * @param {Schema} schema
 * @returns {{ words: string, fits: boolean } | null}
 */
export function room(text, schema) {
  if (is(schema, "array") && schema.maxItems) {
    const count = itemsOf(text).length;
    const fits = count <= schema.maxItems && count >= (schema.minItems ?? 0);
    return { words: `${count} of ${schema.maxItems} numbers`, fits };
  }
  if (is(schema, "string") && schema.maxLength) {
    const count = [...text].length;
    return { words: `${count} of ${schema.maxLength} characters`, fits: count <= schema.maxLength };
  }
  return null;
}

/**
 * Where in a text a fault is: from this place up to that one; null if the whole is at fault.
 * @param {Fault} fault
 * @param {string} text
 * @param {Schema} schema
 * @returns {[number, number] | null}
 */
export function placeOf(fault, text, schema) {
  const item = /\/(\d+)$/.exec(fault.pointer);
  if (item && is(schema, "array")) {
    const found = itemsOf(text)[Number(item[1])];
    return found ? [found.start, found.start + found.word.length] : null;
  }
  if (fault.position === undefined || !is(schema, "string")) return null;
  const characters = [...text];
  const start = characters.slice(0, fault.position).join("").length;
  const length = characters[fault.position]?.length ?? 0;
  const word = /^(?:\d+|\p{L}+)/u.exec(text.slice(start)); // a whole number or word, where one begins here
  const isWithin = start > 0 && /[\d\p{L}]/u.test(text[start - 1] ?? "");
  return [start, start + (word && !isWithin && fault.rule !== "symbol" ? word[0].length : length)];
}
