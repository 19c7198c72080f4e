// What a reader takes along: a link, the curl line and the Python lines that do the same, and what was asked before.

import { ROOT, hasKey, modelPath } from "./api.js";
import { copyButton, h } from "./dom.js";

/**
 * A text in single quotes, as a shell reads it.
 * @param {string} text
 */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * @param {string} model
 * @param {string} version
 * @param {Record<string, unknown>} body
 */
export function curlLine(model, version, body) {
  const key = hasKey() ? ' -H "X-API-Key: $API_KEY"' : "";
  const url = ROOT + modelPath(model, "predict", { version });
  return [`curl -H 'Content-Type: application/json'${key}`, `-d ${quoted(JSON.stringify(body))}`, quoted(url)].join(
    " \\\n  ",
  );
}

/**
 * @param {string} model
 * @param {string} version
 * @param {Record<string, unknown>} body
 * @param {string} output
 */
export function pythonLines(model, version, body, output) {
  const url = JSON.stringify(ROOT + modelPath(model, "predict", { version }));
  const headers = `{"Content-Type": "application/json"${hasKey() ? ', "X-API-Key": os.environ["API_KEY"]' : ""}}`;
  return [
    hasKey() ? "import json\nimport os" : "import json",
    "from urllib.request import Request, urlopen",
    "",
    `body = json.dumps(${python(body)}).encode()`,
    `url = ${url}`,
    `request = Request(url, body, ${headers})`,
    `print(json.load(urlopen(request))[${JSON.stringify(output)}])`,
  ].join("\n");
}

/**
 * A value as Python writes it.
 * @param {unknown} value
 * @returns {string}
 */
function python(value) {
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (value && typeof value === "object") {
    return `{${Object.entries(value)
      .map(([name, each]) => `${JSON.stringify(name)}: ${python(each)}`)
      .join(", ")}}`;
  }
  return JSON.stringify(value); // a number, or a text: whose escapes are those of Python
}

/**
 * @param {string} name
 * @param {string} text
 */
export function code(name, text) {
  return h(
    "div",
    { class: "code" },
    h(
      "div",
      { class: "code-head" },
      h("h3", {}, name),
      copyButton(`Copy ${name}`, () => text),
    ),
    h("pre", { tabindex: "0", role: "group", "aria-label": name }, h("code", {}, text)),
  );
}
