// Images from images: chosen, dropped, pasted; with a mask, painted by mouse, finger and keyboard.

import { card, ended, field, finish, open, seen, shoot } from "./harness.mjs";

const page = await open({ colorScheme: "dark" });
const sent = [];
listen(page);
const generate = (page) => page.getByRole("button", { name: "Generate" }).click();
const facts = (page) => page.locator("#source-facts").innerText();

// Chosen; what is painted over it is the mask.
await page.getByText("Image to image", { exact: true }).click();
await field(page, "Picture").setInputFiles(await file(page, 300, 200, "shore.png"));
await page.locator("#picture").waitFor();
seen.chosen = { facts: await facts(page), size: await size(page) };
await field(page, "Prompt").fill("the shore in winter");
await field(page, "Steps").fill("3");
await field(page, "Denoising strength").fill("0.4");
await send(page, "the shore in winter");
seen.plain = sent.at(-1).content;

await masking(page);
await stroke(page, [0.1, 0.5], [0.9, 0.5]);
await stroke(page, [0.5, 0.05], [0.5, 0.3]);
await field(page, "Erase").check();
await stroke(page, [0.5, 0.5], [0.5, 0.5]);
await page.getByRole("button", { name: "Undo" }).click();
await stroke(page, [0.8, 0.5], [0.9, 0.5]);
await shoot("form-mask", page);
await field(page, "Prompt").fill("a boat on the shore");
await send(page, "a boat on the shore");
seen.masked = sent.at(-1).content;

// Cleared, nothing is a mask; the keyboard paints, too.
await page.getByRole("button", { name: "Clear" }).click();
await field(page, "Prompt").fill("nothing painted");
await send(page, "nothing painted");
seen.cleared = "mask" in sent.at(-1).content;
await field(page, "Erase").uncheck();
await page.locator("#mask").focus();
for (const key of ["ArrowLeft", "ArrowLeft", " "]) await page.keyboard.press(key);
await field(page, "Prompt").fill("painted by keyboard");
await send(page, "painted by keyboard");
seen.byKeyboard = sent.at(-1).content;

// The settings of a job have its picture and mask, to the last byte, and others can be painted in.
await page.reload();
await page.locator("#page").waitFor();
await use(page, "a boat on the shore");
await page.locator("#mask").waitFor();
seen.usedFacts = await facts(page);
await field(page, "Seed").fill("-1");
await send(page, "a boat on the shore", 2);
seen.used = sent.at(-1).content;
await stroke(page, [0.1, 0.95], [0.2, 0.95]);
await field(page, "Prompt").fill("another boat");
await send(page, "another boat");
seen.usedPainted = sent.at(-1).content;

// So do those of other clients: a picture in bare base64, and a mask in greys.
seen.foreign = await page.evaluate(async ([picture, mask]) => {
  const { submit } = await import("/static/submit.js");
  const content = { prompt: "by another client", init_images: [picture], mask, steps: 2, width: 64, height: 64, inpainting_fill: 1 };
  await submit({ metadata: {}, content });
  return content;
}, [process.env.DOT, process.env.GREYS]);
await page.reload();
await ended(page, "by another client", "completed").waitFor();
await use(page, "by another client");
await page.locator("#mask").waitFor();
await field(page, "Seed").fill("");
await send(page, "by another client", 2);
seen.foreignAgain = sent.at(-1).content;
await field(page, "Size").selectOption("512x512");

// Dropped and pasted, where no field asks for files; too large; no picture.
await transfer(page, "drop", await file(page, 3000, 1500, "large.png"));
await page.waitForFunction(() => document.getElementById("source-facts").textContent.includes("large"));
seen.dropped = { facts: await facts(page), size: await size(page) };
await transfer(page, "paste", await file(page, 64, 96, "pasted.png"));
await page.waitForFunction(() => document.getElementById("source-facts").textContent.includes("pasted"));
seen.pasted = { facts: await facts(page), size: await size(page) };
await field(page, "Picture").setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no picture") });
await page.locator("#source-file-error:not([hidden])").waitFor();
seen.noPicture = await page.locator("#source-file-error").innerText();
seen.stillThere = await facts(page);
await page.getByRole("button", { name: "Remove picture" }).click();
seen.removed = await page.locator("#picture").isVisible();

// One that was made is where others start.
await card(page, "the shore in winter").getByRole("button", { name: "Show the shore in winter" }).click();
await page.getByRole("button", { name: "Start from this image" }).click();
await page.waitForFunction(() => document.activeElement.id === "denoising_strength");
seen.started = { facts: await facts(page), size: await size(page), viewer: await page.locator("#viewer").isVisible() };
await page.getByRole("button", { name: "Remove picture" }).click();

// A photograph is turned as it says, and does not tell where it was taken.
await field(page, "Picture").setInputFiles({ name: "turned.jpg", mimeType: "image/jpeg", buffer: Buffer.from(process.env.TURNED, "base64") });
await page.waitForFunction(() => document.getElementById("source-facts").textContent.includes("turned"));
await field(page, "Prompt").fill("a photograph");
await send(page, "a photograph");
seen.photograph = sent.at(-1).content;

