// The jobs: a card for each, which is kept as its job stands.

import { ask, attempt, json } from "./api.js";
import { drop, fill, makeCard, tick } from "./card.js";
import { confirmed, copy } from "./dialogs.js";
import { at, say } from "./dom.js";
import { follow, isBehind, unfollow } from "./follow.js";
import { startFrom } from "./form.js";
import { download, fileName } from "./media.js";
import { again, useSettings, variation } from "./settings.js";
import { openViewer } from "./viewer.js";
import { isOpen, OPEN, title } from "./words.js";

const PAGE = 24;
const TURNS = 4; // requests in a row for a page of jobs that are hard to find
const NEWEST = 100;
const CANCELLED_AT_ONCE = 4;
const EVERYTHING = 20; // pages that are looked through for open jobs

const cards = new Map();
let next = null;
let wanted = {}; // which jobs are looked for: what `GET /v1/jobs` takes beside limit and cursor
let turn = 0;

// A job that was just asked for.
export function add(view) {
  show(view, { first: true });
  at("nothing").hidden = true;
  say(`Sent: ${title(view)}`);
}

export function show(view, { first = false } = {}) {
  let card = cards.get(view.id);
  if (!card) {
    card = makeCard(view);
    cards.set(view.id, card);
    at("list")[first ? "prepend" : "append"](card);
  }
  const before = card.view;
  fill(card, view);
  if (isOpen(view)) follow(view, show);
  else unfollow(view.id);
  if (before && isOpen(before) && !isOpen(view)) say(`${view.status}: ${title(view)}`);
  if (!before || isOpen(before) !== isOpen(view)) at("cancel-all").hidden = !shown().some(isOpen);
}

// All jobs that are shown, from the top.
const shown = () => [...at("list").children].map((card) => card.view);

export const find = (query) => {
  wanted = query;
  return load();
};

// The newest jobs that are looked for; what was shown goes once they are there.
export async function load() {
  const mine = ++turn;
  const page = await pageAt(null);
  if (mine !== turn) return; // something else is looked for by now
  clear();
  put(page);
  if (Object.keys(wanted).length) say(cards.size ? `${cards.size}${next ? " or more" : ""} found` : "None found");
}

export async function loadOlder() {
  const mine = turn;
  const page = await pageAt(next);
  if (mine === turn) put(page);
}

function put(page) {
  for (const view of page.jobs) show(view);
  next = page.next;
  at("more").hidden = !next;
  const isSearch = Object.keys(wanted).length > 0;
  at("more").textContent = isSearch ? "Look among older jobs" : "Older jobs";
  at("nothing").hidden = cards.size > 0;
  at("nothing").textContent = !isSearch
    ? "Nothing yet. What you ask for appears here."
    : next ? "None of the newest jobs is like that." : "No job is like that.";
}

async function pageAt(cursor) {
  const found = { jobs: [], next: cursor };
  for (let asked = 0; asked < TURNS && found.jobs.length < PAGE && (found.next || !asked); asked += 1) {
    const page = await listed({ ...wanted, limit: PAGE - found.jobs.length }, found.next);
    found.jobs.push(...page.jobs);
    found.next = page.next;
  }
  return found;
}

function listed(query, cursor) {
  const pairs = Object.entries({ ...query, ...(cursor && { cursor }) });
  return json(`/v1/jobs?${new URLSearchParams(pairs.flatMap(([name, value]) => [value].flat().map((one) => [name, one])))}`);
}

function clear() {
  for (const [id, card] of cards) {
    unfollow(id);
    drop(card);
  }
  cards.clear();
  at("list").replaceChildren();
  at("cancel-all").hidden = true;
}

// What is not heard of by itself: jobs for which there was no connection, and the time.
export async function keepUp() {
  const now = new Date();
  for (const card of cards.values()) tick(card, now);
  if (!isBehind()) return;
  const { jobs } = await listed({ limit: NEWEST }).catch(() => ({ jobs: [] }));
  for (const view of jobs) if (cards.has(view.id)) show(view);
}

async function cancel(id) {
  const view = await json(`/v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
  if (cards.has(id)) show(view);
}

export async function cancelAll() {
  const open = [];
  for (let page = { next: null }, asked = 0; asked < EVERYTHING && (page.next || !asked); asked += 1) {
    page = await listed({ status: OPEN, limit: NEWEST }, page.next);
    open.push(...page.jobs.filter((view) => view.status !== "cancelling"));
  }
  const running = open.filter((view) => view.status === "running").length;
  if (!open.length) return say("There is nothing to cancel");
  const words = open.length === 1 ? "Cancel your open job" : `Cancel all ${open.length} of your open jobs`;
  if (!(await confirmed(`${words}${running ? `, ${running} of which ${running === 1 ? "is" : "are"} being worked on` : ""}?`, "Cancel them", "Keep them"))) return;
  const left = open.map((view) => view.id); // the newest first, so that none of them begins meanwhile
  const some = async () => {
    for (let id = left.shift(); id; id = left.shift()) await cancel(id);
  };
  await Promise.all(Array.from({ length: CANCELLED_AT_ONCE }, some));
  say(`${open.length} cancelled`);
}

// What can be done with a job, at its card and in the viewer.
const actions = {
  use: useSettings,
  start: async (view, number) => startFrom(await (await ask(view.images[number].href)).blob(), fileName(view, number)),
  again: async (view) => add(await again(view)),
  variation: async (view) => add(await variation(view)),
  cancel: (view) => cancel(view.id),
  download: (view, number) => download(view, number),
};

const look = (view, number) => openViewer(view, number, { shown, actions, cardOf: (id) => cards.get(id) });

// What the page's address names: an image that somebody was sent the link of.
export async function followLink() {
  const { job, image = 1 } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (!job) return;
  const view = cards.get(job)?.view ?? (await json(`/v1/jobs/${encodeURIComponent(job)}`));
  if (view.images[image - 1]) look(view, image - 1);
}

export function attend(list) {
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-do]");
    const view = button?.closest(".job").view;
    if (!view) return;
    const number = Number(button.dataset.number ?? 0);
    const { do: name } = button.dataset;
    if (name === "view" || name === "details") look(view, number);
    else if (name === "copy-id") copy(view.id, button).then(() => say("The id is copied"));
    else attempt(() => actions[name](view, number));
  });
}
