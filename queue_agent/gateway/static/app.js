// The page of the gateway: asks for images, follows jobs, shows what became of them.

import { tell } from "./activity.js";
import { attempt, Problem } from "./api.js";
import { at } from "./dom.js";
import { expect } from "./expected.js";
import { check, fault, place } from "./fields.js";
import { offerToFind } from "./finder.js";
import { asked, offer, prepare } from "./form.js";
import { add, attend, followLink, keepUp, load, loadOlder } from "./jobs.js";
import { keep, lacksKey, showPage } from "./key.js";
import { look } from "./runtimes.js";
import { submit } from "./submit.js";

const ACTIVITY = 5000;

at("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (at("send").disabled) return;
  at("send").disabled = true;
  await prepare();
  if (check(at("ask"))) await attempt(send);
  at("send").disabled = false;
});

async function send() {
  try {
    add(await submit(asked()));
    expect({ anew: true });
  } catch (error) {
    if (!(error instanceof Problem && error.status === 422 && place(at("ask"), error.message))) throw error;
  }
}

at("ask").addEventListener("input", (event) => fault(event.target));

at("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
});

at("key-field").addEventListener("submit", (event) => {
  event.preventDefault();
  keep(at("key").value.trim());
  start();
});

at("more").addEventListener("click", () => attempt(loadOlder));
addEventListener("hashchange", () => attempt(followLink));
attend(at("list"));

async function refresh() {
  const runtimes = await look().catch(() => []);
  tell(runtimes);
  if (runtimes.length) offer(runtimes);
  expect();
  offerToFind(runtimes.map(({ name }) => name));
}

async function start() {
  await attempt(() => load());
  if (lacksKey()) return;
  await refresh();
  showPage();
  await attempt(followLink);
}

await start();
setInterval(() => document.hidden || lacksKey() || Promise.all([refresh(), keepUp()]), ACTIVITY);
