// A finished job's settings, used once more: the job's own runtime and all that it asked for, of
// which views show only what is not too long.

import { ask, json } from "./api.js";
import { parse } from "./exact.js";
import { fill } from "./form.js";
import { submit } from "./submit.js";
import { named } from "./words.js";

const SEEDS = 2 ** 32;

// The same once more; the new job.
export const again = async (job) => submit(await requestOf(job));

// The same with another seed; the new job.
export async function variation(job) {
  const request = await requestOf(job);
  seeded(request.content).seed = Math.floor(Math.random() * SEEDS);
  return submit(request);
}

export const canVary = (job) => job.task_type !== "pipeline" || named(job)?.inputs?.seed !== undefined;

// Fills the form with what the job asked for, and the seed that made its first image.
export async function useSettings(job) {
  const request = await requestOf(job);
  const { seed } = (await json(address(job))).images[0] ?? {};
  const content = seeded(request.content);
  if (canVary(job) && (content.seed ?? -1) === -1 && (seed ?? null) !== null) content.seed = seed;
  fill(request);
}

const address = ({ id }) => `/v1/jobs/${encodeURIComponent(id)}`;
const requestOf = async (job) => parse(await (await ask(`${address(job)}/request`)).text());

// The part of a content that holds the seed.
function seeded(content) {
  if (typeof content.workflow !== "string") return content;
  return (content.inputs ??= {});
}
