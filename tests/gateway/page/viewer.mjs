// Images, large: by keyboard, mouse and finger.

import { readFileSync } from "node:fs";

import { card, desktop, finish, open, phone, seen, shoot, visit } from "./harness.mjs";

const viewer = (page) => page.locator("#viewer");
const part = (page, selector) => viewer(page).locator(selector);
const text = (page, selector) => part(page, selector).innerText();
const facts = async (page) => Object.fromEntries(await part(page, ".facts div").evaluateAll((pairs) => pairs.map((pair) => [...pair.children].map((one) => one.textContent))));
// What has the focus, once that is what it is to be; what has it instead, if it never is.
async function focused(page, wanted) {
  const name = () => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent;
  await page.waitForFunction(`(${name})() === ${JSON.stringify(wanted)}`).catch(() => null);
  return page.evaluate(name);
}

async function loaded(page) {
  await part(page, ".frame img[src]").waitFor();
  await page.waitForFunction(() => {
    const image = document.querySelector("#viewer .frame img");
    return image?.complete && image.naturalWidth && !document.querySelector(".frame").hasAttribute("aria-busy");
  });
}

async function enlarge(page, prompt, name) {
  await card(page, prompt).scrollIntoViewIfNeeded();
  return card(page, prompt).getByRole("button", { name });
}

const share = async (page) => parseInt(await text(page, ".share"), 10);
const place = (page) => part(page, ".frame img").evaluate((image) => { const { x, y } = image.getBoundingClientRect(); return [Math.round(x), Math.round(y)]; });

// By keyboard alone.
const page = await open(desktop);
await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
await (await enlarge(page, "a tall heron", "Show a tall heron")).focus();
await page.keyboard.press("Enter");
await loaded(page);
seen.first = await text(page, ".count");
seen.title = await text(page, "h2");
seen.facts = await facts(page);
seen.own = await part(page, ".own pre").textContent();
await shoot("viewer-desktop", page);
await page.keyboard.press("ArrowRight");
await loaded(page);
seen.second = [await text(page, ".count"), await text(page, "h2")];
seen.said = await page.locator("#live").innerText();
await page.keyboard.press("End");
seen.last = await text(page, ".count");
seen.lastForth = await part(page, ".forth").isDisabled();
await page.keyboard.press("Home");
for (let step = 0; step < 3; step += 1) await page.keyboard.press("ArrowRight");
await loaded(page);
await page.keyboard.press("ArrowLeft");
await loaded(page);
seen.third = [await text(page, ".count"), (await facts(page)).Seed];
await page.keyboard.press("+");
await page.keyboard.press("+");
seen.zoomed = await share(page);
const before = await place(page);
await page.keyboard.press("Shift+ArrowRight");
const after = await place(page);
seen.panned = before[0] - after[0];
await page.keyboard.press("-");
seen.smaller = await share(page);
await page.keyboard.press("0");
seen.fitted = await share(page);
await page.keyboard.press("Tab");
seen.inside = await page.evaluate(() => document.getElementById("viewer").contains(document.activeElement));
await page.keyboard.press("Escape");
seen.closed = await viewer(page).isHidden();
seen.focus = await focused(page, "Show image 2 of twelve hills");

// By mouse.
await (await enlarge(page, "a tall heron", "Show a tall heron")).click();
await loaded(page);
const box = await part(page, ".frame").boundingBox();
const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
await page.mouse.move(x, y);
await page.mouse.wheel(0, -400);
seen.wheeled = await share(page);
const start = await place(page);
await page.mouse.down();
await page.mouse.move(x + 90, y + 60, { steps: 4 });
await page.mouse.up();
const end = await place(page);
seen.dragged = [end[0] - start[0], end[1] - start[1]];
seen.stillZoomed = await share(page);
await page.mouse.click(x, y);
seen.clickedBack = await share(page);
await page.mouse.click(x, y);
seen.clicked = await share(page);

// Taken along.
const [file] = await Promise.all([page.waitForEvent("download"), part(page, "[data-do=download]").click()]);
seen.file = [file.suggestedFilename(), readFileSync(await file.path()).subarray(1, 4).toString()];
await part(page, "[data-do=copy-link]").click();
await part(page, ".told:not(:empty)").waitFor();
seen.linkTold = await text(page, ".told");
const link = await page.evaluate(() => navigator.clipboard.readText());
await part(page, "[data-do=copy-file]").click();
await page.waitForFunction(() => document.querySelector(".told").textContent.includes("without a key"));
seen.fileLink = await page.evaluate(() => navigator.clipboard.readText());
await page.keyboard.press("Escape");

// The link, followed by somebody with the same key.
const other = await visit(desktop, link);
await other.getByLabel("API key").fill(process.env.KEY);
await other.getByLabel("API key").press("Enter");
await loaded(other);
seen.linked = await text(other, "h2");
await other.keyboard.press("Escape");
await other.waitForFunction(() => !location.hash);

// Films are seen there, too.
await card(page, "a moving lamp").scrollIntoViewIfNeeded();
await card(page, "a moving lamp").getByRole("button", { name: "Details" }).click();
await part(page, "video[src]").waitFor();
seen.film = await part(page, "video").evaluate((video) => video.controls);
seen.filmZoom = await part(page, ".zoom").isHidden();
await page.keyboard.press("Escape");
seen.filmFocus = await focused(page, "Details");

// Again, from there: another job at the job's own runtime.
await card(page, "a miner").scrollIntoViewIfNeeded();
await card(page, "a miner").getByRole("button", { name: "Show a miner" }).click();
const [sent] = await Promise.all([
  page.waitForResponse((answer) => answer.request().method() === "POST" && answer.url().endsWith("/v1/jobs")),
  part(page, "[data-do=again]").click(),
]);
seen.again = [sent.status(), (await sent.json()).runtime, await viewer(page).isHidden()];

// By finger.
const small = await open({ ...phone, colorScheme: "dark" });
await (await enlarge(small, "twelve hills", "Show image 1 of twelve hills")).tap();
await loaded(small);
await shoot("viewer-phone", small);
seen.overflow = await small.evaluate(() => document.documentElement.scrollWidth - innerWidth);
const swipe = (from, to) => small.evaluate(([from, to]) => {
  const frame = document.querySelector("#viewer .frame");
  const send = (type, clientX) => frame.dispatchEvent(new PointerEvent(type, { pointerId: 7, pointerType: "touch", isPrimary: true, clientX, clientY: 200, bubbles: true, cancelable: true }));
  frame.setPointerCapture = () => {}; // there is no such finger
  send("pointerdown", from);
  send("pointermove", (from + to) / 2);
  send("pointermove", to);
  send("pointerup", to);
}, [from, to]);
const counted = await text(small, ".count");
await swipe(300, 80);
const onwards = await text(small, ".count");
await swipe(80, 300);
seen.swiped = [counted, onwards, await text(small, ".count")];
await part(small, ".close").tap();
seen.tapped = await viewer(small).isHidden();

await finish();
