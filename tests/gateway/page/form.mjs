// What jobs are asked for by.

import { ask, card, contrasts, ended, field, finish, open, seen, shoot, visit } from "./harness.mjs";

const LONG = `a very long walk along the sea, ${"and on, ".repeat(600)}home`;

// What the page has sent of late, as the gateway was asked.
const sent = [];
function listen(page) {
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/v1/jobs")) sent.push(request.postDataJSON());
  });
}
const lastSent = () => sent.at(-1);

// The job of a card, whole.
const requestOf = (page, prompt) =>
  card(page, prompt).first().evaluate(async ({ dataset }) => {
    const headers = { Authorization: `Bearer ${sessionStorage.getItem("key")}` };
    return (await fetch(`/v1/jobs/${dataset.id}/request`, { headers })).json();
  });

const generate = (page) => page.getByRole("button", { name: "Generate" }).click();

// A key is asked for before everything else.
const page = await visit();
listen(page);
const key = page.getByLabel("API key");
await key.waitFor();
seen.key = { page: await page.locator("#page").isVisible(), focus: await focused(page) };
await page.keyboard.type("qag_wrong");
await page.keyboard.press("Enter");
await page.locator("#key-error").waitFor();
seen.wrongKey = {
  page: await page.locator("#page").isVisible(), focus: await focused(page),
  words: await page.locator("#key-error").innerText(), invalid: await key.getAttribute("aria-invalid"),
};
await shoot("form-key", page);
await page.keyboard.type(process.env.KEY);
await page.getByRole("button", { name: "Continue" }).click();
await page.locator("#page").waitFor();
seen.rightKey = { asked: await key.isVisible(), focus: await focused(page) };

// What the job would take is told before it is asked for, and again once it is another.
const questions = [];
page.on("request", (request) => request.url().endsWith("/v1/estimate") && questions.push(request.postDataJSON()));
const expected = page.locator("#expected");
await page.waitForFunction(() => document.getElementById("expected").textContent);
const another = () => page.waitForResponse((answer) => answer.url().endsWith("/v1/estimate"));
const answered = another();
await field(page, "Steps").fill("7");
await (await answered).finished();
seen.expected = { words: await expected.innerText(), asked: questions.at(-1).content, jobs: await page.locator(".job").count() };
await field(page, "Steps").fill("0");
await page.waitForFunction(() => !document.getElementById("expected").textContent);
await field(page, "Steps").fill("20");
await page.waitForFunction(() => document.getElementById("expected").textContent);

// Every field, by the words that people know, and by keyboard.
await field(page, "Model").selectOption({ index: 1 });
await field(page, "Prompt").focus();
await page.keyboard.type("a heron in the reeds");
await page.keyboard.press("Tab");
await page.keyboard.type("fog");
await page.keyboard.press("Tab"); // over what opens the picture's part
await page.keyboard.press("Tab");
await page.keyboard.press("ControlOrMeta+A");
await page.keyboard.type("768");
await field(page, "Steps").fill("3");
await field(page, "CFG scale").fill("6.25");
await field(page, "Sampler").selectOption("DPM++ 2M");
await field(page, "Scheduler").selectOption({ label: "Karras" });
await field(page, "Seed").fill("4294967295");
await field(page, "Batch size").fill("2");
await page.getByText("LoRAs", { exact: true }).click();
await page.getByRole("button", { name: "Add a LoRA" }).click();
await field(page, "LoRA").selectOption({ index: 1 });
await field(page, "Weight").fill("0.75");
await page.keyboard.press("Control+Enter");
await ended(page, "a heron in the reeds", "completed").waitFor();
seen.sent = lastSent();

await page.getByRole("button", { name: "Remove this LoRA" }).click();
await field(page, "Size").selectOption("512x768");
await page.getByRole("button", { name: "Swap width and height" }).click();
seen.swapped = [await field(page, "Width").inputValue(), await field(page, "Height").inputValue(), await field(page, "Size").inputValue()];

