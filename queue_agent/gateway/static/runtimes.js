// The runtimes on offer, as last told.

import { json } from "./api.js";

let runtimes = [];
let limit = Infinity;
let latest = Promise.resolve();

// Asks anew; the runtimes, the default one first.
export function look() {
  const asked = json("/v1/runtimes").then((answer) => {
    limit = answer.body_limit;
    return (runtimes = answer.runtimes);
  });
  latest = asked.catch(() => {});
  return asked;
}

export const runtimeOf = (name) => runtimes.find((runtime) => runtime.name === name);

// Bytes that one request may have.
export const bodyLimit = () => limit;

// Settles once what was asked last is answered.
export const looked = () => latest;
