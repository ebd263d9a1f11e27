// Uses the gateway's page as people do, and prints what it saw as JSON.
// Arguments: the page's address, a folder for screenshots.
// PLAYWRIGHT: folder whose node_modules hold playwright-core. CHROMIUM: the browser. KEY: an API
// key with no jobs yet.

import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(join(process.env.PLAYWRIGHT, "x.js"))("playwright-core");
const [, , address, folder] = process.argv;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
const seen = { outside: [], complaints: [] };

async function open(options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(90_000);
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== "blob:" && origin !== address) seen.outside.push(request.url());
  });
  page.on("console", (message) => {
    // the browser itself reports the 401 by which the page learns that a key is needed, and the
    // 404 of a preview whose job has just ended
    if (message.type() === "error" && !/status of 40[14]/.test(message.text())) {
      seen.complaints.push(message.text());
    }
  });
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  await page.goto(address);
  await page.getByLabel("API key").fill(process.env.KEY);
  await page.getByLabel("API key").press("Enter");
  await page.locator("#key-field").waitFor({ state: "hidden" });
  return page;
}

const card = (page, prompt) => page.locator(".job", { hasText: prompt });
const ended = (page, prompt, status) => card(page, prompt).and(page.locator(`[data-status="${status}"]`)).first();
const pictured = (page, prompt) =>
  card(page, prompt).locator(".images img[src]").first().evaluate((image) => image.decode().then(() => image.naturalWidth));

// The width of what is shown of a job while it runs.
async function previewed(page, prompt) {
  const picture = card(page, prompt).and(page.locator('[data-status="running"]')).locator(".preview");
  await picture.waitFor();
  return picture.evaluate((image) => image.decode().then(() => image.naturalWidth));
}

// The progress of a running job, once it is over `share`.
async function progressed(page, share) {
  const found = await page.waitForFunction((share) => {
    const value = document.querySelector('.job[data-status="running"] progress')?.value;
    return value > share && value;
  }, share);
  return found.jsonValue();
}

async function ask(page, prompt, steps, { size = "256x256" } = {}) {
  if (!(await page.locator("details[open]").count())) await page.locator("summary").click();
  await page.getByLabel("Steps").fill(String(steps));
  await page.getByLabel("Size").selectOption(size);
  await page.getByLabel("What shall it be?").fill(prompt);
  await page.getByRole("button", { name: "Generate" }).click();
}

async function shoot(name, page) {
  await page.waitForFunction(() => [...document.images].every((image) => !image.alt || image.complete && image.naturalWidth));
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

// A job with visible progress, then its image.
const page = await open({ colorScheme: "light" });
await ask(page, "a lighthouse at dusk", 150);
seen.progress = await progressed(page, 0.05);
seen.preview = await previewed(page, "a lighthouse at dusk");
await ended(page, "a lighthouse at dusk", "completed").waitFor();
seen.width = await pictured(page, "a lighthouse at dusk");
seen.previewLeft = await card(page, "a lighthouse at dusk").locator(".preview").isVisible();

// The same by keyboard alone.
await page.getByLabel("What shall it be?").focus();
await page.keyboard.press("ControlOrMeta+A");
await page.keyboard.type("an otter by keyboard");
await page.keyboard.press("Control+Enter");
await ended(page, "an otter by keyboard", "completed").waitFor();
await card(page, "an otter by keyboard").getByRole("button", { name: "Show an otter" }).focus();
await page.keyboard.press("Enter");
seen.enlarged = await page.locator("#viewer").isVisible();
await page.keyboard.press("Escape");

// A variation is another image of the same prompt.
await card(page, "an otter by keyboard").getByRole("button", { name: "Variation" }).click();
await page.waitForFunction(() => document.querySelectorAll('.job[data-status="completed"]').length >= 3);
seen.otters = await card(page, "an otter by keyboard").count();

// One is cancelled, one fails.
await ask(page, "a never-ending story", 150, { size: "512x512" });
await ask(page, "a second never-ending story", 150, { size: "512x512" });
await ended(page, "a never-ending story", "running").waitFor();
await card(page, "a second never-ending story").getByRole("button", { name: "Cancel" }).click();
await ended(page, "a second never-ending story", "cancelled").waitFor();
await ask(page, "a picture nobody can make <lora:nobody:1>", 2);
await ended(page, "a picture nobody can make", "failed").waitFor();
seen.reason = await card(page, "a picture nobody can make").locator(".reason").innerText();
await page.getByLabel("Images").fill("2");
await ask(page, "two hills in the fog", 20, { size: "512x512" });
await ended(page, "two hills in the fog", "completed").waitFor();

// Reloading finds them all again.
await page.reload();
await ended(page, "a lighthouse at dusk", "completed").waitFor();
seen.again = await pictured(page, "a lighthouse at dusk");
seen.cancelled = await ended(page, "a second never-ending story", "cancelled").count();

seen.contrast = await contrasts(page);
await ask(page, "a train crossing a snowy valley", 150, { size: "768x512" });
await ask(page, "a teapot in the rain", 150);
await progressed(page, 0.3);
await page.getByLabel("What shall it be?").fill("a garden of glass flowers");
await shoot("page-light", page);

const dark = await open({ colorScheme: "dark" });
await ended(dark, "a lighthouse at dusk", "completed").waitFor();
await pictured(dark, "a lighthouse at dusk");
seen.contrastDark = await contrasts(dark);
await shoot("page-dark", dark);

const phone = await open({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
await ended(phone, "a lighthouse at dusk", "completed").waitFor();
seen.overflow = await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth);
await card(phone, "a lighthouse at dusk").first().scrollIntoViewIfNeeded();
await phone.evaluate(() => scrollTo(0, 0));
await shoot("page-phone", phone);

console.log(JSON.stringify(seen));
await browser.close();

// Every text's contrast against what is behind it that is under 4.5 (WCAG 2.2, 1.4.3).
function contrasts(page) {
  return page.evaluate(() => {
    const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
    const luminance = ([red, green, blue]) => {
      const [r, g, b] = [red, green, blue].map((value) => {
        const share = value / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const [red, green, blue, alpha = 1] = channels(getComputedStyle(at).backgroundColor);
        if (alpha > 0) return [red, green, blue];
      }
      return [255, 255, 255];
    };
    const faults = [];
    for (const element of document.querySelectorAll("body *")) {
      const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      const { color, visibility, opacity } = getComputedStyle(element);
      const box = element.getBoundingClientRect();
      if (!own || visibility === "hidden" || opacity !== "1" || !box.width || box.right < 0) continue;
      const [light, shade] = [luminance(channels(color)), luminance(behind(element))].sort((a, b) => b - a);
      const ratio = (light + 0.05) / (shade + 0.05);
      if (ratio < 4.5) faults.push(`${element.tagName} ${element.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
    }
    return faults;
  });
}
