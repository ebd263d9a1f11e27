// The page of the gateway: asks for images, follows jobs, shows what became of them.

const PAGE = 24;
const RETRY = 2000;
const ACTIVITY = 5000;
const OPEN = ["queued", "running", "cancelling"];

const at = (id) => document.getElementById(id);
const cards = new Map();
const following = new Set();
let next = null;
let workflows = new Map();
let looked = null; // what runtimes there are, once that is known
let watchable = new Set(); // the runtimes that show images while they work on them

class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const key = sessionStorage.getItem("key");
  const headers = { ...(key && { Authorization: `Bearer ${key}` }), ...options.headers };
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401) wantKey();
  throw new Problem(answer.status, problem.detail ?? `The gateway answered ${answer.status}.`);
}

const json = async (path, options) => (await ask(path, options)).json();

function contentOf() {
  const content = {};
  if (at("workflow").value) return { workflow: at("workflow").value, inputs: inputsOf(at("inputs")) };
  for (const field of at("portable").elements) {
    if (!field.name || field.value === "") continue;
    content[field.name] = field.type === "number" ? Number(field.value) : field.value;
  }
  const [width, height] = at("size").value.split("x").map(Number);
  return { ...content, width, height };
}

function inputsOf(fields) {
  const inputs = {};
  for (const field of fields.elements) {
    if (field.value === "") continue;
    const { kind } = field.dataset;
    inputs[field.name] = kind === "number" ? Number(field.value) : kind === "boolean" ? field.value === "true" : field.value;
  }
  return inputs;
}

async function submit(content, tasktype = content.workflow && "pipeline", wanted = null) {
  await looked;
  const runtime = wanted ?? at("runtime").value;
  const previews = watchable.has(runtime);
  const metadata = { ...(runtime && { runtime }), ...(tasktype && { tasktype }), ...(previews && { previews }) };
  const view = await json("/v1/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ metadata, content }),
  });
  show(view, { first: true });
  say(`Sent: ${title(view)}`);
}

async function attempt(action) {
  complain("");
  try {
    await action();
  } catch (error) {
    complain(error instanceof Problem ? error.message : "The gateway does not answer.");
  }
}

function complain(words) {
  at("said").textContent = words;
  at("said").hidden = !words;
}

function say(words) {
  at("live").textContent = words;
}

function wantKey() {
  at("key-field").hidden = false;
  at("key").focus();
}

function show(view, { first = false } = {}) {
  let card = cards.get(view.id);
  if (!card) {
    card = at("job").content.firstElementChild.cloneNode(true);
    card.dataset.id = view.id;
    cards.set(view.id, card);
    at("list")[first ? "prepend" : "append"](card);
    card.addEventListener("click", (event) => act(card, event.target.closest("button")));
  }
  const before = card.view?.status;
  card.view = view;
  fill(card, view);
  at("nothing").hidden = true;
  const isOpen = OPEN.includes(view.status);
  if (isOpen) follow(view.id);
  if (!isOpen && OPEN.includes(before)) say(`${view.status}: ${title(view)}`);
}

function fill(card, view) {
  const part = (selector) => card.querySelector(selector);
  const isOpen = OPEN.includes(view.status);
  card.dataset.status = view.status;
  part("h2").textContent = title(view);
  part(".settings").textContent = settings(view);
  part(".state").textContent = state(view);
  part(".wait").hidden = view.status === "completed" || view.status === "failed" || view.status === "expired";
  part(".reason").textContent = view.error?.message ?? "";
  const bar = part("progress");
  bar.hidden = !isOpen;
  bar.setAttribute("aria-label", `Progress of ${title(view)}`);
  if (view.progress === null) bar.removeAttribute("value");
  else bar.value = view.progress;
  part('[data-do="cancel"]').hidden = !isOpen;
  part('[data-do="cancel"]').disabled = view.status === "cancelling";
  part('[data-do="again"]').hidden = isOpen;
  part('[data-do="variation"]').hidden = isOpen || (view.task_type === "pipeline" && named(view)?.inputs?.seed === undefined);
  glimpse(part(".preview"), view);
  if (view.images.length && !part(".images").childElementCount) hang(part(".images"), view);
}

