// What OpenAI's own client for JavaScript makes of the gateway's videos, as JSON.

import { createRequire } from "node:module";
import { join } from "node:path";

const OpenAI = createRequire(join(process.env.PLAYWRIGHT, "node_modules", "x.js"))("openai");
const api = new OpenAI.default({ baseURL: `${process.argv[2]}/v1`, apiKey: "unused", maxRetries: 0 });
const picture = await OpenAI.toFile(Buffer.from(process.env.PICTURE, "base64"), "a.png", { type: "image/png" });

const asked = await api.videos.create({ prompt: "a lighthouse", seconds: "4", size: "1280x720", input_reference: picture });
let video = asked;
while (!["completed", "failed"].includes(video.status)) video = await api.videos.retrieve(asked.id);
const film = Buffer.from(await (await api.videos.downloadContent(asked.id)).arrayBuffer());
const thumbnail = Buffer.from(await (await api.videos.downloadContent(asked.id, { variant: "thumbnail" })).arrayBuffer());
const listed = [];
for await (const one of api.videos.list({ limit: 1 })) listed.push(one.id);
const refusal = await api.videos.create({ prompt: "a", size: "big" }).catch(({ status, param }) => ({ status, param }));
const deleted = await api.videos.delete(asked.id);
console.log(JSON.stringify({
  asked, video, film: film.toString("base64"), thumbnail: thumbnail.toString("base64"), listed, refusal, deleted,
}));
