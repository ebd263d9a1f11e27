// The gateway's API, asked with the key that is kept until the tab is closed.

import { at } from "./dom.js";

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const key = () => sessionStorage.getItem("key");

export function keep(key) {
  sessionStorage.setItem("key", key);
  at("key-field").hidden = true;
}

export const lacksKey = () => !at("key-field").hidden;

function wantKey() {
  at("key-field").hidden = false;
  at("key").focus();
}

export async function ask(path, options = {}) {
  const headers = { ...(key() && { Authorization: `Bearer ${key()}` }), ...options.headers };
  const answer = await fetch(path, { ...options, headers }).catch(() => {
    throw new Problem(0, "The gateway does not answer.");
  });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401) wantKey();
  throw new Problem(answer.status, problem.detail ?? `The gateway answered ${answer.status}.`);
}

export const json = async (path, options) => (await ask(path, options)).json();

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