// What is wrong stands beside the field, which has the focus, and nothing is sent.
const before = sent.length;
seen.faults = {};
for (const [label, value, right] of [["Width", "500", "512"], ["Height", "9", "64"], ["Steps", "0", "2"], ["Seed", "1.5", "-1"], ["Prompt", "", "a"]]) {
  await field(page, label).fill(value);
  await generate(page);
  seen.faults[label] = await page.evaluate(() => {
    const { activeElement: field } = document;
    const words = field.getAttribute("aria-describedby").split(" ").map((id) => document.getElementById(id)).filter((part) => part.matches(".error:not([hidden])"));
    return [field.id, field.getAttribute("aria-invalid"), ...words.map((part) => part.textContent)];
  });
  await field(page, label).fill(right);
}
await page.getByText("Other settings", { exact: true }).click();
await field(page, "Fields of the content").fill("[1]");
await generate(page);
seen.faults.other = await page.locator("#other-error").innerText();
await field(page, "Fields of the content").fill('{"tiling": true, "n_iter": 1}');
seen.sentFaulty = sent.length - before;

// Once more: all of it, however long.
await field(page, "Seed").fill("-1");
await field(page, "Batch size").fill("1");
await ask(page, LONG, 2, { size: "64x128" });
await ended(page, "a very long walk", "completed").waitFor();
seen.long = lastSent();
await card(page, "a very long walk").getByRole("button", { name: "Again" }).click();
await page.waitForFunction(() => document.querySelectorAll(".job").length >= 3);
seen.again = lastSent();
await card(page, "a very long walk").first().getByRole("button", { name: "Variation" }).click();
await page.waitForFunction(() => document.querySelectorAll(".job").length >= 4);
seen.variation = lastSent();

// Used once more: the form has them all.
await page.reload();
await ended(page, "a heron in the reeds", "completed").waitFor();
await use(page, "a heron in the reeds");
await generate(page);
await page.waitForFunction(() => document.querySelectorAll(".job").length >= 5);
seen.used = lastSent();
await use(page, "a very long walk");
seen.usedSeed = await field(page, "Seed").inputValue();
await generate(page);
await page.waitForFunction(() => document.querySelectorAll(".job").length >= 6);
seen.usedLong = lastSent();
seen.asked = await requestOf(page, "a very long walk");

// A key that is revoked while the page is open is asked for again; what was written stays.
await page.route("**/v1/jobs", (route) => route.fulfill({ status: 401, json: { detail: "A valid API key is needed." } }), { times: 1 });
await field(page, "Prompt").fill("unsent");
await generate(page);
await page.locator("#key-error").waitFor();
await key.fill(process.env.KEY);
await key.press("Enter");
await page.locator("#page").waitFor();
seen.unsent = await field(page, "Prompt").inputValue();

// On a phone, in the dark.
const phone = await open({ colorScheme: "dark", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
listen(phone);
for (const part of ["Image to image", "LoRAs", "Other settings"]) await phone.getByText(part, { exact: true }).tap();
await phone.getByRole("button", { name: "Add a LoRA" }).tap();
await field(phone, "Width").fill("500");
await field(phone, "Prompt").fill("a phone in a hand");
await phone.getByRole("button", { name: "Generate" }).tap();
await phone.locator("#width-error").waitFor();
seen.phone = { contrast: await contrasts(phone), overflow: await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth) };
await shoot("form-phone", phone);
await phone.getByRole("button", { name: "Swap width and height" }).tap();
seen.phone.faultAfterSwap = await phone.locator("#width-error").isVisible();
await field(phone, "Height").fill("64");
await field(phone, "Steps").fill("2");
await phone.getByRole("button", { name: "Generate" }).tap();
await ended(phone, "a phone in a hand", "completed").waitFor();
seen.phone.height = lastSent().content.height;

await finish();

function focused(page) {
  return page.evaluate(() => document.activeElement.id);
}

// By the card, of the last of several.
async function use(page, prompt) {
  const filled = page.waitForResponse((answer) => answer.url().endsWith("/request"));
  await card(page, prompt).last().getByRole("button", { name: "Use these settings" }).click();
  await filled;
  await page.waitForFunction((prompt) => document.getElementById("prompt").value.includes(prompt), prompt);
}
