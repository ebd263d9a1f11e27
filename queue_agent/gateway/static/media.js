// The files that jobs made, as addresses for elements of the page, which cannot send the API key.

import { ask } from "./api.js";
import { key } from "./key.js";
import { title } from "./words.js";

const SHOWN = ["apng", "avif", "bmp", "gif", "jpeg", "png", "webp"].map((type) => `image/${type}`);
const PLAYED = ["mp4", "ogg", "quicktime", "webm"].map((type) => `video/${type}`);
const NAME = 60; // letters of a title that a file's name has

const held = new Map();

// What the runtime made of a job: all but posters, which stand last.
export const madeOf = ({ images }) => images.filter(({ role }) => role !== "poster");

// Whether the browser can fetch files by itself, part by part as it plays them: it sends no key.
export const canStream = () => !key();

// The address of a film or of sound, as `hold`.
export const holdPlayed = (path) => (canStream() ? Promise.resolve(path) : hold(path));

// The file's address until `release` of the same path, which each call needs one of.
export function hold(path) {
  if (!held.has(path)) {
    const stop = new AbortController();
    const address = ask(path, { signal: stop.signal }).then((answer) => answer.blob()).then(URL.createObjectURL);
    const file = { uses: 0, stop, address };
    held.set(path, file);
    address.catch(() => held.get(path) === file && held.delete(path)); // it may be asked for again
  }
  const file = held.get(path);
  file.uses += 1;
  return file.address;
}

export function release(path) {
  const file = held.get(path);
  if (!file) return;
  file.uses -= 1;
  if (file.uses) return;
  held.delete(path);
  file.stop.abort();
  file.address.then(URL.revokeObjectURL, () => {});
}

// What browsers do with it: "image", "video", "audio", or "file" where they do nothing.
export function kindOf({ media_type: type }) {
  if (SHOWN.includes(type)) return "image";
  if (PLAYED.includes(type)) return "video";
  return type.startsWith("audio/") ? "audio" : "file";
}

export const sizeOf = (bytes) =>
  bytes < 1e3 ? `${bytes} bytes` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

// A name by which it is found again on somebody's disk: `a-lighthouse-at-dusk-seed7-2.png`.
export function fileName(view, number) {
  const { seed, url } = view.images[number];
  const words = title(view).replaceAll(/<[^>]*>/g, "").match(/[\p{L}\p{N}]+/gu)?.join("-").slice(0, NAME).replace(/-$/, "");
  const parts = [words || view.id, seed !== null && `seed${seed}`, madeOf(view).length > 1 && number + 1];
  return parts.filter(Boolean).join("-").toLowerCase() + (/\.[a-z0-9]{1,8}$/i.exec(url)?.[0] ?? "");
}

// Gives the file to whoever asked for it.
export async function download(view, number) {
  const { href } = view.images[number];
  const link = document.createElement("a");
  link.href = await hold(href);
  link.download = fileName(view, number);
  link.click();
  setTimeout(release, 60_000, href); // the browser reads it when it likes
}
