// The files of all jobs that are shown, one at a time and large, with all that is known of each.

import { attempt } from "./api.js";
import { copy } from "./dialogs.js";
import { at, say } from "./dom.js";
import { facts } from "./facts.js";
import { key } from "./key.js";
import { fileName, hold, holdPlayed, kindOf, madeOf, release, sizeOf } from "./media.js";
import { canVary } from "./settings.js";
import { title } from "./words.js";
import { Zoom } from "./zoom.js";

const PAN = 80; // pixels

let items = []; // of a view and a number each
let place = 0;
let jobs = null;
let held = []; // the files that are shown

const part = (selector) => at("viewer").querySelector(selector);
const zoom = new Zoom(part(".frame"), { told: tellZoom, swiped: (way) => go(place + way) });

// `jobs` tells which others there are, where their cards are, and what can be done with them.
export function openViewer(view, number, others) {
  jobs = others;
  items = jobs.shown().flatMap((view) => madeOf(view).map((_, number) => ({ view, number })));
  place = items.findIndex((item) => item.view.id === view.id && item.number === number);
  if (place < 0) [items, place] = [madeOf(view).map((_, number) => ({ view, number })), number];
  at("viewer").showModal();
  show();
}

function go(to) {
  if (!items[to] || to === place) return;
  place = to;
  show();
  const { view, number } = items[place];
  say(`${place + 1} of ${items.length}: ${madeOf(view).length > 1 ? `image ${number + 1} of ` : ""}${title(view)}`);
}

function show() {
  const { view, number } = items[place];
  part("h2").textContent = title(view);
  part(".count").textContent = `${place + 1} of ${items.length}`;
  part(".back").disabled = !place;
  part(".forth").disabled = place === items.length - 1;
  part(".told").textContent = "";
  part('[data-do="variation"]').hidden = !canVary(view);
  part('[data-do="start"]').hidden = kindOf(view.images[number]) !== "image";
  part('[data-do="copy-file"]').hidden = !view.images[number].presigned_url;
  part(".facts").replaceChildren(...facts(view, number).map(fact));
  const { info } = view.images[number];
  part(".own").hidden = !info;
  part(".own pre").textContent = info ?? "";
  put(view, number);
}

function fact([word, value]) {
  const whole = document.createElement("div");
  whole.append(
    Object.assign(document.createElement("dt"), { textContent: word }),
    Object.assign(document.createElement("dd"), { textContent: value }),
  );
  return whole;
}

async function put(view, number) {
  const image = view.images[number];
  const kind = kindOf(image);
  const element = document.createElement({ image: "img", file: "p" }[kind] ?? kind);
  leave();
  part(".frame").replaceChildren(element);
  part(".zoom").hidden = kind !== "image";
  zoom.show(element);
  if (kind === "file") {
    element.textContent = `${fileName(view, number)}, ${sizeOf(image.bytes)}`;
    return;
  }
  if (kind === "image") Object.assign(element, { alt: title(view), draggable: false });
  else Object.assign(element, { controls: true, loop: kind === "video", preload: "metadata", ariaLabel: title(view) });
  element.addEventListener("error", () => element.isConnected && lost());
  held = [image.href, kind === "video" && image.poster].filter(Boolean);
  if (held[1]) hold(held[1]).then((address) => (element.poster = address), () => {}); // it plays without
  part(".frame").setAttribute("aria-busy", "true");
  try {
    element.src = await (kind === "image" ? hold : holdPlayed)(image.href);
    await element.decode?.();
  } catch {
    if (element.isConnected) lost();
  }
  if (!element.isConnected) return;
  part(".frame").removeAttribute("aria-busy");
  zoom.fit();
}

function lost() {
  part(".frame").replaceChildren("This file cannot be loaded.");
  part(".frame").removeAttribute("aria-busy");
}

function leave() {
  held.forEach(release);
  held = [];
}

function tellZoom() {
  part(".share").textContent = `${Math.round(zoom.share * 100)} %`;
  part('[data-do="smaller"]').disabled = part('[data-do="fit"]').disabled = zoom.isFitted;
}

// The page's own address of the image: whoever follows it needs a key of the same name, if any.
const linkTo = (view, number) => `${location.origin}${location.pathname}#${new URLSearchParams({ job: view.id, image: number + 1 })}`;

async function tell(link, button, words) {
  await copy(link, button);
  part(".told").textContent = words;
}

const own = {
  back: () => go(place - 1),
  forth: () => go(place + 1),
  larger: () => zoom.larger(),
  smaller: () => zoom.smaller(),
  fit: () => zoom.fit(),
  close: () => at("viewer").close(),
  "copy-link": ({ view, number }, button) =>
    tell(linkTo(view, number), button, key() ? "Copied. It opens here, for whoever has a key of the same name." : "Copied. It opens here."),
  "copy-file": ({ view, number }, button) =>
    tell(view.images[number].presigned_url, button, "Copied. It opens anywhere without a key, for a while."),
};

const CLOSING = ["use", "start", "again", "variation"];

at("viewer").addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-do]");
  if (!button) return;
  const { do: name } = button.dataset;
  const item = items[place];
  if (own[name]) return own[name](item, button);
  if (CLOSING.includes(name)) at("viewer").close();
  await attempt(() => jobs.actions[name](item.view, item.number));
});

at("viewer").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLMediaElement) return;
  const pans = { ArrowLeft: [PAN, 0], ArrowRight: [-PAN, 0], ArrowUp: [0, PAN], ArrowDown: [0, -PAN] };
  const keys = {
    ArrowLeft: own.back, ArrowRight: own.forth, Home: () => go(0), End: () => go(items.length - 1),
    "+": own.larger, "=": own.larger, "-": own.smaller, 0: own.fit,
  };
  const action = event.shiftKey && pans[event.key] ? () => zoom.pan(...pans[event.key]) : keys[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

at("viewer").addEventListener("close", () => {
  leave();
  part(".frame").replaceChildren();
  const { view, number } = items[place];
  const card = jobs.cardOf(view.id);
  (card?.querySelector(`[data-number="${number}"]`) ?? card?.querySelector('[data-do="details"]:not([hidden]), [data-do="view"]'))?.focus();
  if (location.hash) history.replaceState(null, "", location.pathname);
});

new ResizeObserver(() => zoom.fit()).observe(part(".frame"));
