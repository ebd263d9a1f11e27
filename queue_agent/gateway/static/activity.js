// What goes on: how much waits, is worked on, and has ended of late.

import { at } from "./dom.js";

// Of the runtimes; none where the gateway does not say.
export function tell(runtimes) {
  const queues = runtimes.map((runtime) => runtime.queue).filter(Boolean);
  const sum = (name) => queues.reduce((total, queue) => total + queue[name], 0);
  at("waiting").textContent = queues.length ? sum("waiting") : "–";
  at("in-flight").textContent = queues.length ? sum("in_flight") : "–";
  const paused = runtimes.flatMap(({ name, paused = [] }) => paused.map((what) => `${name}: ${what}`));
  at("paused").hidden = !paused.length;
  at("paused").textContent = paused.length ? `Paused, and jobs wait. ${paused.join("; ")}` : "";
  if (!runtimes.length) return;
  draw(runtimes[0].throughput.map((_, place) => runtimes.reduce((total, runtime) => total + runtime.throughput[place], 0)));
}

function draw(counts) {
  const top = Math.max(1, ...counts);
  const points = counts.map((count, place) => [(place * 120) / (counts.length - 1), 26 - (count / top) * 24]);
  const line = points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
  at("sparkline").querySelector(".line").setAttribute("d", `M${line}`);
  at("sparkline").querySelector(".area").setAttribute("d", `M0 28L${line}L120 28Z`);
  const total = counts.reduce((sum, count) => sum + count, 0);
  at("sparkline").setAttribute("aria-label", `${total} jobs ended in the last 10 minutes`);
}
