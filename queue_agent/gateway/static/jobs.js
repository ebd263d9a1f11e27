// The jobs: a card for each, which follows it to its end.

import { ask, attempt, json } from "./api.js";
import { at, say } from "./dom.js";
import { parse } from "./exact.js";
import { key } from "./key.js";
import { again, canVary, variation } from "./settings.js";
import { enlarge } from "./viewer.js";
import { settings, title } from "./words.js";

const PAGE = 24;
const RETRY = 2000;
const OPEN = ["queued", "running", "cancelling"];

const cards = new Map();
const following = new Set();
let next = null;

// A job that was just asked for.
export function add(view) {
  show(view, { first: true });
  say(`Sent: ${title(view)}`);
}

function show(view, { first = false } = {}) {
  let card = cards.get(view.id);
  if (!card) {
    card = at("job").content.firstElementChild.cloneNode(true);
    card.dataset.id = view.id;
    cards.set(view.id, card);
    at("list")[first ? "prepend" : "append"](card);
    card.addEventListener("click", (event) => act(card, event.target.closest("button")));
  }
  const before = card.view?.status;
  card.view = view;
  fill(card, view);
  at("nothing").hidden = true;
  const isOpen = OPEN.includes(view.status);
  if (isOpen) follow(view.id);
  if (!isOpen && OPEN.includes(before)) say(`${view.status}: ${title(view)}`);
}

function fill(card, view) {
  const part = (selector) => card.querySelector(selector);
  const isOpen = OPEN.includes(view.status);
  card.dataset.status = view.status;
  part("h2").textContent = title(view);
  part(".settings").textContent = settings(view);
  part(".state").textContent = state(view);
  part(".wait").hidden = view.status === "completed" || view.status === "failed" || view.status === "expired";
  part(".reason").textContent = view.error?.message ?? "";
  const bar = part("progress");
  bar.hidden = !isOpen;
  bar.setAttribute("aria-label", `Progress of ${title(view)}`);
  if (view.progress === null) bar.removeAttribute("value");
  else bar.value = view.progress;
  part('[data-do="cancel"]').hidden = !isOpen;
  part('[data-do="cancel"]').disabled = view.status === "cancelling";
  part('[data-do="again"]').hidden = isOpen;
  part('[data-do="variation"]').hidden = isOpen || !canVary(view);
  glimpse(part(".preview"), view);
  if (view.images.length && !part(".images").childElementCount) hang(part(".images"), view);
}

// The work under way, behind the words that tell how far it is.
async function glimpse(picture, view) {
  const path = OPEN.includes(view.status) ? view.preview : null;
  if (!path) picture.hidden = true;
  if (!path || picture.dataset.of === path) return;
  picture.dataset.of = path;
  const blob = await ask(path).then((answer) => answer.blob()).catch(() => null);
  if (!blob || picture.dataset.of !== path) return; // there is none any more, or a newer one
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(blob);
  picture.hidden = !OPEN.includes(cards.get(view.id).view.status);
}

function state(view) {
  if (view.status === "running") {
    const doing = view.stage ? view.stage[0].toUpperCase() + view.stage.slice(1) : "Running";
    return view.progress === null ? doing : `${doing}, ${Math.round(view.progress * 100)} %`;
  }
  if (view.status !== "queued") return { cancelling: "Being cancelled …", cancelled: "Cancelled" }[view.status] ?? view.status;
  const { position, estimated_seconds: seconds } = view.queue ?? {};
  const ahead = position ? `${position} ahead` : "Next in line";
  return seconds ? `${ahead}, about ${duration(seconds)}` : position === undefined ? "Waiting" : ahead;
}

const duration = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);

function hang(wall, view) {
  wall.classList.toggle("several", view.images.length > 1);
  const several = view.images.length > 1;
  for (const [number, image] of view.images.slice(0, 4).entries()) {
    const button = document.createElement("button");
    const picture = document.createElement("img");
    button.type = "button";
    button.dataset.do = "view";
    button.setAttribute("aria-label", `Show ${several ? `image ${number + 1} of ` : ""}${title(view)}`);
    picture.alt = title(view);
    picture.decoding = "async";
    button.append(picture);
    wall.append(button);
    // fetched here, because an <img> cannot send the API key
    ask(image.href)
      .then((answer) => answer.blob())
      .then((blob) => { picture.src = URL.createObjectURL(blob); })
      .catch(() => { button.replaceChildren("This image cannot be loaded."); });
  }
}

async function act(card, button) {
  const { id } = card.view;
  const actions = {
    again: async () => add(await again(card.view)),
    variation: async () => add(await variation(card.view)),
    cancel: async () => show(await json(`/v1/jobs/${id}`, { method: "DELETE" })),
    view: async () => enlarge(button.querySelector("img"), card.view),
  };
  const action = actions[button?.dataset.do];
  if (action) await attempt(action);
}

export const loadOlder = () => load(next);

// The newest jobs, or those that begin at the cursor.
export async function load(cursor = null) {
  const query = new URLSearchParams({ limit: PAGE, ...(cursor && { cursor }) });
  const page = await json(`/v1/jobs?${query}`);
  for (const view of page.jobs) show(view);
  next = page.next;
  at("more").hidden = !next;
  at("nothing").hidden = cards.size > 0;
}

// By WebSocket, because browsers allow only a few connections to a host otherwise. One that breaks
// is opened anew: its first message is the job as it stands.
function follow(id) {
  if (following.has(id)) return;
  following.add(id);
  const url = `${location.origin.replace(/^http/, "ws")}/v1/jobs/${encodeURIComponent(id)}/events`;
  const socket = new WebSocket(url, key() ? [`queue-agent.key.${key()}`] : []);
  socket.addEventListener("message", (event) => show(parse(event.data)));
  socket.addEventListener("close", () => {
    following.delete(id);
    if (OPEN.includes(cards.get(id).view.status)) setTimeout(() => follow(id), RETRY);
  });
}
