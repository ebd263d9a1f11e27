// LoRAs on top of the model, each with its weight.

import { choose, offerNames } from "./choices.js";
import { at } from "./dom.js";
import { given } from "./fields.js";

const MOST = 32;

let offer = { offered: null, isWhole: true };
let count = 0;

export function offerLoras(offered, isWhole) {
  offer = { offered, isWhole };
  at("loras-part").hidden = offered?.length === 0 && !rows().length;
  for (const row of rows()) list(row);
}

export const loras = () =>
  rows()
    .map((row) => ({ name: row.querySelector(".name").value.trim(), weight: given(row.querySelector(".weight")) }))
    .filter(({ name }) => name)
    .map(({ name, weight = 1 }) => ({ name, weight }));

export function fillLoras(wanted) {
  at("loras").replaceChildren();
  for (const { name, weight = 1 } of wanted) add(name, weight);
  at("loras-part").open = wanted.length > 0;
  offerLoras(offer.offered, offer.isWhole);
}

const rows = () => [...at("loras").children];
const list = (row) => offerNames(row.querySelector(".name").id, offer.offered, { isWhole: offer.isWhole, nothing: "None" });

function add(name = "", weight = 1) {
  const row = at("lora").content.firstElementChild.cloneNode(true);
  count += 1;
  for (const part of row.querySelectorAll("[id]")) part.id += `-${count}`;
  for (const label of row.querySelectorAll("label")) label.htmlFor += `-${count}`;
  row.querySelector(".weight").value = weight;
  row.querySelector(".remove").addEventListener("click", () => {
    row.remove();
    at("add-lora").disabled = false;
    at("add-lora").focus();
  });
  at("loras").append(row);
  list(row);
  choose(row.querySelector(".name"), name);
  at("add-lora").disabled = rows().length >= MOST;
  return row;
}

at("add-lora").addEventListener("click", () => add().querySelector(".name").focus());