// The work under way, behind the words that tell how far it is.
async function glimpse(picture, view) {
  const path = OPEN.includes(view.status) ? view.preview : null;
  if (!path) picture.hidden = true;
  if (!path || picture.dataset.of === path) return;
  picture.dataset.of = path;
  const blob = await ask(path).then((answer) => answer.blob()).catch(() => null);
  if (!blob || picture.dataset.of !== path) return; // there is none any more, or a newer one
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(blob);
  picture.hidden = !OPEN.includes(cards.get(view.id).view.status);
}

const named = ({ content }) => (typeof content.workflow === "string" ? content : null);
const title = (view) => view.content.prompt || named(view)?.inputs?.prompt || named(view)?.workflow || view.task_type;

function settings(view) {
  const { content } = view;
  const seeds = view.images.filter((image) => image.seed !== null).map((image) => image.seed);
  const size = view.images[0] ?? content;
  const parts = [
    size.width && `${size.width} × ${size.height}`,
    content.steps && `${content.steps} steps`,
    content.cfg_scale !== undefined && `guidance ${content.cfg_scale}`,
    content.sampler_name,
    seeds.length && `seed ${seeds.join(", ")}`,
    content.negative_prompt && `without ${content.negative_prompt}`,
    view.timings && view.status === "completed" && `${view.timings.run.toFixed(1)} s`,
  ];
  return parts.filter(Boolean).join(" · ");
}

function state(view) {
  if (view.status === "running") {
    const doing = view.stage ? view.stage[0].toUpperCase() + view.stage.slice(1) : "Running";
    return view.progress === null ? doing : `${doing}, ${Math.round(view.progress * 100)} %`;
  }
  if (view.status !== "queued") return { cancelling: "Being cancelled …", cancelled: "Cancelled" }[view.status] ?? view.status;
  const { position, estimated_seconds: seconds } = view.queue ?? {};
  const ahead = position ? `${position} ahead` : "Next in line";
  return seconds ? `${ahead}, about ${duration(seconds)}` : position === undefined ? "Waiting" : ahead;
}

const duration = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);

function hang(wall, view) {
  wall.classList.toggle("several", view.images.length > 1);
  const several = view.images.length > 1;
  for (const [number, image] of view.images.slice(0, 4).entries()) {
    const button = document.createElement("button");
    const picture = document.createElement("img");
    button.type = "button";
    button.dataset.do = "view";
    button.setAttribute("aria-label", `Show ${several ? `image ${number + 1} of ` : ""}${title(view)}`);
    picture.alt = title(view);
    picture.decoding = "async";
    button.append(picture);
    wall.append(button);
    // fetched here, because an <img> cannot send the API key
    ask(image.href)
      .then((answer) => answer.blob())
      .then((blob) => { picture.src = URL.createObjectURL(blob); })
      .catch(() => { button.replaceChildren("This image cannot be loaded."); });
  }
}

async function act(card, button) {
  const { id, content, task_type: task, runtime } = card.view;
  const seed = Math.floor(Math.random() * 2 ** 32);
  const varied = named(card.view) ? { ...content, inputs: { ...content.inputs, seed } } : { ...content, seed };
  const actions = {
    again: () => submit(content, task, runtime),
    variation: () => submit(varied, task, runtime),
    cancel: async () => show(await json(`/v1/jobs/${id}`, { method: "DELETE" })),
    view: async () => enlarge(button.querySelector("img"), card.view),
  };
  const action = actions[button?.dataset.do];
  if (action) await attempt(action);
}

function enlarge(picture, view) {
  if (!picture) return;
  const viewer = at("viewer");
  viewer.querySelector("img").src = picture.src;
  viewer.querySelector("img").alt = picture.alt;
  viewer.querySelector("p").textContent = `${title(view)} — ${settings(view)}`;
  viewer.showModal();
}

async function load(cursor) {
  const query = new URLSearchParams({ limit: PAGE, ...(cursor && { cursor }) });
  const page = await json(`/v1/jobs?${query}`);
  for (const view of page.jobs) show(view);
  next = page.next;
  at("more").hidden = !next;
  at("nothing").hidden = cards.size > 0;
}

