// What every part of the page uses of its document.

export const at = (id) => document.getElementById(id);

// Told to people who do not see the page.
export function say(words) {
  at("live").textContent = words;
}
