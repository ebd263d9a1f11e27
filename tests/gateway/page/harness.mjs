// A browser for the scripts beside this one, which use the gateway's page as people do. Each prints
// what it saw as JSON by `finish`.
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
export const seen = { outside: [], complaints: [] };

export const desktop = { viewport: { width: 1280, height: 860 } };
export const phone = { viewport: { width: 360, height: 760 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

// The page as a stranger sees it.
export async function visit(options, place = address) {
  const context = await browser.newContext({ ...desktop, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(Number(process.env.PATIENCE ?? 90_000));
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== "blob:" && origin !== address) seen.outside.push(request.url());
  });
  page.on("console", (message) => {
    // the browser itself reports the 401 by which the page learns that a key is needed, the 404 of
    // a preview whose job has just ended, and the 410 of a file that is no longer kept
    if (message.type() === "error" && !/status of 4(01|04|10)/.test(message.text())) {
      seen.complaints.push(message.text());
    }
  });
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  await page.goto(place);
  return page;
}

// The page, with the key.
export async function open(options = desktop, key = process.env.KEY, prepared = () => {}) {
  const page = await visit(options);
  prepared(page);
  await page.getByLabel("API key").fill(key);
  await page.getByLabel("API key").press("Enter");
  await page.locator("#key-field").waitFor({ state: "hidden" });
  return page;
}

export const card = (page, prompt) => page.locator(".job", { hasText: prompt });
export const ended = (page, prompt, status) => card(page, prompt).and(page.locator(`[data-status="${status}"]`)).first();

// The width of a finished job's image, which is fetched once it is near what is seen.
export async function pictured(page, prompt) {
  await card(page, prompt).first().scrollIntoViewIfNeeded();
  return card(page, prompt).locator(".images img[src]").first().evaluate((image) => image.decode().then(() => image.naturalWidth));
}

// The width of what is shown of a job while it runs.
export async function previewed(page, prompt) {
  const found = await page.waitForFunction((prompt) => {
    const cards = [...document.querySelectorAll('.job[data-status="running"]')].filter((card) => card.textContent.includes(prompt));
    return cards[0]?.querySelector(".preview:not([hidden])")?.naturalWidth;
  }, prompt);
  return found.jsonValue();
}

// The progress of a running job, once it is over `share`.
export async function progressed(page, share) {
  const found = await page.waitForFunction((share) => {
    const value = document.querySelector('.job[data-status="running"] progress')?.value;
    return value > share && value;
  }, share);
  return found.jsonValue();
}

// Lets jobs of prompts that hold `words` stand still once `after` steps are done, and no others;
// `false`: none. So it is not for the browser to be quick enough to see them run.
export async function hold(words, after) {
  const answer = await fetch(`${process.env.RUNTIME}/fake/paused?after=${after ?? 0}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(words) });
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
}

// A field of the form.
export const field = (page, label) => page.locator("#ask").getByLabel(label, { exact: true });

export async function ask(page, prompt, steps, { size = "256x256" } = {}) {
  const [width, height] = size.split("x");
  await field(page, "Steps").fill(String(steps));
  await field(page, "Width").fill(width);
  await field(page, "Height").fill(height);
  await field(page, "Prompt").fill(prompt);
  await page.getByRole("button", { name: "Generate" }).click();
}

export async function shoot(name, page) {
  await page.waitForFunction(() => [...document.images].every((image) => !image.src || image.complete && image.naturalWidth));
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

export async function finish() {
  console.log(JSON.stringify(seen));
  await browser.close();
}

// Every text's contrast against what is behind it that is under 4.5 (WCAG 2.2, 1.4.3).
export function contrasts(page) {
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