// By WebSocket, because browsers allow only a few connections to a host otherwise. One that breaks
// is opened anew: its first message is the job as it stands.
function follow(id) {
  if (following.has(id)) return;
  following.add(id);
  const key = sessionStorage.getItem("key");
  const url = `${location.origin.replace(/^http/, "ws")}/v1/jobs/${encodeURIComponent(id)}/events`;
  const socket = new WebSocket(url, key ? [`queue-agent.key.${key}`] : []);
  socket.addEventListener("message", (event) => show(JSON.parse(event.data)));
  socket.addEventListener("close", () => {
    following.delete(id);
    if (OPEN.includes(cards.get(id).view.status)) setTimeout(() => follow(id), RETRY);
  });
}

async function look() {
  try {
    const { runtimes } = await json("/v1/runtimes");
    offer(runtimes);
    const queues = runtimes.map((runtime) => runtime.queue).filter(Boolean);
    const sum = (name) => queues.reduce((total, queue) => total + queue[name], 0);
    at("waiting").textContent = queues.length ? sum("waiting") : "–";
    at("in-flight").textContent = queues.length ? sum("in_flight") : "–";
    draw(runtimes[0].throughput.map((_, place) => runtimes.reduce((total, runtime) => total + runtime.throughput[place], 0)));
  } catch {
    at("waiting").textContent = at("in-flight").textContent = "–";
  }
}

function offer(runtimes) {
  const choice = at("runtime");
  watchable = new Set(runtimes.filter((runtime) => runtime.capabilities.previews).map(({ name }) => name));
  workflows = new Map(runtimes.map((runtime) => [runtime.name, runtime.workflows]));
  if (choice.options.length) return;
  choice.append(...runtimes.map(({ name }) => new Option(name)));
  offerWorkflows();
}

function offerWorkflows() {
  const known = workflows.get(at("runtime").value) ?? [];
  at("workflow-field").hidden = !known.length;
  at("workflow").replaceChildren(new Option("None: as below", ""), ...known.map(({ name }) => new Option(name)));
  askInputs();
}

function askInputs() {
  const known = workflows.get(at("runtime").value) ?? [];
  const chosen = known.find(({ name }) => name === at("workflow").value);
  for (const [id, shown] of [["inputs", Boolean(chosen)], ["portable", !chosen]]) {
    at(id).hidden = at(id).disabled = !shown;
  }
  at("inputs").replaceChildren(...(chosen?.inputs ?? []).map(fieldOf));
}

function fieldOf(input) {
  const whole = document.createElement("div");
  const label = document.createElement("label");
  const field = document.createElement(input.kind === "boolean" ? "select" : input.name === "prompt" ? "textarea" : "input");
  whole.className = "field";
  label.textContent = input.name;
  label.htmlFor = field.id = `input-${input.name}`;
  field.name = input.name;
  field.dataset.kind = input.kind;
  field.required = input.required && input.default === null;
  if (input.kind === "boolean") field.append(new Option("as it is", ""), new Option("yes", "true"), new Option("no", "false"));
  if (input.kind === "number") Object.assign(field, { type: "number", step: "any" });
  if (["image", "video", "audio"].includes(input.kind)) field.placeholder = "https://… or s3://…";
  if (input.default !== null) field.placeholder = String(input.default);
  whole.append(label, field);
  return whole;
}

function draw(counts) {
  const top = Math.max(1, ...counts);
  const points = counts.map((count, place) => [(place * 120) / (counts.length - 1), 26 - (count / top) * 24]);
  const line = points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
  at("sparkline").querySelector(".line").setAttribute("d", `M${line}`);
  at("sparkline").querySelector(".area").setAttribute("d", `M0 28L${line}L120 28Z`);
  const total = counts.reduce((sum, count) => sum + count, 0);
  at("sparkline").setAttribute("aria-label", `${total} jobs ended in the last 10 minutes`);
}

at("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("send").disabled = true;
  await attempt(() => submit(contentOf()));
  at("send").disabled = false;
});

at("runtime").addEventListener("change", offerWorkflows);
at("workflow").addEventListener("change", askInputs);

at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
});

at("key").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault(); // it would send the form
  at("key").blur();
});

at("key").addEventListener("change", (event) => {
  sessionStorage.setItem("key", event.target.value.trim());
  at("key-field").hidden = true;
  start();
});

at("more").addEventListener("click", () => attempt(() => load(next)));

async function start() {
  await attempt(() => load(null));
  if (at("key-field").hidden) await (looked = look());
}

await start();
setInterval(() => document.hidden || !at("key-field").hidden || look(), ACTIVITY);
