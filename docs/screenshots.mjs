// Asks the demo's page for pictures as people do, and takes the screenshots of the documents.
// Arguments: the page's address, a folder for the screenshots.
// PLAYWRIGHT: folder whose node_modules hold playwright-core. CHROMIUM: the browser.
//
// Of the page it knows what a reader is told: the labels below. What became of jobs it asks the API.

import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(join(process.env.PLAYWRIGHT, "x.js"))("playwright-core");
const [, , address, folder] = process.argv;
const PROMPT = /^Prompt$/;
const STEPS = /^Steps/;
const SEEDS = /^Seed/;
const SEND = /^Generate/;
const WANTED = [
  "blue square on yellow",
  "large orange star",
  "red circle",
  "pink heart on black",
  "large yellow star on purple",
];
const SEED = 104;
const SLOW = 150; // steps, so that it can be seen at work

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});

async function open(options) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1180 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(180_000);
  await page.goto(address);
  return page;
}

const prompt = (page) => page.getByRole("textbox", { name: PROMPT });

async function ask(page, text, steps) {
  await page.getByLabel(STEPS).fill(String(steps));
  await page.getByLabel(SEEDS).fill(String(SEED));
  await prompt(page).fill(text);
  const sent = page.waitForResponse((answer) => answer.request().method() === "POST");
  await page.getByRole("button", { name: SEND }).click();
  return (await (await sent).json()).id;
}

async function until(id, status, progress = 0) {
  for (;;) {
    const job = await (await fetch(new URL(`/v1/jobs/${id}`, address))).json();
    if (job.status === status && (job.progress ?? 0) >= progress) return;
    if (["failed", "expired", "cancelled"].includes(job.status)) throw new Error(JSON.stringify(job));
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function shoot(name, page) {
  await page.waitForLoadState("networkidle");
  await page.waitForFunction(() =>
    [...document.images].every((image) => !image.src || (image.complete && image.naturalWidth)),
  );
  await page.screenshot({ path: join(folder, `${name}.png`), animations: "disabled" });
}

const light = await open({ colorScheme: "light" });
for (const text of WANTED) {
  await until(await ask(light, text, 20), "completed");
}
const slow = await ask(light, "green triangle", SLOW);
await until(slow, "running", 0.7);
await prompt(light).fill("white heart on red");
await shoot("page-light", light);
await until(slow, "completed");

await shoot("page-dark", await open({ colorScheme: "dark" }));

const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
const small = await open(phone);
await small.getByRole("region", { name: "Jobs" }).evaluate((jobs) => jobs.scrollIntoView());
await shoot("page-phone", small);

await browser.close();
