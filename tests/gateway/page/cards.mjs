// What cards show of jobs of every kind, how they are found, and how all are cancelled.

import { card, desktop, finish, open, phone, seen, shoot } from "./harness.mjs";

// A card as somebody looks at it: brought into sight, with what it shows loaded.
async function at(page, prompt) {
  const found = card(page, prompt).first();
  await found.scrollIntoViewIfNeeded();
  return found;
}

const loaded = (element) => element.evaluate((image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight]));
const titles = (page) => page.locator("#list h2").allInnerTexts();

async function listed(page, count) {
  await page.waitForFunction((count) => document.querySelectorAll("#list .job").length === count, count);
  return titles(page);
}

async function look(page) {
  const shown = {};
  const hills = await at(page, "twelve hills");
  const pictures = hills.locator(".images img");
  await hills.locator(".images img[src]").nth(11).waitFor();
  shown.hills = await pictures.count();
  shown.cut = await pictures.evaluateAll((images) => images.filter((image) => getComputedStyle(image).objectFit !== "contain" || image.clientHeight > image.closest(".stage").clientHeight || image.getBoundingClientRect().bottom > image.closest(".stage").getBoundingClientRect().bottom + 1).length);
  const heron = (await at(page, "a tall heron")).locator(".images img[src]");
  shown.heron = await loaded(heron);
  shown.heronBox = await heron.evaluate((image) => [image.clientHeight <= image.closest(".stage").clientHeight, getComputedStyle(image).objectFit]);

  const teapot = await at(page, "a teapot in the rain");
  await teapot.locator(".preview").waitFor();
  shown.preview = await loaded(teapot.locator(".preview"));
  shown.step = await teapot.locator(".state").innerText();
  shown.stage = await (await at(page, "a castle of glass")).locator(".state").innerText();

  const film = (await at(page, "a moving lamp")).locator('video[src][poster^="blob:"]');
  shown.posters = await (await at(page, "a moving lamp")).locator("video, .hung img").count();
  shown.film = await film.evaluate((video) => video.play().then(() => [video.videoWidth, video.controls]));
  const sound = (await at(page, "rain on a roof")).locator("audio");
  shown.sound = await sound.evaluate((audio) => audio.play().then(() => [Math.round(audio.duration), audio.controls]));
  const heavy = await at(page, "an epic film");
  shown.heavy = await heavy.locator("video[src]").count();
  shown.heavyPoster = await heavy.locator('video[poster^="blob:"]').evaluate((video) => [video.controls, video.checkVisibility()]);
  await heavy.getByRole("button", { name: "Load 84.0 MB" }).click();
  await heavy.locator("video[src][controls][poster]").waitFor();
  shown.mixed = await (await at(page, "a harbour and its film")).locator(".hung").count();
  const mesh = await at(page, "a lamp to turn about");
  const [file] = await Promise.all([page.waitForEvent("download"), mesh.getByRole("button", { name: "Download model/gltf-binary" }).click()]);
  shown.file = file.suggestedFilename();
  shown.lost = await (await at(page, "a lost picture")).locator(".gone").textContent();
  return shown;
}

for (const [name, device] of [["desktop", desktop], ["phone", phone]]) {
  const page = await open(device);
  await listed(page, 18);
  seen[name] = await look(page);
  seen[name].overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await page.evaluate(() => document.getElementById("jobs").scrollIntoView());
  await shoot(`cards-${name}`, page);
}

// What is told of a job.
const page = await open();
await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
const words = async (prompt, selector) => (await at(page, prompt)).locator(selector).textContent();
const time = (await at(page, "a tall heron")).locator("time");
seen.time = [await time.innerText(), await time.getAttribute("title"), await time.getAttribute("datetime")];
seen.runtime = await words("rain on a roof", ".runtime");
seen.took = await words("a tall heron", ".took");
seen.tookWhole = await (await at(page, "a tall heron")).locator(".took").getAttribute("title");
await (await at(page, "a tall heron")).locator(".id").click();
await page.locator(".id[data-copied]").waitFor();
seen.copied = await page.evaluate(() => navigator.clipboard.readText());
await (await at(page, "a warned fox")).getByText("2 warnings").click();
seen.warnings = await card(page, "a warned fox").locator(".warnings li").allInnerTexts();
for (const prompt of ["a very large city", "a face", "an odd failure", "a late train"]) {
  const parts = (await at(page, prompt)).locator(".reason:not([hidden]) > *");
  seen[prompt] = (await parts.allTextContents()).filter(Boolean);
}
seen.cancelled = await words("a cancelled ferry", ".state");

