// The page of the gateway: asks for images, follows jobs, shows what became of them.

import { tell } from "./activity.js";
import { attempt, keep, lacksKey } from "./api.js";
import { at } from "./dom.js";
import { askInputs, contentOf, offer, offerWorkflows } from "./form.js";
import { add, load, loadOlder } from "./jobs.js";
import { look } from "./runtimes.js";
import { submit } from "./submit.js";

const ACTIVITY = 5000;

at("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("send").disabled = true;
  await attempt(async () => add(await submit(contentOf(), { runtime: at("runtime").value })));
  at("send").disabled = false;
});

at("runtime").addEventListener("change", offerWorkflows);
at("workflow").addEventListener("change", askInputs);

at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
});

at("key").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault(); // it would send the form
  at("key").blur();
});

at("key").addEventListener("change", (event) => {
  keep(event.target.value.trim());
  start();
});

at("more").addEventListener("click", () => attempt(loadOlder));

async function refresh() {
  const runtimes = await look().catch(() => []);
  tell(runtimes);
  if (runtimes.length) offer(runtimes);
}

async function start() {
  await attempt(() => load());
  if (!lacksKey()) await refresh();
}

await start();
setInterval(() => document.hidden || lacksKey() || refresh(), ACTIVITY);
