// What is looked for among the jobs.

import { attempt } from "./api.js";
import { at } from "./dom.js";
import { cancelAll, find } from "./jobs.js";

const PAUSE = 300; // milliseconds after the last letter
const STATUSES = { open: ["queued", "running", "cancelling"], completed: ["completed"], failed: ["failed", "expired"], cancelled: ["cancelled"] };

let timer = 0;

function search() {
  clearTimeout(timer);
  const [words, status, runtime] = ["find-words", "find-status", "find-runtime"].map((id) => at(id).value.trim());
  return attempt(() => find({ ...(words && { q: words }), ...(status && { status: STATUSES[status] }), ...(runtime && { runtime }) }));
}

// The runtimes that jobs can be of.
export function offerToFind(names) {
  const choice = at("find-runtime");
  const known = [...choice.options].map((option) => option.value);
  choice.append(...names.filter((name) => !known.includes(name)).map((name) => new Option(name, name)));
  choice.hidden = choice.options.length < 3; // any, and the only one
}

at("find-words").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(search, PAUSE);
});
at("find-status").addEventListener("change", search);
at("find-runtime").addEventListener("change", search);
at("finder").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
at("cancel-all").addEventListener("click", () => attempt(cancelAll));
