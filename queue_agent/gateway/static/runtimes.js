// The runtimes on offer, as last told.

import { json } from "./api.js";

let runtimes = [];
let latest = Promise.resolve();

// Asks anew; the runtimes, the default one first.
export function look() {
  const asked = json("/v1/runtimes").then((answer) => (runtimes = answer.runtimes));
  latest = asked.catch(() => {});
  return asked;
}

export const runtimeOf = (name) => runtimes.find((runtime) => runtime.name === name);

// Settles once what was asked last is answered.
export const looked = () => latest;
