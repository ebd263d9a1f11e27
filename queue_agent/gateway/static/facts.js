// All that is known of how an image was made: what was asked for, and what the runtime says of it.

import { written } from "./exact.js";
import { fileName, sizeOf } from "./media.js";
import { duration, modelOf, named, times } from "./words.js";

const WORDS = {
  negative_prompt: "Negative prompt", model: "Model", loras: "LoRAs", sampler_name: "Sampler", scheduler: "Schedule",
  steps: "Steps", cfg_scale: "CFG scale", seed: "Seed", denoising_strength: "Denoising strength", clip_skip: "Clip skip",
  batch_size: "Batch size", n_iter: "Batches", upscaler_1: "Upscaler", upscaling_resize: "Enlarged by", workflow: "Workflow",
  guidance_scale: "CFG scale", seconds: "Length", frames: "Frames", fps: "FPS", first_frame: "First frame", last_frame: "Last frame",
};
const APART = ["prompt", "width", "height", "override_settings", "inputs", "seed", "model", "loras"];
const FROM_TEXT = { Sampler: "Sampler", "Schedule type": "Schedule", Steps: "Steps", "CFG scale": "CFG scale", Model: "Model", "Model hash": "Model hash", VAE: "VAE", "Clip skip": "Clip skip", "Denoising strength": "Denoising strength" };
const ENTRY = /\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/g;
const LORA = /<lora:([^:>]+)(?::([^:>]+))?[^>]*>/g;

// Pairs of a word and a value.
export function facts(view, number) {
  const { content } = view;
  const image = view.images[number];
  const size = image.width ? image : content;
  const found = new Map();
  const add = (word, value) => value !== undefined && value !== null && value !== "" && !found.has(word) && found.set(word, plain(value));
  add(WORDS.negative_prompt, content.negative_prompt);
  add("Seed", image.seed ?? content.seed);
  add("Model", modelOf(content));
  add("LoRAs", loras(content));
  for (const [name, value] of Object.entries(told(image.info))) add(name, value);
  add("Size", size.width && `${size.width} × ${size.height}`);
  add("Length", image.duration && duration(image.duration));
  add("Frames", image.frames && `${image.frames}${image.fps ? `, ${+image.fps.toFixed(2)} a second` : ""}`);
  add("Codec", image.codec);
  for (const [name, value] of Object.entries(content)) if (!APART.includes(name)) add(WORDS[name] ?? name, value);
  for (const [name, value] of Object.entries(content.override_settings ?? {})) if (name !== "sd_model_checkpoint") add(name, value);
  for (const [name, value] of Object.entries(named(view)?.inputs ?? {})) if (name !== "prompt") add(name, value);
  add("Runtime", view.runtime);
  add("Asked for", new Date(view.submitted_at).toLocaleString());
  add("Time", times(view));
  add("GPU time", view.gpu_seconds && duration(view.gpu_seconds));
  add("Cost", view.cost);
  add("File", `${fileName(view, number)}, ${sizeOf(image.bytes)}`);
  add("Job", view.id);
  return [...found];
}

function loras({ loras = [], prompt = "" }) {
  const written = [...String(prompt).matchAll(LORA)].map(([, name, weight = 1]) => ({ name, weight }));
  return [...loras, ...written].map(({ name, weight = 1 }) => `${name} (${weight})`).join(", ");
}

// What a text in the Web UI's form says in its last line.
function told(info) {
  const line = info?.trim().split("\n").at(-1) ?? "";
  const entries = Object.fromEntries([...line.matchAll(ENTRY)].map(([, name, value]) => [name, value]));
  if (!entries.Steps) return {};
  return Object.fromEntries(Object.entries(FROM_TEXT).filter(([name]) => entries[name]).map(([name, word]) => [word, entries[name].replace(/^"|"$/g, "")]));
}

const plain = (value) => (typeof value === "object" ? written(value) : String(value));
