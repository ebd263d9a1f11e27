// News of open jobs. By WebSocket, because browsers allow only a few connections to a host
// otherwise; of those too only so many at a time, the oldest jobs first, whose turn is next. One that
// breaks is opened anew: its first message is the job as it stands.

import { parse } from "./exact.js";
import { key } from "./key.js";

const RETRY = 2000;
const AT_ONCE = 32;

const wanted = new Map();
const sockets = new Map();
let isDue = false;

// `told` is called with the job whenever something changes, until `unfollow`.
export function follow(view, told) {
  if (wanted.has(view.id)) return;
  wanted.set(view.id, { since: view.submitted_at, told });
  soon();
}

export function unfollow(id) {
  if (!wanted.delete(id)) return;
  sockets.get(id)?.close();
  sockets.delete(id);
  soon();
}

// Whether there are jobs of which nothing is heard.
export const isBehind = () => wanted.size > sockets.size;

// Once for all that are named in one go, so that the oldest of them come first.
function soon() {
  if (isDue) return;
  isDue = true;
  queueMicrotask(open);
}

function open() {
  isDue = false;
  if (sockets.size >= AT_ONCE || sockets.size === wanted.size) return;
  const waiting = [...wanted].filter(([id]) => !sockets.has(id)).sort(([, one], [, other]) => (one.since < other.since ? -1 : 1));
  for (const [id, { told }] of waiting.slice(0, AT_ONCE - sockets.size)) connect(id, told);
}

function connect(id, told) {
  const url = `${location.origin.replace(/^http/, "ws")}/v1/jobs/${encodeURIComponent(id)}/events`;
  const socket = new WebSocket(url, key() ? [`queue-agent.key.${key()}`] : []);
  sockets.set(id, socket);
  socket.addEventListener("message", (event) => sockets.get(id) === socket && told(parse(event.data)));
  socket.addEventListener("close", () => {
    if (sockets.get(id) !== socket) return;
    setTimeout(() => { // till then it keeps its place
      if (sockets.get(id) === socket) sockets.delete(id);
      soon();
    }, RETRY);
  });
}