// Found by words, state and runtime, among all that there are.
await page.getByLabel("Search prompts and ids").fill("HERON reeds");
seen.byWords = await listed(page, 1);
await page.getByLabel("Search prompts and ids").fill("page.rain");
await page.locator("#list .job", { hasText: "rain on a roof" }).waitFor();
seen.byId = await listed(page, 1);
await page.getByLabel("Search prompts and ids").fill("no such thing");
await page.getByText("No job is like that.").waitFor();
seen.none = await listed(page, 0);
await page.getByLabel("Search prompts and ids").fill("");
await page.getByLabel("State", { exact: true }).selectOption("Failed");
await page.locator("#list .job", { hasText: "a late train" }).waitFor();
seen.failed = await listed(page, 4);
await page.getByLabel("State", { exact: true }).selectOption("Any state");
await page.getByLabel("Runtime of the jobs").selectOption("comfyruntime");
seen.comfy = await listed(page, 3);
await page.getByLabel("Runtime of the jobs").selectOption("Any runtime");
await listed(page, 18);

// All that are open are cancelled, if somebody means it.
await page.getByRole("button", { name: "Cancel all" }).click();
await page.locator("#confirm[open]").waitFor();
seen.question = await page.locator("#question").innerText();
await page.getByRole("button", { name: "Keep them" }).click();
seen.kept = await page.locator('[data-status="cancelling"]').count();
await page.getByLabel("State", { exact: true }).selectOption("Completed"); // none of the open ones is shown
await listed(page, 10);
seen.hiddenWithoutOpen = await page.getByRole("button", { name: "Cancel all" }).isHidden();
await page.getByLabel("State", { exact: true }).selectOption("Open");
await listed(page, 3);
await page.getByRole("button", { name: "Cancel all" }).click();
await page.getByRole("button", { name: "Cancel them" }).click();
await page.waitForFunction(() => document.querySelectorAll('[data-status="cancelling"]').length === 3);
await page.getByText("3 cancelled").waitFor({ state: "attached" });
seen.told = await page.locator("#live").innerText();

// Hundreds of cards: only what is near is loaded, and what is gone is let go of.
const crowd = await open(desktop, process.env.CROWD_KEY);
while (await crowd.getByRole("button", { name: "Older jobs" }).isVisible()) {
  const before = await crowd.locator(".job").count();
  await crowd.getByRole("button", { name: "Older jobs" }).click();
  await crowd.waitForFunction((before) => document.querySelectorAll(".job").length > before, before);
}
seen.crowd = await crowd.locator(".job").count();
// As far as one can scroll, which changes as cards are laid out.
const scrolled = (end) => crowd.waitForFunction((end) => {
  scrollTo(0, end ? document.documentElement.scrollHeight : 0);
  const images = [...document.querySelectorAll(".images img")];
  if (end) images.reverse();
  return images[0].hasAttribute("src") && !images.at(-1).hasAttribute("src");
}, end);
await scrolled(false);
seen.loadedAtTop = await crowd.locator(".images img[src]").count();
await scrolled(true);
seen.loadedAtEnd = await crowd.locator(".images img[src]").count();
await crowd.getByLabel("Search prompts and ids").fill("study 299");
seen.amongMany = await listed(crowd, 1);

// Dozens of open jobs: some are followed, of the others is heard all the same.
const sockets = [];
const busy = await open(desktop, process.env.BUSY_KEY, (page) => page.on("websocket", (socket) => sockets.push(decodeURIComponent(new URL(socket.url()).pathname.split("/")[3]))));
await busy.getByRole("button", { name: "Older jobs" }).click();
await busy.waitForFunction(() => document.querySelectorAll(".job").length === 40);
const elsewhere = (id) => busy.evaluate((id) => fetch(`/v1/jobs/${id}`, { method: "DELETE", headers: { Authorization: `Bearer ${sessionStorage.getItem("key")}` } }), id);
while (sockets.length < 32) await busy.waitForEvent("websocket"); // browsers open one after the other
seen.followed = sockets.length;
const unfollowed = (await busy.locator(".job").evaluateAll((cards) => cards.map((card) => card.dataset.id))).filter((id) => !sockets.includes(id));
seen.unfollowed = unfollowed;
for (const id of [sockets[0], unfollowed[0]]) await elsewhere(id);
await busy.waitForFunction((ids) => ids.every((id) => document.querySelector(`[data-id="${id}"]`).dataset.status === "cancelling"), [sockets[0], unfollowed[0]]);
seen.heardOf = await busy.locator('[data-status="cancelling"]').count();

await finish();
