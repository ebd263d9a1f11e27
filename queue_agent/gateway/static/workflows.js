// The operator's workflows: one field for each input that jobs may give.

import { at } from "./dom.js";
import { fault, given } from "./fields.js";
import { dataUrl, pictureOf, sized } from "./pictures.js";
import { bodyLimit } from "./runtimes.js";

const FILES = ["image", "video", "audio", "file"];

const files = new Map(); // data URLs, by the input's name
let busy = Promise.resolve();

// Settles once files that are being read are there.
export const filesRead = () => busy;

export function showInputs(workflow) {
  files.clear();
  at("workflow-hint").textContent = workflow?.description ?? "";
  at("inputs").replaceChildren(...(workflow?.inputs ?? []).map(partOf));
}

export function inputs() {
  const found = {};
  for (const field of fields()) {
    const value = files.get(field.name) ?? given(field);
    if (value !== undefined) found[field.name] = field.dataset.kind === "boolean" ? value === "true" : value;
  }
  return found;
}

// Those that there is no field for are left.
export function fillInputs(wanted) {
  const left = { ...wanted };
  for (const field of fields()) {
    const value = left[field.name];
    if (value === undefined || value === null || typeof value === "object") continue;
    delete left[field.name];
    if (FILES.includes(field.dataset.kind) && String(value).startsWith("data:")) hold(field, value, "of that job");
    else field.value = String(value);
  }
  return left;
}

const fields = () => [...at("inputs").elements].filter((field) => field.name);

function partOf(input) {
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
  if (FILES.includes(input.kind)) whole.append(pickerFor(field));
  return whole;
}

function pickerFor(field) {
  const picker = Object.assign(document.createElement("input"), { type: "file", id: `${field.id}-file` });
  picker.setAttribute("aria-label", `File for ${field.name}`);
  if (field.dataset.kind !== "file") picker.accept = `${field.dataset.kind}/*`;
  picker.addEventListener("change", () => {
    const [file] = picker.files;
    if (file) busy = take(field, picker, file);
    else release(field);
  });
  return picker;
}

async function take(field, picker, file) {
  fault(picker);
  try {
    const most = bodyLimit();
    const url = field.dataset.kind === "image" ? (await pictureOf(file, most, Infinity)).url : await dataUrl(file);
    if (url.length > most) throw new Error(`This file is too large: the gateway takes ${sized(most)} in a request.`);
    hold(field, url, `${file.name}, ${sized(url.length * 0.75)}`);
  } catch (error) {
    picker.value = "";
    release(field);
    fault(picker, error.message);
  }
}

// The file instead of an address; a button takes it back.
function hold(field, url, words) {
  release(field);
  files.set(field.name, url);
  field.value = "";
  field.disabled = true;
  const held = document.createElement("div");
  const facts = Object.assign(document.createElement("p"), { className: "hint", textContent: words });
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove file" });
  held.className = "tools held";
  button.addEventListener("click", () => {
    release(field);
    at(`${field.id}-file`).value = "";
    at(`${field.id}-file`).focus();
  });
  held.append(facts, button);
  field.parentElement.append(held);
}

function release(field) {
  files.delete(field.name);
  field.disabled = false;
  field.parentElement.querySelector(".held")?.remove();
}
