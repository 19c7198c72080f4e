// Every model in the directory, each with an example, to choose one from.

import { h } from "./dom.js";
import { requestText, textOf } from "./form.js";

/**
 * @param {import("./app.js").Context} context
 * @param {(name: string) => void} choose
 */
export function picker({ models }, choose) {
  const items = models.map((model) => {
    const radio = h("input", { type: "radio", name: "model", value: model.name, onchange: () => choose(model.name) });
    const example = model.example ?? {};
    const given = requestText(model.interface, example);
    const written = textOf(example[model.interface.outputs[0]?.name ?? ""]);
    const shown = model.example && h("span", { class: "sample" }, h("span", {}, given), h("span", {}, `→ ${written}`));
    return { radio, root: h("label", {}, radio, h("span", { class: "name" }, model.name), shown) };
  });
  return {
    root: h(
      "div",
      { class: "picker", role: "radiogroup", "aria-label": "Model" },
      items.map((each) => each.root),
    ),
    /** @param {string} name */
    mark(name) {
      for (const { radio } of items) radio.checked = radio.value === name;
    },
  };
}
