// A job's card.

import { ask } from "./api.js";
import { at } from "./dom.js";
import { clear, hang } from "./gallery.js";
import { kindOf, madeOf } from "./media.js";
import { reason } from "./reasons.js";
import { canVary } from "./settings.js";
import { ago, duration, isOpen, settings, state, times, title } from "./words.js";

export function makeCard(view) {
  const card = at("job").content.firstElementChild.cloneNode(true);
  card.dataset.id = view.id;
  return card;
}

export function fill(card, view) {
  const part = (selector) => card.querySelector(selector);
  const open = isOpen(view);
  card.view = view;
  card.dataset.status = view.status;
  write(part("h2"), title(view));
  write(part(".settings"), settings(view));
  write(part(".state"), state(view));
  part(".wait").hidden = ["completed", "failed", "expired"].includes(view.status);
  const bar = part("progress");
  bar.hidden = !open;
  bar.setAttribute("aria-label", `Progress of ${title(view)}`);
  if (view.progress === null) bar.removeAttribute("value");
  else bar.value = view.progress;
  explain(part(".reason"), view);
  about(card, view);
  act(card, view);
  glimpse(part(".preview"), card);
  if (view.images.length && !card.hung) {
    card.hung = true;
    hang(card, view);
  }
}

// Before it is thrown away.
export function drop(card) {
  clear(card);
  URL.revokeObjectURL(card.querySelector(".preview").src);
}

export function tick(card, now) {
  write(card.querySelector("time"), ago(new Date(card.view.submitted_at), now));
}

function explain(box, { error, status }) {
  box.hidden = !error || status === "cancelled";
  if (box.hidden) return;
  const { sentence, hint } = reason(error);
  write(box.querySelector("strong"), sentence);
  write(box.querySelector(".own"), error.message);
  write(box.querySelector(".hint"), hint);
}

function about(card, view) {
  const part = (selector) => card.querySelector(selector);
  const moment = new Date(view.submitted_at);
  const time = part("time");
  time.dateTime = view.submitted_at;
  time.title = moment.toLocaleString();
  tick(card, new Date());
  write(part(".runtime"), view.runtime);
  const took = view.timings?.run ? duration(view.timings.run) : "";
  write(part(".took"), took);
  part(".took").title = times(view) ?? "";
  write(part(".id"), view.id);
  const box = part(".warnings");
  box.hidden = !view.warnings.length;
  if (box.hidden || box.querySelector("li")) return;
  write(box.querySelector("summary"), view.warnings.length === 1 ? "1 warning" : `${view.warnings.length} warnings`);
  box.querySelector("ul").append(...view.warnings.map((words) => Object.assign(document.createElement("li"), { textContent: words })));
}

function act(card, view) {
  const button = (name) => card.querySelector(`[data-do="${name}"]`);
  const open = isOpen(view);
  button("cancel").hidden = !open;
  button("cancel").disabled = view.status === "cancelling";
  button("again").hidden = open;
  button("variation").hidden = open || !canVary(view);
  const isSeen = madeOf(view).some((image) => kindOf(image) === "image"); // and opens by a click
  button("details").hidden = isSeen || !view.images.length;
}

// The work under way, behind the words that tell how far it is.
async function glimpse(picture, card) {
  const path = isOpen(card.view) ? card.view.preview : null;
  if (!path) {
    picture.hidden = true;
    if (picture.src && !isOpen(card.view)) URL.revokeObjectURL(picture.src);
  }
  if (!path || picture.dataset.of === path) return;
  picture.dataset.of = path;
  const blob = await ask(path).then((answer) => answer.blob()).catch(() => null);
  if (!blob || picture.dataset.of !== path || !card.isConnected) return; // none any more, or a newer one
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(blob);
  picture.hidden = !isOpen(card.view);
}

// Only what is new, so that nothing is laid out anew in vain.
function write(element, words) {
  if (element.textContent !== words) element.textContent = words;
}
