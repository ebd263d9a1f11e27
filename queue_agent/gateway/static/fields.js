// Fields of the form: what is wrong with one stands beside it.

import { at } from "./dom.js";
import { number } from "./exact.js";

// Says it beside the field; without words, that nothing is wrong.
export function fault(field, words = "") {
  const id = `${field.id}-error`;
  let told = at(id);
  if (!told && !words) return;
  if (!told) {
    told = document.createElement("p");
    told.id = id;
    told.className = "error";
    (field.closest(".sizes") ?? field.closest(".field")).append(told);
    field.setAttribute("aria-describedby", [field.getAttribute("aria-describedby"), id].filter(Boolean).join(" "));
  }
  told.textContent = words && field.closest(".sizes") ? `${field.labels[0].textContent}: ${words}` : words;
  told.hidden = !words;
  field.toggleAttribute("data-faulty", Boolean(words));
  if (words) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

// Whether everything may be sent; else the first faulty field has the focus.
export function check(form) {
  const fields = [...form.elements].filter((field) => field.willValidate && field.id);
  for (const field of fields) fault(field, words(field));
  const first = fields.find((field) => !field.validity.valid);
  if (!first) return true;
  for (let around = first.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
  first.focus();
  return false;
}

function words(field) {
  const { validity, min, max, step, type } = field;
  const number = Number(field.value);
  if (validity.valid) return "";
  if (validity.customError) return field.validationMessage;
  if (validity.badInput) return "This is no number.";
  if (validity.valueMissing) return type === "number" ? "A number is needed here." : "This is needed.";
  if (validity.rangeUnderflow) return `At least ${min}.`;
  if (validity.rangeOverflow) return `At most ${max}.`;
  if (validity.stepMismatch && step === "1") return "Whole numbers only.";
  if (validity.stepMismatch) return `Multiples of ${step} only, such as ${Math.round(number / step) * step}.`;
  return field.validationMessage;
}

// What a refusal says of fields of the form (as `content.width: …; metadata.runtime: …`) stands
// beside them; whether there were any.
export function place(form, refusal) {
  let first;
  for (const part of refusal.split("; ")) {
    const [, path, said] = /^([\w.-]+): (.+)$/s.exec(part) ?? [];
    const name = path?.split(".").reverse().find((name) => form.elements[name]?.id);
    if (!name) continue;
    fault(form.elements[name], said);
    first ??= form.elements[name];
  }
  first?.focus();
  return Boolean(first);
}

// Number or text, as the field says; undefined where it is empty.
export function given(field) {
  if (field.value.trim() === "") return undefined;
  return field.type === "number" ? number(field.value) : field.value;
}
