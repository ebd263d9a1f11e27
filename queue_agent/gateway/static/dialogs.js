// Questions to people, and what they may take along.

import { at } from "./dom.js";

// Whether somebody says yes.
export function confirmed(question, yes, no) {
  const dialog = at("confirm");
  const [refuse, agree] = dialog.querySelectorAll("button");
  dialog.querySelector("p").textContent = question;
  [refuse.textContent, agree.textContent] = [no, yes];
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// Into the clipboard, which browsers give only to pages that came by HTTPS or from this machine;
// `by` is the button that was used, which says so for a while.
export async function copy(text, by) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else copyFrom(Object.assign(document.createElement("textarea"), { value: text }), by);
  by.dataset.copied = "";
  setTimeout(() => delete by.dataset.copied, 2000);
}

function copyFrom(area, by) {
  area.className = "unseen";
  by.after(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  by.focus();
}
