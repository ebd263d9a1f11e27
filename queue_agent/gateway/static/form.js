// The form: what is asked for, and what the runtime that is chosen has for that.

import { choose, offerNames } from "./choices.js";
import { at, say } from "./dom.js";
import { parse, written } from "./exact.js";
import { given } from "./fields.js";
import { fillLoras, loras, offerLoras } from "./loras.js";
import { runtimeOf } from "./runtimes.js";
import { offerSizes, showPreset } from "./size.js";
import { fillSource, judgeSource, offerSource, pictureRead, source, take } from "./source.js";
import { filesRead, fillInputs, inputs, showInputs } from "./workflows.js";

// What can be made, by the task types from words alone and from a picture, and the field of the picture.
const KINDS = {
  image: { words: "Image", tasks: ["text-to-image", "image-to-image"], picture: "init_images", summary: "Image to image" },
  video: { words: "Video", tasks: ["text-to-video", "image-to-video"], picture: "first_frame", summary: "First frame" },
  mesh: { words: "3D model", tasks: [null, "image-to-3d"], picture: "image", summary: "Picture of it" },
};
const kindOfTask = (task) => Object.keys(KINDS).find((kind) => task && KINDS[kind].tasks.includes(task));
const AS_JSON = "application/json"; // no workflow is called so
const MODES = { portable: "portable", workflow: "inputs", json: "raw" };

let kind = "image";
let kindsTold = "";
let left = {}; // what a filled workflow asks for that has no field

const fields = () => [...at("portable").elements].filter((field) => field.name);
const workflow = () => runtimeOf(at("runtime").value)?.workflows.find(({ name }) => name === at("workflow").value);
const mode = () => (at("workflow").value === AS_JSON ? "json" : at("workflow").value ? "workflow" : "portable");

// What the form asks for, as a job.
export function asked() {
  const runtime = at("runtime").value;
  const [tasktype, content] = {
    json: () => [at("raw-task").value.trim(), parse(at("raw-content").value)],
    workflow: () => ["pipeline", { workflow: at("workflow").value, inputs: { ...left, ...inputs() } }],
    portable: () => [taskType(), portable()],
  }[mode()]();
  return { metadata: { ...(runtime && { runtime }), ...(tasktype && { tasktype }) }, content };
}

// Images' task types are told by their content.
const taskType = () => (kind === "image" ? null : KINDS[kind].tasks[Number(Boolean(source().picture))] ?? KINDS[kind].tasks[1]);

function portable() {
  const content = at("other").value.trim() ? parse(at("other").value) : {};
  for (const field of fields()) {
    const value = field.matches(":disabled") ? undefined : given(field);
    if (value !== undefined) content[field.name] = value;
  }
  const { picture, mask } = source();
  const pictures = picture && { [KINDS[kind].picture]: kind === "image" ? [picture] : picture };
  const hasLoras = kind !== "mesh" && loras().length;
  return { ...content, ...pictures, ...(kind === "image" && mask && { mask }), ...(hasLoras && { loras: loras() }) };
}

// Shows what a job asked for, all of it.
export function fill({ metadata, content }) {
  if (metadata.runtime) choose(at("runtime"), metadata.runtime);
  changeRuntime();
  if (isNamed(content)) fillWorkflow(content);
  else if (kindOfTask(metadata.tasktype)) fillPortable(content, kindOfTask(metadata.tasktype));
  else fillJson(metadata.tasktype, content);
  at(MODES[mode()]).querySelector("textarea, input, select")?.focus();
  say("The form has the settings of that job.");
}

// Takes a picture that was made, to make others from.
export async function startFrom(file, name) {
  at("workflow").value = "";
  changeMode();
  take(file, name);
  await pictureRead();
  at(kind === "image" ? "denoising_strength" : "prompt").focus();
}

const isNamed = ({ workflow, inputs = {}, ...more }) =>
  [...at("workflow").options].some(({ value }) => value && value === workflow) && typeof inputs === "object" && !Object.keys(more).length;

function fillWorkflow(content) {
  at("workflow").value = content.workflow;
  changeMode();
  left = fillInputs(content.inputs);
}

function fillPortable(content, wanted) {
  at("workflow").value = "";
  changeMode();
  choose(at("kind"), wanted);
  at("kind-field").hidden = at("kind").options.length < 2;
  changeKind();
  const more = Object.fromEntries(Object.entries(content).filter(([, value]) => value !== null));
  if (kind !== "image" && "guidance_scale" in more) {
    more.cfg_scale ??= more.guidance_scale;
    delete more.guidance_scale;
  }
  const hasPicture = fillSource(more, KINDS[kind].picture);
  for (const field of fields()) {
    if (field.matches(":disabled") && (kind !== "image" || field.name !== "denoising_strength")) continue;
    if (field.name === "denoising_strength" && !hasPicture) continue;
    const value = more[field.name];
    const fits = typeof value === "string" ? field.type !== "number" : ["number", "bigint"].includes(typeof value) && field.type === "number";
    choose(field, fits ? String(value) : "");
    if (fits) delete more[field.name];
  }
  const areLoras = Array.isArray(more.loras) && more.loras.every((lora) => typeof lora?.name === "string");
  fillLoras(areLoras ? more.loras : []);
  if (areLoras) delete more.loras;
  at("other").value = Object.keys(more).length ? written(more, 2) : "";
  at("other-part").open = Boolean(at("other").value);
  showPreset();
  showSchedules();
}

function fillJson(tasktype, content) {
  offerJson();
  at("workflow").value = AS_JSON;
  changeMode();
  at("raw-task").value = tasktype ?? "";
  at("raw-content").value = written(content, 2);
}

