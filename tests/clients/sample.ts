// Asks the service by the types that were generated from its OpenAPI document, which a test lays beside.

import type { components, paths } from "./generated";

type Add = paths["/add"]["post"];
type AddRequest = Add["requestBody"]["content"]["application/json"];
type AddResponse = Add["responses"][200]["content"]["application/json"];
type Explanation = paths["/models/{name}/explain"]["post"]["responses"][200]["content"]["application/json"];
type Problem = components["schemas"]["Problem"];

export async function add(address: string, request: AddRequest): Promise<AddResponse | Problem> {
  const response = await fetch(`${address}/add`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request),
  });
  return response.json();
}

export function shown(answer: AddResponse | Problem): string {
  if ("status" in answer) {
    const places: string[] = (answer.errors ?? []).map((fault) => `${fault.pointer}: ${fault.detail}`);
    return [answer.type, answer.detail, ...places].join("\n");
  }
  const sum: number | null = answer.sum;
  return `${sum ?? "no number"} (${answer.confidence.toFixed(3)}), by ${answer.model.name} ${answer.model.version}`;
}

export const symbols = (explanation: Explanation): string => explanation.steps.map((step) => step.symbol).join("");

export const right: AddRequest = { expression: "10+6" };
// @ts-expect-error the field has another name
export const misspelled: AddRequest = { expresion: "10+6" };
// @ts-expect-error the field holds text
export const mistyped: AddRequest = { expression: 16 };
