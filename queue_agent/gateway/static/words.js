// Jobs in words.

export const OPEN = ["queued", "running", "cancelling"];
export const isOpen = (view) => OPEN.includes(view.status);

export const named = ({ content }) => (typeof content.workflow === "string" ? content : null);
export const title = (view) => view.content.prompt || named(view)?.inputs?.prompt || named(view)?.workflow || view.task_type;

// What was asked for, in a line.
export function settings(view) {
  const { content } = view;
  const seeds = view.images.filter((image) => image.seed !== null).map((image) => image.seed);
  const size = view.images[0] ?? content;
  const parts = [
    size.width && `${size.width} × ${size.height}`,
    view.images[0]?.duration && duration(view.images[0].duration),
    content.steps && `${content.steps} steps`,
    content.cfg_scale !== undefined && `CFG ${content.cfg_scale}`,
    content.sampler_name,
    modelOf(content),
    seeds.length && `seed ${seeds.slice(0, 4).join(", ")}${seeds.length > 4 ? " …" : ""}`,
    content.negative_prompt && `without ${content.negative_prompt}`,
  ];
  return parts.filter(Boolean).join(" · ");
}

export const modelOf = (content) => content.model || content.override_settings?.sd_model_checkpoint;

export function state(view) {
  if (view.status === "running") {
    const doing = view.stage ? capital(view.stage) : "Running";
    return view.progress === null ? doing : `${doing}, ${percent(view.progress)}${steps(view)}`;
  }
  if (view.status !== "queued") return { cancelling: "Being cancelled …" }[view.status] ?? capital(view.status);
  const { position, estimated_seconds: left } = view.queue ?? {};
  const ahead = position ? `${position} ahead` : "Next in line";
  return left ? `${ahead}, about ${duration(left)}` : position === undefined ? "Waiting" : ahead;
}

// Which step that is, where one image after the other is not what progress counts.
function steps({ stage, progress, content: { steps: all, n_iter: batches = 1 } }) {
  return stage || !Number.isInteger(all) || batches !== 1 ? "" : ` · step ${Math.round(progress * all)} of ${all}`;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);
const percent = (share) => `${Math.round(share * 100)} %`;

export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

// What is expected of a job before it is asked for.
export function expectation({ gpu_seconds: gpu, end, cost, basis }) {
  const parts = [
    `${basis === "setting" ? "Perhaps" : "About"} ${duration(gpu.expected)} on the GPU`,
    end && `done in ${duration(end.expected)} (${duration(end.low)} to ${duration(end.high)})`,
    cost && `cost ${Number(cost.expected.toPrecision(3))}`,
  ];
  return parts.filter(Boolean).join(", ");
}

const SPANS = [["day", 86_400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

// How long ago that was, as people say it; the day where it is longer than a week.
export function ago(moment, now = new Date()) {
  const seconds = (now - moment) / 1000;
  if (seconds > 7 * 86_400) return moment.toLocaleDateString("en", { dateStyle: "medium" });
  const [unit, length] = SPANS.find(([, length]) => seconds >= length) ?? ["second", Infinity];
  return unit === "second" ? "just now" : relative.format(-Math.floor(seconds / length), unit);
}

// Where the time went; null while nobody knows.
export function times({ timings }) {
  if (!timings) return null;
  const steps = { queued: "waited", prepare: "prepared", wait: "waited for the GPU", run: "ran", store: "stored" };
  return Object.entries(steps).filter(([step]) => timings[step] >= 0.05).map(([step, words]) => `${words} ${duration(timings[step])}`).join(", ");
}
