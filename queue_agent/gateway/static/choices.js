// Lists of what a runtime has: models, samplers, schedules, LoRAs.

import { at } from "./dom.js";

const NAMES = new Map(); // of each field, what it was last made of

// Makes a field a list to choose from, or one for free text where the runtime tells of no such
// list, or not all of it. `offered`: what there is, as {name, label}; null where that is not known.
export function offerNames(id, offered, { isWhole = true, nothing = "Default" } = {}) {
  const made = JSON.stringify([offered, isWhole, nothing]);
  if (NAMES.get(id) === made) return;
  NAMES.set(id, made);
  const former = at(id);
  const field = document.createElement(offered && isWhole ? "select" : "input");
  for (const name of ["id", "name", "aria-describedby", "aria-label", "class"]) {
    if (former.hasAttribute(name)) field.setAttribute(name, former.getAttribute(name));
  }
  if (field.tagName === "SELECT") {
    field.append(new Option(nothing, ""), ...offered.map(({ name, label }) => new Option(label ?? name, name)));
  } else {
    field.placeholder = nothing;
    field.spellcheck = false;
    if (offered) suggest(field, offered);
  }
  const isFocused = document.activeElement === former;
  former.replaceWith(field);
  choose(field, former.value);
  if (isFocused) field.focus();
}

// The value, though the runtime does not tell of it.
export function choose(field, value) {
  if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === value)) {
    field.append(new Option(`${value} (not in the runtime's list)`, value));
  }
  field.value = value;
}

function suggest(field, offered) {
  const list = document.createElement("datalist");
  list.id = `${field.id}-names`;
  list.append(...offered.map(({ name, label }) => new Option(label ?? name, name)));
  at(list.id)?.remove();
  at("ask").append(list);
  field.setAttribute("list", list.id);
}
