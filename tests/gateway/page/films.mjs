// Videos and models from the form to the player, at a gateway that asks for no key.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { card, contrasts, desktop, ended, field, finish, phone, seen, shoot, visit } from "./harness.mjs";

const axe = readFileSync(join(process.env.PLAYWRIGHT, "node_modules", "axe-core", "axe.min.js"), "utf8");
const PICTURE = { name: "boat.png", mimeType: "image/png", buffer: Buffer.from(process.env.PICTURE, "base64") };

seen.axe = {};
async function judge(page, state) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  seen.axe[state] = serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`);
}

const sent = [];
const ranges = [];
const prepared = (page) => {
  page.on("request", async (request) => {
    if (request.method() === "POST" && request.url().endsWith("/v1/jobs")) sent.push(request.postDataJSON());
  });
  page.on("response", (response) => {
    if (/\/images\/\d+$/.test(response.url()) && response.request().resourceType() === "media") ranges.push(response.status());
  });
  return page;
};
const generate = (page) => page.getByRole("button", { name: "Generate" }).click();
const plays = (video) => video.evaluate(async (film) => {
  await film.play();
  return [film.videoWidth, film.controls, film.preload, film.duration, film.src.startsWith(location.origin)];
});
const posterOf = (video) => video.evaluate((film) => new Promise((resolve) => {
  const picture = new Image();
  picture.addEventListener("load", () => resolve([picture.naturalWidth, picture.naturalHeight]));
  picture.addEventListener("error", () => resolve(null));
  picture.src = film.poster;
}));

const page = prepared(await visit({ ...desktop }));
await page.locator("#page").waitFor();
await field(page, "Make").waitFor();
seen.kinds = await field(page, "Make").locator("option").allInnerTexts();
const visible = async () => page.locator("#portable label").evaluateAll((labels) => labels.filter((label) => label.checkVisibility()).map((label) => label.textContent.trim()));
seen.imageFields = await visible();

// A video from words.
await field(page, "Make").selectOption("Video");
seen.videoFields = await visible();
seen.leftToTheModel = await Promise.all(["Width", "Height", "Steps", "CFG scale"].map((label) => field(page, label).inputValue()));
await field(page, "Prompt").fill("a boat in the rain");
await field(page, "Seconds").fill("1.5");
await field(page, "FPS").fill("8");
await field(page, "Seed").fill("7");
await judge(page, "the form for videos");
await shoot("films-form", page);
await generate(page);
await ended(page, "a boat in the rain", "completed").waitFor();
seen.fromWords = sent.at(-1);
const film = card(page, "a boat in the rain").locator("video[src][poster]");
await film.waitFor();
seen.poster = await posterOf(film);
seen.hung = await card(page, "a boat in the rain").locator(".hung").count();
seen.plays = await plays(film);
seen.ranges = ranges.includes(206);
seen.settings = await card(page, "a boat in the rain").locator(".settings").innerText();
await judge(page, "a film in the gallery");
await shoot("films-gallery", page);

// In the viewer.
await card(page, "a boat in the rain").getByRole("button", { name: "Details" }).click();
const shown = page.locator("#viewer video[src][poster]");
await shown.waitFor();
seen.viewed = await plays(shown);
seen.count = await page.locator("#viewer .count").innerText();
seen.facts = Object.fromEntries(await page.locator("#viewer .facts > div").evaluateAll((rows) => rows.map((row) => [...row.children].map((part) => part.textContent))));
await judge(page, "a film in the viewer");
await shoot("films-viewer", page);
const [saved] = await Promise.all([page.waitForEvent("download"), page.locator("#viewer").getByRole("button", { name: "Download" }).click()]);
seen.saved = saved.suggestedFilename();
await page.keyboard.press("Escape");

// One that begins with a picture; the same settings lead back.
await page.getByText("First frame", { exact: true }).click();
await field(page, "Picture").setInputFiles(PICTURE);
await page.locator("#source-facts", { hasText: "boat.png" }).waitFor();
seen.maskOffered = await page.locator("#mask-part").isVisible();
await field(page, "Prompt").fill("a boat that leaves");
await generate(page);
await ended(page, "a boat that leaves", "completed").waitFor();
seen.fromPicture = sent.at(-1);
await page.getByRole("button", { name: "Remove picture" }).click();
await field(page, "Make").selectOption("Image");
seen.usualAgain = await Promise.all(["Width", "Height", "Steps", "CFG scale"].map((label) => field(page, label).inputValue()));
await card(page, "a boat that leaves").getByRole("button", { name: "Use these settings" }).click();
await page.locator("#source-facts", { hasText: "of that job" }).waitFor();
seen.filled = await Promise.all(["Make", "Seconds", "FPS", "Prompt", "Seed"].map((label) => field(page, label).inputValue()));
await generate(page);
await page.waitForFunction(() => document.querySelectorAll('.job[data-status="completed"]').length >= 2 && document.querySelectorAll(".job").length >= 2);
seen.again = sent.at(-1);

// A model of a picture, which is needed.
await page.getByRole("button", { name: "Remove picture" }).click();
await field(page, "Make").selectOption("3D model");
await field(page, "Prompt").fill("");
await generate(page);
await page.locator("#source-file-error").waitFor();
seen.needed = await page.locator("#source-file-error").innerText();
seen.meshFields = await visible();
await field(page, "Picture").setInputFiles(PICTURE);
await page.locator("#source-facts", { hasText: "boat.png" }).waitFor();
await judge(page, "the form for models");
await generate(page);
await ended(page, "image-to-3d", "completed").waitFor();
seen.ofPicture = sent.at(-1);
const [model] = await Promise.all([page.waitForEvent("download"), card(page, "image-to-3d").getByRole("button", { name: "Download model/gltf-binary" }).click()]);
seen.model = model.suggestedFilename();

// What a video is that is no longer kept, and how it all looks elsewhere.
seen.contrast = await contrasts(page);
const small = prepared(await visit({ ...phone, colorScheme: "dark" }));
await small.locator("#page").waitFor();
await ended(small, "a boat in the rain", "completed").waitFor();
await field(small, "Make").selectOption("Video");
seen.overflow = await small.evaluate(() => document.documentElement.scrollWidth - innerWidth);
await judge(small, "films on a phone, dark");
await card(small, "a boat in the rain").scrollIntoViewIfNeeded();
seen.phonePoster = await posterOf(card(small, "a boat in the rain").locator("video[poster]"));
await shoot("films-phone", small);
await finish();
