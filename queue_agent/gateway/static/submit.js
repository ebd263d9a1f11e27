// Asks for jobs.

import { json } from "./api.js";
import { looked, runtimeOf } from "./runtimes.js";

// The job that was asked for, as it stands.
export async function submit(content, { runtime, tasktype = content.workflow && "pipeline" }) {
  await looked();
  const previews = runtimeOf(runtime)?.capabilities.previews;
  const metadata = { ...(runtime && { runtime }), ...(tasktype && { tasktype }), ...(previews && { previews }) };
  return json("/v1/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ metadata, content }),
  });
}
