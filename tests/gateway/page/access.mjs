// What axe-core finds at the page in each of its states, at two sizes and in both schemes.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { card, desktop, field, finish, open, phone, seen, shoot, visit } from "./harness.mjs";

const axe = readFileSync(join(process.env.PLAYWRIGHT, "node_modules", "axe-core", "axe.min.js"), "utf8");
seen.faults = [];
seen.states = 0;

async function inspect(page, state) {
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  seen.states += 1;
  for (const { id, impact, nodes } of found.violations) {
    if (["serious", "critical"].includes(impact)) seen.faults.push(`${state}: ${id} (${impact}): ${nodes.map((node) => node.target.join(" ")).join(", ")}`);
  }
}

for (const [size, device] of [["desktop", desktop], ["phone", phone]]) {
  for (const colorScheme of ["light", "dark"]) {
    const name = `${size} ${colorScheme}`;
    const options = { ...device, colorScheme, reducedMotion: "reduce" };

    const stranger = await visit(options);
    await stranger.evaluate(axe);
    await stranger.getByLabel("API key").waitFor();
    await inspect(stranger, `${name}, a key is asked for`);
    await stranger.context().close();

    const empty = await open(options, process.env.EMPTY_KEY);
    await empty.evaluate(axe);
    await empty.getByText("Nothing yet").waitFor();
    await inspect(empty, `${name}, empty`);
    for (const folded of await empty.locator("#ask details:not([open]) > summary").all()) if (await folded.isVisible()) await folded.click();
    await inspect(empty, `${name}, the form unfolded`);
    await empty.getByRole("button", { name: "Add a LoRA" }).click();
    await empty.getByLabel("Picture", { exact: true }).setInputFiles({ name: "shore.png", mimeType: "image/png", buffer: await empty.screenshot() });
    await empty.locator("#picture").waitFor();
    await empty.locator("#masked").check();
    await field(empty, "Width").fill("500");
    await empty.getByRole("button", { name: "Generate" }).click();
    await empty.locator("#width-error").waitFor();
    await inspect(empty, `${name}, a mask and a fault`);
    await empty.context().close();

    const page = await open(options);
    await page.evaluate(axe);
    await card(page, "a teapot in the rain").locator(".preview").waitFor();
    await inspect(page, `${name}, open jobs`);
    for (const prompt of ["twelve hills", "a warned fox", "a very large city", "a moving lamp", "a lamp to turn about"]) {
      await card(page, prompt).scrollIntoViewIfNeeded();
      await page.waitForFunction((prompt) => {
        const cards = [...document.querySelectorAll(".job")].filter((job) => job.textContent.includes(prompt));
        return cards.every((job) => [...job.querySelectorAll(".images img, .images video")].every((shown) => shown.currentSrc));
      }, prompt);
      await inspect(page, `${name}, finished: ${prompt}`);
    }
    await card(page, "a tall heron").scrollIntoViewIfNeeded();
    await card(page, "a tall heron").getByRole("button", { name: "Show a tall heron" }).click();
    await page.locator("#viewer .frame img[src]").waitFor();
    await page.locator("#viewer .own summary").click();
    await inspect(page, `${name}, an image large`);
    await shoot(`viewer-${size}-${colorScheme}`, page);
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Cancel all" }).click();
    await page.locator("#confirm[open]").waitFor();
    await inspect(page, `${name}, a question`);
    await page.context().close();
  }
}

await finish();
