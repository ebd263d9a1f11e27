// What a job made, hung on its card: pictures and videos on the wall, sound and other files below.
// Only what is near the part of the page that is seen has been fetched, and it is let go of again.

import { placeholder } from "./blurhash.js";
import { canStream, fileName, hold, holdPlayed, kindOf, madeOf, release, sizeOf } from "./media.js";
import { title } from "./words.js";

const NEAR = "800px";
const HEAVY = 32e6; // bytes: from there on a film or sound is fetched only if somebody wants it

const near = new IntersectionObserver(
  (changes) => changes.forEach(({ target, isIntersecting }) => players(target).forEach(isIntersecting ? fetchInto : letGo)),
  { rootMargin: NEAR },
);
const files = new WeakMap(); // of each element: what it shows, its poster, and whether it has that
const players = (card) => [...card.querySelectorAll("img, video, audio")];

export function hang(card, view) {
  const [wall, others] = [card.querySelector(".images"), card.querySelector(".others")];
  const entries = madeOf(view).map((image, number) => ({ image, number, kind: kindOf(image) }));
  const hung = entries.filter(({ kind }) => kind === "image" || kind === "video");
  wall.append(...hung.map(({ number, kind }) => (kind === "image" ? picture(view, number) : film(view, number))));
  others.append(...entries.filter((entry) => !hung.includes(entry)).map(({ number, kind }) => (kind === "audio" ? sound(view, number) : link(view, number))));
  arrange(wall, hung.map(({ image }) => image));
  card.querySelector(".stage").hidden = !hung.length;
  near.observe(card);
}

// Takes down what hangs there, and whatever it holds.
export function clear(card) {
  near.unobserve(card);
  players(card).forEach(letGo);
}

function picture(view, number) {
  const button = document.createElement("button");
  const image = document.createElement("img");
  const several = madeOf(view).length > 1;
  Object.assign(button, { type: "button", className: "hung" });
  Object.assign(button.dataset, { do: "view", number });
  button.setAttribute("aria-label", `Show ${several ? `image ${number + 1} of ` : ""}${title(view)}`);
  Object.assign(image, { alt: title(view), decoding: "async" });
  const { width, height } = view.images[number];
  if (width && height) Object.assign(image, { width, height });
  button.append(image);
  const blurred = view.images[number].placeholder && placeholder(view.images[number].placeholder);
  if (blurred) {
    button.prepend(blurred);
    image.addEventListener("load", () => blurred.remove(), { once: true });
  }
  keep(image, view, number);
  return button;
}

function film(view, number) {
  const whole = player("video", view, number);
  whole.className = "hung";
  return whole;
}

function sound(view, number) {
  return player("audio", view, number);
}

function player(tag, view, number) {
  const whole = document.createElement("div");
  const element = document.createElement(tag);
  const image = view.images[number];
  const words = `${tag === "video" ? "Video" : "Sound"}: ${title(view)}`;
  Object.assign(element, { controls: true, preload: "metadata", loop: tag === "video" });
  element.setAttribute("aria-label", words);
  if (tag === "video" && image.width && image.height) Object.assign(element, { width: image.width, height: image.height });
  whole.append(element);
  const isLight = image.bytes < HEAVY || canStream();
  files.set(element, { path: isLight ? image.href : null, poster: tag === "video" && image.poster, has: false });
  element.addEventListener("error", () => miss(element)); // of one that the browser fetches itself
  if (isLight) return whole;
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: `Load ${sizeOf(image.bytes)}` });
  button.setAttribute("aria-label", `${button.textContent}: ${words}`);
  element.hidden = !image.poster;
  element.controls = false;
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    button.remove();
    element.hidden = false;
    element.controls = true;
    letGo(element);
    files.get(element).path = image.href;
    fetchInto(element);
    element.focus();
  });
  whole.append(button);
  return whole;
}

function link(view, number) {
  const button = document.createElement("button");
  const { media_type: type, bytes } = view.images[number];
  Object.assign(button, { type: "button", className: "file", title: fileName(view, number), textContent: `Download ${type}, ${sizeOf(bytes)}` });
  Object.assign(button.dataset, { do: "download", number });
  return button;
}

function keep(element, view, number) {
  const { thumbnail, href } = view.images[number];
  files.set(element, { path: thumbnail ?? href, poster: null, has: false });
}

async function fetchInto(element) {
  const file = files.get(element);
  if (!file || file.has) return;
  file.has = true;
  if (file.poster) hold(file.poster).then((address) => file.has && (element.poster = address), () => {}); // it plays without
  if (!file.path) return;
  try {
    const address = await (element.tagName === "IMG" ? hold : holdPlayed)(file.path);
    if (file.has) element.src = address;
  } catch {
    miss(element);
  }
}

function miss(element) {
  const file = files.get(element);
  if (!file.has) return;
  file.has = false;
  (element.closest("button") ?? element).replaceWith(Object.assign(document.createElement("span"), { className: "gone", textContent: "This file cannot be loaded." }));
}

function letGo(element) {
  const file = files.get(element);
  if (!file?.has || isPlaying(element)) return;
  file.has = false;
  element.removeAttribute("src");
  element.removeAttribute("poster");
  if (element.load) element.load();
  if (file.path) release(file.path);
  if (file.poster) release(file.poster);
}

const isPlaying = (element) => element.paused === false;

// As many columns as make the pictures largest: all of them are seen, none is cut.
function arrange(wall, images) {
  const ratio = images[0]?.width && images[0].height ? images[0].width / images[0].height : 1;
  const size = (columns) => Math.min(1 / columns, ratio / Math.ceil(images.length / columns));
  const choices = Array.from({ length: Math.min(4, images.length) }, (_, place) => place + 1);
  const columns = choices.reduce((best, choice) => (size(choice) > size(best) ? choice : best), 1);
  wall.style.setProperty("--columns", columns);
  wall.classList.toggle("many", Math.ceil(images.length / columns) > 4);
}
