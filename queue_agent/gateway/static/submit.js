// Asks for jobs.

import { json, Problem } from "./api.js";
import { written } from "./exact.js";
import { bodyLimit, looked, runtimeOf } from "./runtimes.js";

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;

// The job that was asked for, as it stands.
export async function submit({ metadata, content }) {
  await looked();
  const previews = metadata.previews ?? (runtimeOf(metadata.runtime)?.capabilities.previews || undefined);
  const body = written({ metadata: { ...metadata, previews }, content });
  const { size } = new Blob([body]);
  if (size > bodyLimit()) {
    throw new Problem(413, `This is ${megabytes(size)}, and the gateway takes ${megabytes(bodyLimit())} at most: choose smaller files.`);
  }
  return json("/v1/jobs", { method: "POST", headers: { "Content-Type": "application/json" }, body });
}
