// What the form has by what runtimes tell of themselves: lists, bounds, the operator's workflows.

import { card, ended, field, finish, open, seen } from "./harness.mjs";

const INPUTS = [
  { name: "prompt", kind: "text", required: true, default: null },
  { name: "seed", kind: "number", required: false, default: 7 },
  { name: "tiled", kind: "boolean", required: false, default: null },
  { name: "start", kind: "image", required: true, default: null },
  { name: "sound", kind: "audio", required: false, default: null },
];
const WORKFLOWS = [
  { name: "restyle", description: "Gives a picture another style", inputs: INPUTS, answers: [] },
  { name: "plain", description: "", inputs: [], answers: [] },
];

const page = await open();
const sent = [];
page.on("request", (request) => {
  if (request.method() === "POST" && request.url().endsWith("/v1/jobs")) sent.push(request.postData());
});
const generate = () => page.getByRole("button", { name: "Generate" }).click();

// The gateway is made to say more of the runtime than it has, and that there were others.
await page.route("**/v1/runtimes", async (route) => {
  const answer = await (await route.fetch()).json();
  const [one] = answer.runtimes;
  const { capabilities } = one;
  const bounded = { ...capabilities, loras: [], schedules: null, sizes: { smallest: 250, largest: 1024, multiple_of: 64 } };
  await route.fulfill({ json: { ...answer, runtimes: [
    { ...one, task_types: [...one.task_types, "pipeline"], workflows: WORKFLOWS },
    { ...one, name: "bounded", workflows: [], capabilities: bounded, loaded: [{ model: capabilities.models[0].name, agents: 2 }] },
    { ...one, name: "silent", workflows: [], task_types: [], capabilities: {}, paused: ["the runtime (new nodes)"] },
    { ...one, name: "shortened", workflows: [], shortened: ["models"] },
  ] } });
});
await page.reload();
await page.locator("#page").waitFor();

seen.paused = await page.getByRole("status").filter({ hasText: "Paused" }).textContent();

await field(page, "Workflow").selectOption("restyle");
seen.hint = await page.locator("#workflow-hint").innerText();
seen.portable = await field(page, "CFG scale").isVisible();
await field(page, "prompt").fill("as a woodcut");
await generate();
seen.missing = [await page.locator("#input-start-error").innerText(), await page.evaluate(() => document.activeElement.id), sent.length];

await page.getByLabel("File for start").setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: Buffer.from(process.env.DOT, "base64") });
await page.getByText("dot.png, 1 kB").waitFor();
seen.addressField = await field(page, "start").isDisabled();
await field(page, "seed").fill("1152921504606846977");
await field(page, "tiled").selectOption("yes");
await field(page, "sound").fill("https://example.com/rain.ogg");
await generate();
await ended(page, "as a woodcut", "failed").waitFor();
seen.sent = JSON.parse(sent.at(-1));
seen.text = sent.at(-1);

// Used once more, with the file; it can be taken back.
await use(page, "as a woodcut");
seen.used = [await field(page, "Workflow").inputValue(), await field(page, "seed").inputValue(), await page.locator(".held .hint").innerText()];
await generate();
await page.waitForFunction(() => document.querySelectorAll(".job").length >= 2);
seen.sentAgain = sent.at(-1);
await page.getByRole("button", { name: "Remove file" }).click();
await field(page, "start").fill("s3://images/inputs/cat.png");
await generate();
await page.waitForFunction(() => document.querySelectorAll(".job").length >= 3);
seen.byAddress = JSON.parse(sent.at(-1)).content.inputs;
await card(page, "as a woodcut").last().getByRole("button", { name: "Variation" }).click();
await page.waitForFunction(() => document.querySelectorAll(".job").length >= 4);
seen.variation = JSON.parse(sent.at(-1)).content.inputs;

// A graph of one's own, as JSON; what is no JSON is said beside it.
await field(page, "Workflow").selectOption({ label: "Content as JSON" });
await field(page, "Content").fill("{'1': none}");
await generate();
seen.noJson = await page.locator("#raw-content-error").innerText();
await field(page, "Content").fill('{"1": {"class_type": "KSampler", "inputs": {"seed": 18446744073709551615}}}');
await generate();
await page.waitForFunction(() => document.querySelectorAll(".job").length >= 5);
seen.graph = sent.at(-1);
await field(page, "Workflow").selectOption("");
await page.locator(".job").first().evaluate(useThis);
seen.usedGraph = [await field(page, "Task type").inputValue(), await field(page, "Content").inputValue()];

// Lists are those of the runtime; of one that tells of none, or not of all, any text will do.
await field(page, "Workflow").selectOption("");
seen.kinds = {};
for (const name of ["bounded", "silent", "shortened"]) {
  await field(page, "Runtime").selectOption(name);
  seen.kinds[name] = await page.evaluate(() => {
    const kind = (id) => {
      const field = document.getElementById(id);
      return field.checkVisibility() ? [field.tagName, field.list?.options.length ?? field.options?.length ?? 0] : null;
    };
    return Object.fromEntries(["workflow", "model", "sampler_name", "scheduler", "loras-part"].map((id) => [id, kind(id)]));
  });
}
await field(page, "Model").fill("a model of mine");
await field(page, "Prompt").fill("by another name");
await field(page, "Runtime").selectOption("silent");
seen.kept = await field(page, "Model").inputValue();
await field(page, "Runtime").selectOption("bounded");
seen.loaded = await field(page, "Model").evaluate((list) => [...list.options].filter(({ textContent }) => textContent.endsWith(" · loaded")).length);
seen.unlisted = await field(page, "Model").evaluate((list) => [list.value, list.selectedOptions[0].textContent]);

// Sizes are within its bounds.
seen.sizes = [];
for (const [width, right] of [["200", "256"], ["2048", "512"], ["520", "512"]]) {
  await field(page, "Width").fill(width);
  await generate();
  seen.sizes.push(await page.locator("#width-error").innerText());
  await field(page, "Width").fill(right);
}
seen.presets = await field(page, "Size").evaluate((list) => [...list.options].map(({ value }) => value));
seen.sizeHint = await page.locator("#size-hint").innerText();

// What the gateway refuses of a field stands beside it.
await generate();
await page.locator("#runtime-error:not([hidden])").waitFor();
seen.refused = [await page.locator("#runtime-error").innerText(), await page.evaluate(() => document.activeElement.id), await page.locator("#said").isVisible()];
await field(page, "Runtime").selectOption({ index: 0 });
seen.mended = await page.locator("#runtime-error").isVisible();

// the browser itself reports the refusal
seen.complaints = seen.complaints.filter((words) => !words.includes("status of 422"));
await finish();

async function useThis({ dataset }) {
  const [{ useSettings }, { json }] = await Promise.all([import("/static/settings.js"), import("/static/api.js")]);
  await useSettings(await json(`/v1/jobs/${dataset.id}`));
}

function use(page, prompt) {
  return card(page, prompt).last().evaluate(useThis);
}
