// One image, large.

import { at } from "./dom.js";
import { settings, title } from "./words.js";

export function enlarge(picture, view) {
  if (!picture) return;
  const viewer = at("viewer");
  viewer.querySelector("img").src = picture.src;
  viewer.querySelector("img").alt = picture.alt;
  viewer.querySelector("p").textContent = `${title(view)} — ${settings(view)}`;
  viewer.showModal();
}
