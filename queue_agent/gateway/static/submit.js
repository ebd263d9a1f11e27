// Asks for jobs.

import { json, Problem } from "./api.js";
import { written } from "./exact.js";
import { sized } from "./pictures.js";
import { bodyLimit, looked, runtimeOf } from "./runtimes.js";

// The job that was asked for, as it stands.
export async function submit({ metadata, content }) {
  await looked();
  const previews = metadata.previews ?? (runtimeOf(metadata.runtime)?.capabilities.previews || undefined);
  const output = metadata.output ?? (/video|3d/.test(metadata.tasktype ?? "") ? undefined : { thumbnail: true });
  const body = written({ metadata: { ...metadata, previews, output }, content });
  const { size } = new Blob([body]);
  if (size > bodyLimit()) {
    throw new Problem(413, `This is ${sized(size)}, and the gateway takes ${sized(bodyLimit())} at most: choose smaller files.`);
  }
  return json("/v1/jobs", { method: "POST", headers: { "Content-Type": "application/json" }, body });
}
