// What the job would take that the form asks for, told before it is asked for.

import { fetched } from "./api.js";
import { at } from "./dom.js";
import { written } from "./exact.js";
import { asked } from "./form.js";
import { lacksKey } from "./key.js";
import { expectation } from "./words.js";

const PAUSE = 700; // after the last change, in ms
const AGE = 60_000; // after so long the queue is another
const MOST = 65_536; // characters; pictures have more, and are not sent for this

let timer;
let told = { question: "", at: 0 };

// Soon; `anew` also where nothing but the queue has changed.
export function expect({ anew = false } = {}) {
  if (anew) told.at = 0;
  clearTimeout(timer);
  timer = setTimeout(look, PAUSE);
}

async function look() {
  const question = lacksKey() ? "" : asks();
  if (question === told.question && (!question || Date.now() - told.at < AGE)) return;
  const mine = told = { question, at: Date.now() };
  const answer = question && await estimate(question).catch(() => null);
  if (mine === told) at("expected").textContent = answer ? expectation(answer) : "";
}

// The job, whatever its prompt says; nothing while it cannot be asked for.
function asks() {
  const faulty = [...at("ask").elements].some((field) => field.id !== "prompt" && field.willValidate && !field.validity.valid);
  if (faulty) return "";
  try {
    const { metadata, content } = asked();
    const question = written({ metadata, content: at("portable").hidden ? content : { ...content, prompt: "a" } });
    return question.length > MOST ? "" : question;
  } catch {
    return "";
  }
}

async function estimate(body) {
  const answer = await fetched("/v1/estimate", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  return answer.ok ? answer.json() : null;
}

at("ask").addEventListener("input", () => expect());
at("ask").addEventListener("change", () => expect());
