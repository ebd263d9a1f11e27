// A gallery of fifty large pictures, seen from the top to the end, and the bytes that came for it.

import { finish, open, seen } from "./harness.mjs";

let bytes = 0;
const pending = [];
const asked = [];
const page = await open(undefined, process.env.WALL_KEY, (fresh) => {
  fresh.on("requestfinished", (request) => {
    const { pathname, protocol } = new URL(request.url());
    if (/\/images\//.test(pathname)) asked.push(pathname);
    if (protocol.startsWith("http")) pending.push(request.sizes().then(({ responseBodySize }) => (bytes += responseBodySize)));
  });
});
await page.locator(".job").first().waitFor();
seen.placeholders = await page.locator(".hung canvas, .hung img[src]").count();
const whatIsSeenIsThere = () =>
  [...document.querySelectorAll(".job .images img")].every((image) => {
    const { top, bottom } = image.closest(".job").getBoundingClientRect();
    return bottom < 0 || top > innerHeight || (image.src && image.complete && image.naturalWidth);
  });
for (;;) {
  const more = page.getByRole("button", { name: "Older jobs" });
  await page.evaluate(() => scrollBy(0, innerHeight));
  await page.waitForFunction(whatIsSeenIsThere);
  const end = await page.evaluate(() => scrollY + innerHeight >= document.documentElement.scrollHeight - 2);
  if (!end) continue;
  if (!(await more.isVisible())) break;
  const before = await page.locator(".job").count();
  await more.click();
  await page.waitForFunction((before) => document.querySelectorAll(".job").length > before, before);
}
const last = page.locator(".job", { hasText: "wall 0." });
await last.scrollIntoViewIfNeeded();
const image = last.locator(".images img[src]");
await image.waitFor();
seen.width = await image.evaluate((image) => image.decode().then(() => image.naturalWidth));
seen.blurredOnceLoaded = await last.locator(".hung canvas").count();
while (new Set(asked).size < 50) await page.waitForEvent("requestfinished"); // told later than it is shown
await Promise.all(pending);
seen.bytes = bytes;
seen.wholeFiles = asked.filter((path) => !path.endsWith("/thumbnail")).length;
seen.thumbnails = new Set(asked).size;

// Enlarged, it is the file itself.
await last.getByRole("button", { name: "Show wall 0" }).click();
const large = page.locator("#viewer .frame img[src]");
await large.waitFor();
seen.enlarged = await large.evaluate((image) => image.decode().then(() => image.naturalWidth));
await finish();
