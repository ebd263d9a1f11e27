// The gateway's API.

import { at } from "./dom.js";
import { parse } from "./exact.js";
import { key, wantKey } from "./key.js";

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

// What is answered to the key's owner, whatever that is.
export function fetched(path, options = {}) {
  const headers = { ...(key() && { Authorization: `Bearer ${key()}` }), ...options.headers };
  return fetch(path, { ...options, headers });
}

export async function ask(path, options = {}) {
  const answer = await fetched(path, options).catch(() => {
    throw new Problem(0, "The gateway does not answer.");
  });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401) wantKey();
  throw new Problem(answer.status, problem.detail ?? `The gateway answered ${answer.status}.`);
}

export const json = async (path, options) => parse(await (await ask(path, options)).text());

// What is done here because somebody wants it; what fails is told beside the form.
export async function attempt(action) {
  complain("");
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    complain(error.message);
  }
}

function complain(words) {
  at("said").textContent = words;
  at("said").hidden = !words;
}
