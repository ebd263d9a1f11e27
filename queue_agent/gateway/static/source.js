// The picture that others are made from: chosen, dropped, pasted, or a job's own.

import { at, say } from "./dom.js";
import { fault } from "./fields.js";
import { fillMask, mask, startMask } from "./mask.js";
import { fileOf, sized, pictureOf } from "./pictures.js";
import { bodyLimit } from "./runtimes.js";
import { takeProportions } from "./size.js";

let picture = null; // {url, note}, and {width, height, bitmap} of one that is at hand
let keptMask = null; // the mask of a picture that only an address is known of
let isOffered = true;
let isNeeded = false; // nothing is made without one
let isPlain = false; // there is nothing to say of it but which it is: no mask, no strength
let busy = Promise.resolve();

// Settles once a picture that is being read is there.
export const pictureRead = () => busy;

export function offerSource(offered, { isNeeded: needed = isNeeded, isPlain: plain = isPlain } = {}) {
  if (needed && !isNeeded) at("source-part").open = true;
  [isOffered, isNeeded, isPlain] = [offered, needed, plain];
  at("source-part").hidden = !offered && !picture;
  at("source").classList.toggle("plain", isPlain);
  at("prompt").required = !picture && !isNeeded;
}

export function judgeSource() {
  const words = picture && !isOffered ? `This runtime makes no ${isPlain ? "such thing" : "images"} from images: remove the picture, or choose another runtime.` : "";
  at("source-file").setCustomValidity(words || (isNeeded && !picture ? "A picture is needed." : ""));
}

// The picture as a URL, and its mask, if there are some.
export function source() {
  if (!picture) return {};
  return { picture: picture.url, mask: isPlain ? null : picture.bitmap ? mask() : keptMask };
}

// Takes out of a content what is shown here, the picture being in the field of that name; whether
// there is one.
export function fillSource(content, name) {
  const { [name]: told, mask: masked } = content;
  const images = [told].flat();
  remove();
  if (images.length !== 1 || typeof images[0] !== "string") return false;
  if (masked !== undefined && typeof masked !== "string") return false;
  delete content[name];
  delete content.mask;
  busy = read(images[0], masked);
  return true;
}

async function read(url, masked) {
  const file = fileOf(url);
  const own = file && (await pictureOf(file).catch(() => null));
  if (own) show({ ...own, url, note: "of that job" });
  else show({ url, note: /^\w+:\/\//.test(url) ? url : "of that job, which the browser cannot show" });
  if (masked !== undefined && !(own && (await fillMask(masked)))) {
    keptMask = masked;
    at("source-facts").textContent += ", with its mask";
  }
}

export function take(file, name = file.name) {
  fault(at("source-file"));
  busy = (async () => {
    try {
      const found = await pictureOf(file, bodyLimit());
      show({ ...found, note: [name, found.note].filter(Boolean).join(", ") });
      takeProportions(found.width, found.height);
      say(`Picture taken: ${at("source-facts").textContent}`);
    } catch (error) {
      fault(at("source-file"), error.message);
    }
  })();
}

function show(found) {
  picture?.bitmap?.close();
  picture = found;
  keptMask = null;
  const { width, height, bitmap, url, note } = picture;
  at("source").hidden = at("source").disabled = false;
  at("source-part").open = true;
  at("source-part").hidden = false;
  at("prompt").required = false;
  fault(at("prompt"));
  at("canvases").hidden = at("mask-part").hidden = !bitmap;
  at("source-facts").textContent = bitmap ? `${note} · ${width} × ${height} · ${sized(url.length * 0.75)}` : note;
  startMask(width ?? 1, height ?? 1);
  if (!bitmap) return;
  Object.assign(at("picture"), { width, height });
  at("picture").getContext("2d").drawImage(bitmap, 0, 0);
}

function remove() {
  picture?.bitmap?.close();
  picture = keptMask = null;
  at("source").hidden = at("source").disabled = true;
  at("source-file").value = "";
  at("denoising_strength").value = 0.75;
  fault(at("source-file"));
  offerSource(isOffered);
}

const filesOf = (transfer) => [...(transfer?.files ?? [])];
const isWanted = () => isOffered && !at("portable").disabled && !at("page").hidden;

at("source-file").addEventListener("change", () => at("source-file").files[0] && take(at("source-file").files[0]));

at("remove-source").addEventListener("click", () => {
  remove();
  say("The picture is removed.");
  at("source-file").focus();
});

document.addEventListener("paste", (event) => {
  const [file] = filesOf(event.clipboardData);
  if (!file || !isWanted() || event.target.type === "file") return;
  event.preventDefault();
  take(file);
});

// Anywhere on the page: a browser would leave it to show the file.
document.addEventListener("dragover", (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  at("drop").classList.toggle("over", isWanted());
  if (isWanted()) at("source-part").open = true;
  else event.dataTransfer.dropEffect = "none";
});

document.addEventListener("dragleave", (event) => event.relatedTarget ?? at("drop").classList.remove("over"));

document.addEventListener("drop", (event) => {
  const [file] = filesOf(event.dataTransfer);
  if (!file || event.target.type === "file") return;
  event.preventDefault();
  at("drop").classList.remove("over");
  if (isWanted()) take(file);
});