// What there is, as last told: the fields follow, and keep what they say.
export function offer(runtimes) {
  const names = runtimes.map(({ name }) => name);
  const known = [...at("runtime").options].map(({ value }) => value);
  if (names.some((name) => !known.includes(name))) {
    const chosen = at("runtime").value;
    at("runtime").replaceChildren(...names.map((name) => new Option(name)));
    if (names.includes(chosen)) at("runtime").value = chosen;
  }
  changeRuntime();
}

function changeRuntime() {
  const { capabilities = {}, loaded = [], shortened = [], task_types: tasks = [], workflows = [] } = runtimeOf(at("runtime").value) ?? {};
  const list = (name, label = () => undefined) =>
    capabilities[name]?.map((one) => ({ name: one.name, label: label(one) })) ?? null;
  const isWhole = (name) => !shortened.includes(name);
  offerNames("model", list("models", ({ name, title }) => withAgents(title ?? name, loaded.find(({ model }) => model === name))), { isWhole: isWhole("models") });
  offerNames("sampler_name", list("samplers"), { isWhole: isWhole("samplers") });
  offerNames("scheduler", list("schedules", ({ label }) => label), { isWhole: isWhole("schedules") });
  offerLoras(list("loras"), isWhole("loras"));
  offerSizes(capabilities.sizes);
  offerKinds(tasks);
  offerWorkflows(workflows, tasks.includes("pipeline"));
  showSchedules();
}

// What a model is called, and where it would not have to be loaded first.
const withAgents = (title, there) => (there ? `${title} · loaded` : title);

// Which of the kinds of things the runtime makes; where that is one, there is nothing to choose.
function offerKinds(tasks) {
  const kinds = Object.keys(KINDS).filter((kind) => KINDS[kind].tasks.some((task) => tasks.includes(task)));
  const offered = kinds.length ? kinds : ["image"];
  const told = [at("runtime").value, ...offered].join();
  if (told !== kindsTold) { // what was filled in otherwise stays
    kindsTold = told;
    const chosen = at("kind").value;
    at("kind").replaceChildren(...offered.map((kind) => new Option(KINDS[kind].words, kind)));
    if (offered.includes(chosen)) at("kind").value = chosen;
  }
  at("kind-field").hidden = at("kind").options.length < 2;
  changeKind();
}

// What is asked for of an image and not of a video is hidden, and the other way round. A video's
// runtime knows its model's size, steps and guidance best, so they are left to it unless said.
function changeKind() {
  const former = kind;
  kind = at("kind").value || "image";
  const { tasks, summary } = KINDS[kind];
  for (const part of document.querySelectorAll("#portable [data-kinds]")) {
    const isWanted = part.dataset.kinds.split(" ").includes(kind);
    part.hidden = !isWanted;
    for (const field of part.querySelectorAll("input, select, textarea")) field.disabled = !isWanted;
  }
  if ((former === "image") !== (kind === "image")) {
    for (const field of document.querySelectorAll("#portable [data-usual]")) field.value = kind === "image" ? field.dataset.usual : "";
    showPreset();
  }
  const own = runtimeOf(at("runtime").value)?.task_types ?? [];
  at("source-part").querySelector("summary").textContent = summary;
  offerSource(!own.length || own.includes(tasks[1]), { isNeeded: !own.includes(tasks[0]) && own.includes(tasks[1]) && kind !== "image", isPlain: kind !== "image" });
}

function showSchedules() {
  const offered = runtimeOf(at("runtime").value)?.capabilities.schedules;
  at("scheduler-field").hidden = kind !== "image" || (!offered?.length && !at("scheduler").value);
}

function offerWorkflows(workflows, takesGraphs) {
  const names = ["", ...workflows.map(({ name }) => name), ...(takesGraphs ? [AS_JSON] : [])];
  const known = [...at("workflow").options].map(({ value }) => value);
  if (names.some((name) => !known.includes(name)) || known.some((name) => !names.includes(name) && name !== AS_JSON)) {
    const chosen = at("workflow").value;
    at("workflow").replaceChildren(new Option("None: prompt and settings", ""), ...workflows.map(({ name }) => new Option(name)));
    if (takesGraphs || chosen === AS_JSON) offerJson();
    at("workflow").value = names.includes(chosen) || chosen === AS_JSON ? chosen : "";
    changeMode();
  }
  at("workflow-field").hidden = at("workflow").options.length < 2;
}

function offerJson() {
  if (![...at("workflow").options].some(({ value }) => value === AS_JSON)) at("workflow").append(new Option("Content as JSON", AS_JSON));
  at("workflow-field").hidden = false;
}

function changeMode() {
  left = {};
  for (const [name, id] of Object.entries(MODES)) at(id).hidden = at(id).disabled = mode() !== name;
  showInputs(workflow());
}

// Says whether a field holds an object in JSON.
function judge(field, isNeeded) {
  let fits = !isNeeded;
  if (field.value.trim()) {
    try {
      const value = parse(field.value);
      fits = typeof value === "object" && value !== null && !Array.isArray(value);
    } catch {
      fits = false;
    }
  }
  field.setCustomValidity(fits ? "" : 'This is no object in JSON, such as {"restore_faces": true}.');
}

at("runtime").addEventListener("change", () => {
  changeRuntime();
  changeMode(); // a workflow of that name may have other inputs there
});
at("workflow").addEventListener("change", changeMode);
at("kind").addEventListener("change", () => {
  changeKind();
  showSchedules();
});

// Before the fields are checked; also of what was filled in.
export async function prepare() {
  await Promise.all([pictureRead(), filesRead()]);
  judgeSource();
  judge(at("other"), false);
  judge(at("raw-content"), true);
}
