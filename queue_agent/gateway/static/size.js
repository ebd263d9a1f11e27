// Width and height, within what the runtime makes.

import { at } from "./dom.js";
import { fault } from "./fields.js";

const PORTABLE = { smallest: 16, largest: 16384, multiple_of: 8 };
const PRESETS = [
  [512, 512], [768, 512], [512, 768], [768, 768], [1024, 1024], [1216, 832], [832, 1216], [1344, 768], [768, 1344],
];

let bounds = PORTABLE;

const fields = () => [at("width"), at("height")];

// `sizes`: what the runtime says of them, if anything.
export function offerSizes(sizes) {
  const own = Object.fromEntries(Object.entries(sizes ?? {}).filter(([, value]) => value !== null));
  bounds = { ...PORTABLE, ...own };
  bounds.multiple_of = Math.max(bounds.multiple_of, PORTABLE.multiple_of);
  bounds.smallest = Math.max(upTo(bounds.smallest), PORTABLE.smallest);
  for (const field of fields()) {
    field.min = bounds.smallest;
    field.max = bounds.largest;
    field.step = bounds.multiple_of;
  }
  const largest = own.largest ? ` to ${own.largest}` : "";
  at("size-hint").textContent = `Multiples of ${bounds.multiple_of}, from ${bounds.smallest}${largest} pixels`;
  const presets = PRESETS.filter((sides) => sides.every((side) => side >= bounds.smallest && side <= bounds.largest && side % bounds.multiple_of === 0));
  const options = presets.map(([width, height]) => new Option(`${width}×${height}`, `${width}x${height}`));
  at("preset").replaceChildren(new Option("Other", ""), ...options);
  showPreset();
}

// The size next to these proportions whose longer side is as long as the longer one is now.
export function takeProportions(width, height) {
  if (fields().every((field) => !field.value)) return; // the model's own
  const longest = Math.max(Number(at("width").value) || 512, Number(at("height").value) || 512);
  const scale = longest / Math.max(width, height);
  set(allowed(width * scale), allowed(height * scale));
}

function set(...sides) {
  for (const [place, field] of fields().entries()) {
    field.value = sides[place];
    fault(field);
  }
  showPreset();
}

const upTo = (side) => Math.ceil(side / bounds.multiple_of) * bounds.multiple_of;
const allowed = (side) =>
  Math.min(bounds.largest, Math.max(bounds.smallest, Math.round(side / bounds.multiple_of) * bounds.multiple_of));

export function showPreset() {
  const size = fields().map((field) => field.value).join("x");
  at("preset").value = [...at("preset").options].some((option) => option.value === size) ? size : "";
}

at("preset").addEventListener("change", () => {
  if (at("preset").value) set(...at("preset").value.split("x"));
});

at("swap").addEventListener("click", () => set(at("height").value, at("width").value));

for (const field of fields()) field.addEventListener("input", showPreset);
