// The operator's workflows: one field for each input that jobs may give.

import { at } from "./dom.js";
import { given } from "./fields.js";

const FILES = ["image", "video", "audio", "file"];

export function showInputs(workflow) {
  at("inputs").replaceChildren(...(workflow?.inputs ?? []).map(fieldOf));
}

export function inputs() {
  const found = {};
  for (const field of at("inputs").elements) {
    const value = given(field);
    if (value === undefined || !field.name) continue;
    found[field.name] = field.dataset.kind === "boolean" ? value === "true" : value;
  }
  return found;
}

// Those that there is no field for are left.
export function fillInputs(wanted) {
  const left = { ...wanted };
  for (const field of at("inputs").elements) {
    if (!(field.name in left)) continue;
    field.value = String(left[field.name]);
    delete left[field.name];
  }
  return left;
}

function fieldOf(input) {
  const whole = document.createElement("div");
  const label = document.createElement("label");
  const field = document.createElement(input.kind === "boolean" ? "select" : input.name === "prompt" ? "textarea" : "input");
  whole.className = "field";
  label.textContent = input.name;
  label.htmlFor = field.id = `input-${input.name}`;
  field.name = input.name;
  field.dataset.kind = input.kind;
  field.required = input.required && input.default === null;
  if (input.kind === "boolean") field.append(new Option("as it is", ""), new Option("yes", "true"), new Option("no", "false"));
  if (input.kind === "number") Object.assign(field, { type: "number", step: "any" });
  if (FILES.includes(input.kind)) field.placeholder = "https://… or s3://…";
  if (input.default !== null) field.placeholder = String(input.default);
  whole.append(label, field);
  return whole;
}
