// What becomes of jobs: followed, shown, cancelled, asked for again, found again.

import { ask, card, contrasts, ended, field, finish, hold, open, pictured, previewed, progressed, seen, shoot } from "./harness.mjs";

// A job with visible progress, then its image.
const page = await open({ colorScheme: "light" });
await hold("a lighthouse", 15);
await ask(page, "a lighthouse at dusk", 150);
seen.progress = await progressed(page, 0.05);
await hold("a lighthouse", 140); // more than a second later: an image before that may be an older run's
seen.preview = await previewed(page, "a lighthouse at dusk");
await hold(false);
await ended(page, "a lighthouse at dusk", "completed").waitFor();
seen.width = await pictured(page, "a lighthouse at dusk");
seen.previewLeft = await card(page, "a lighthouse at dusk").locator(".preview").isVisible();

// The same by keyboard alone.
await field(page, "Prompt").focus();
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
await hold("a never-ending story", 15);
await ask(page, "a never-ending story", 150, { size: "512x512" });
await ask(page, "a second never-ending story", 150, { size: "512x512" });
await ended(page, "a never-ending story", "running").waitFor();
await card(page, "a second never-ending story").getByRole("button", { name: "Cancel" }).click();
await ended(page, "a second never-ending story", "cancelled").waitFor();
await hold(false);
await ask(page, "a picture nobody can make <lora:nobody:1>", 2);
await ended(page, "a picture nobody can make", "failed").waitFor();
seen.reason = await card(page, "a picture nobody can make").locator(".reason").innerText();
await field(page, "Batch size").fill("2");
await ask(page, "two hills in the fog", 20, { size: "512x512" });
await ended(page, "two hills in the fog", "completed").waitFor();

// Reloading finds them all again.
await page.reload();
await ended(page, "a lighthouse at dusk", "completed").waitFor();
seen.again = await pictured(page, "a lighthouse at dusk");
seen.cancelled = await ended(page, "a second never-ending story", "cancelled").count();

seen.contrast = await contrasts(page);
await hold("a train", 60);
await ask(page, "a train crossing a snowy valley", 150, { size: "768x512" });
await ask(page, "a teapot in the rain", 150);
await progressed(page, 0.3);
await field(page, "Prompt").fill("a garden of glass flowers");
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

await page.getByRole("button", { name: "Cancel all" }).click();
await page.getByRole("button", { name: "Cancel them" }).click();
await ended(page, "a train crossing", "cancelled").waitFor();
await hold(false);

await finish();
