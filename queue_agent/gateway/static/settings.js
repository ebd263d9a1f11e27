// A job's settings, used once more.

import { submit } from "./submit.js";
import { named } from "./words.js";

const SEEDS = 2 ** 32;

// The same once more.
export function again({ content, task_type: tasktype, runtime }) {
  return submit(content, { tasktype, runtime });
}

// The same with another seed.
export function variation(view) {
  const { content, task_type: tasktype, runtime } = view;
  const seed = Math.floor(Math.random() * SEEDS);
  const varied = named(view) ? { ...content, inputs: { ...content.inputs, seed } } : { ...content, seed };
  return submit(varied, { tasktype, runtime });
}

export const canVary = (view) => view.task_type !== "pipeline" || named(view)?.inputs?.seed !== undefined;
