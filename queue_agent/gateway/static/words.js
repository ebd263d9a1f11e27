// Jobs in words.

export const named = ({ content }) => (typeof content.workflow === "string" ? content : null);
export const title = (view) => view.content.prompt || named(view)?.inputs?.prompt || named(view)?.workflow || view.task_type;

export function settings(view) {
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
