// What jobs are asked for by.

import { card, ended, finish, open, seen } from "./harness.mjs";

const page = await open();
await page.getByLabel("What shall it be?").focus();
await page.keyboard.type("a heron in the reeds");
await page.locator("summary").click();
await page.getByLabel("Steps").fill("3");
await page.getByLabel("What to avoid").fill("fog");
await page.getByLabel("Size").selectOption("768x512");
await page.getByLabel("What shall it be?").focus();
await page.keyboard.press("Control+Enter");
await ended(page, "a heron in the reeds", "completed").waitFor();
seen.settings = await card(page, "a heron in the reeds").locator(".settings").innerText();

await finish();
