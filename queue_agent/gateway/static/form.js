// The form: what jobs are asked for by, at which runtime.

import { at } from "./dom.js";
import { runtimeOf } from "./runtimes.js";

export function contentOf() {
  const content = {};
  if (at("workflow").value) return { workflow: at("workflow").value, inputs: inputsOf(at("inputs")) };
  for (const field of at("portable").elements) {
    if (!field.name || field.value === "") continue;
    content[field.name] = field.type === "number" ? Number(field.value) : field.value;
  }
  const [width, height] = at("size").value.split("x").map(Number);
  return { ...content, width, height };
}

function inputsOf(fields) {
  const inputs = {};
  for (const field of fields.elements) {
    if (field.value === "") continue;
    const { kind } = field.dataset;
    inputs[field.name] = kind === "number" ? Number(field.value) : kind === "boolean" ? field.value === "true" : field.value;
  }
  return inputs;
}

export function offer(runtimes) {
  const choice = at("runtime");
  if (choice.options.length) return;
  choice.append(...runtimes.map(({ name }) => new Option(name)));
  offerWorkflows();
}

export function offerWorkflows() {
  const known = runtimeOf(at("runtime").value)?.workflows ?? [];
  at("workflow-field").hidden = !known.length;
  at("workflow").replaceChildren(new Option("None: as below", ""), ...known.map(({ name }) => new Option(name)));
  askInputs();
}

export function askInputs() {
  const known = runtimeOf(at("runtime").value)?.workflows ?? [];
  const chosen = known.find(({ name }) => name === at("workflow").value);
  for (const [id, shown] of [["inputs", Boolean(chosen)], ["portable", !chosen]]) {
    at(id).hidden = at(id).disabled = !shown;
  }
  at("inputs").replaceChildren(...(chosen?.inputs ?? []).map(fieldOf));
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
  if (["image", "video", "audio"].includes(input.kind)) field.placeholder = "https://… or s3://…";
  if (input.default !== null) field.placeholder = String(input.default);
  whole.append(label, field);
  return whole;
}
