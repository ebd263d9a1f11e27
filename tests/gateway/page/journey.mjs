// A video from the form to the player, of a runtime that works on it for a while.

import { card, ended, field, finish, progressed, seen, shoot, visit } from "./harness.mjs";

const page = await visit();
const statuses = [];
page.on("response", (response) => response.request().resourceType() === "media" && statuses.push(response.status()));
await field(page, "Make").waitFor();
await field(page, "Make").selectOption("Video");
await field(page, "Prompt").fill("a ferry at night");
await field(page, "Seconds").fill("2");
await field(page, "FPS").fill("8");
await field(page, "Steps").fill("20");
await still(5);
await page.getByRole("button", { name: "Generate" }).click();
seen.progress = await progressed(page, 0.05);
await still();
await ended(page, "a ferry at night", "completed").waitFor();
const film = card(page, "a ferry at night").locator("video[src][poster]");
await film.waitFor();
seen.played = await film.evaluate(async (video) => {
  video.loop = false;
  const over = new Promise((resolve) => video.addEventListener("ended", resolve, { once: true }));
  await video.play();
  await over;
  return [video.videoWidth, video.videoHeight, video.duration, video.error];
});
seen.statuses = [...new Set(statuses)];
await shoot("journey", page);
await finish();

// The runtime stands still once so many steps are done, until somebody has seen it.
async function still(after) {
  await fetch(`${process.env.RUNTIME}/fake/paused${after ? `?after=${after}` : ""}`, { method: "POST" });
}
