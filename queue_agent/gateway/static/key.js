// The API key: asked for before everything else where one is needed, kept until the tab is closed.

import { at } from "./dom.js";

let isLacking = false;

export const key = () => sessionStorage.getItem("key");
export const lacksKey = () => isLacking;

export function keep(value) {
  sessionStorage.setItem("key", value);
  isLacking = false;
}

// Of a gateway that refused the key there is, or asks for one.
export function wantKey() {
  const isRefused = Boolean(key());
  sessionStorage.removeItem("key");
  isLacking = true;
  at("key-field").hidden = false;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  at("page").hidden = true;
  at("key-error").hidden = !isRefused;
  at("key-error").textContent = isRefused ? "The gateway does not know this key, or it was revoked." : "";
  at("key").setAttribute("aria-invalid", isRefused);
  at("key").select();
  at("key").focus();
}

export function showPage() {
  const isAsked = !at("key-field").hidden;
  at("key-field").hidden = true;
  at("key").value = "";
  at("page").hidden = false;
  if (isAsked) at("prompt").focus();
}