// What the gateway would not take is refused before it is sent.
await page.route("**/v1/runtimes", async (route) => {
  const answer = await route.fetch();
  await route.fulfill({ json: { ...(await answer.json()), body_limit: 3000 } });
});
await page.reload();
await page.locator("#page").waitFor();
const count = sent.length;
await page.getByText("Image to image", { exact: true }).click();
await field(page, "Picture").setInputFiles(await file(page, 512, 512, "noise.png", true));
await page.locator("#source-file-error:not([hidden])").waitFor();
seen.tooLarge = await page.locator("#source-file-error").innerText();
await field(page, "Prompt").fill("long ".repeat(900));
await generate(page);
await page.locator("#said:not([hidden])").waitFor();
seen.tooMuch = await page.locator("#said").innerText();
seen.sentTooMuch = sent.length - count;

// A runtime that makes none from others is not asked to.
await page.unroute("**/v1/runtimes");
await page.route("**/v1/runtimes", async (route) => {
  const answer = await (await route.fetch()).json();
  const [one] = answer.runtimes;
  await route.fulfill({ json: { ...answer, runtimes: [one, { ...one, name: "texts-only", task_types: ["text-to-image"] }] } });
});
await page.reload();
await page.locator("#page").waitFor();
await field(page, "Runtime").selectOption("texts-only");
seen.offered = await page.locator("#source-part").isVisible();
await field(page, "Runtime").selectOption({ index: 0 });
await page.getByText("Image to image", { exact: true }).click();
await field(page, "Picture").setInputFiles(await file(page, 64, 64, "small.png"));
await page.locator("#picture").waitFor();
await field(page, "Runtime").selectOption("texts-only");
await generate(page);
await page.locator("#source-file-error:not([hidden])").waitFor();
seen.notOffered = await page.locator("#source-file-error").innerText();

// With a finger, on a phone.
const phone = await open({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
listen(phone);
await phone.getByText("Image to image", { exact: true }).tap();
await field(phone, "Picture").setInputFiles(await file(phone, 200, 300, "phone.png"));
await phone.locator("#picture").waitFor();
await masking(phone);
const box = await phone.locator("#mask").boundingBox();
await phone.touchscreen.tap(box.x + box.width / 2, box.y + box.height / 4);
await shoot("form-mask-phone", phone);
seen.phoneOverflow = await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth);
await field(phone, "Prompt").fill("touched");
await field(phone, "Steps").fill("2");
await send(phone, "touched");
seen.touched = sent.at(-1).content;

await finish();

function listen(page) {
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/v1/jobs")) sent.push(request.postDataJSON());
  });
}

async function send(page, prompt, count = 1) {
  await generate(page);
  await page.waitForFunction(([prompt, count]) => {
    const done = [...document.querySelectorAll('.job[data-status="completed"]')];
    return done.filter((job) => job.textContent.includes(prompt)).length >= count;
  }, [prompt, count]);
}

async function masking(page) {
  await page.locator("#masked").check();
  await page.locator("#mask").scrollIntoViewIfNeeded();
}

async function stroke(page, [fromX, fromY], [toX, toY]) {
  await page.locator("#mask").scrollIntoViewIfNeeded();
  const { x, y, width, height } = await page.locator("#mask").boundingBox();
  await page.mouse.move(x + fromX * width, y + fromY * height);
  await page.mouse.down();
  await page.mouse.move(x + toX * width, y + toY * height, { steps: 8 });
  await page.mouse.up();
}

async function size(page) {
  return [await field(page, "Width").inputValue(), await field(page, "Height").inputValue()];
}

// A picture with a red square in its upper left corner, or one of noise.
async function file(page, width, height, name, isNoise = false) {
  const url = await page.evaluate(([width, height, isNoise]) => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#246";
    pen.fillRect(0, 0, width, height);
    pen.fillStyle = "#f00";
    pen.fillRect(0, 0, width / 4, height / 4);
    for (let place = 0; isNoise && place < width * height; place += 1) {
      pen.fillStyle = `hsl(${(place * 7919) % 360} 80% 50%)`;
      pen.fillRect(place % width, Math.floor(place / width), 1, 1);
    }
    return canvas.toDataURL("image/png");
  }, [width, height, isNoise]);
  return { name, mimeType: "image/png", buffer: Buffer.from(url.split(",")[1], "base64") };
}

async function transfer(page, kind, { name, mimeType, buffer }) {
  await page.evaluate(([kind, name, type, encoded]) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0))], name, { type }));
    const event = kind === "drop"
      ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
      : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
    document.getElementById("jobs").dispatchEvent(event);
  }, [kind, name, mimeType, buffer.toString("base64")]);
}

function use(page, prompt) {
  return card(page, prompt).last().evaluate(async ({ dataset }) => {
    const [{ useSettings }, { json }] = await Promise.all([import("/static/settings.js"), import("/static/api.js")]);
    await useSettings(await json(`/v1/jobs/${dataset.id}`));
  });
}
