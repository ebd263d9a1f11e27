// The mask, painted over the picture with a brush: what is painted is made anew.

import { at, say } from "./dom.js";
import { fileOf } from "./pictures.js";

const COLOUR = "#ff3d9a";

let strokes = []; // each {erases, size, points}, or {clears}
let stroke = null;
let base = null; // what a filled job's mask holds: {url, canvas}
let cursor = null; // of the keyboard, in pixels of the canvas

const canvas = () => at("mask");
const context = () => canvas().getContext("2d", { willReadFrequently: true });

export function startMask(width, height) {
  Object.assign(canvas(), { width, height });
  strokes = [];
  base = null;
  cursor = { x: width / 2, y: height / 2 };
  at("masked").checked = false;
  at("brush").value = 10;
  redraw();
  showTools();
}

// The mask as a data URL, white where it is painted; null where nothing is.
export function mask() {
  if (!at("masked").checked) return null;
  if (base && !strokes.length) return base.url;
  const { width, height } = canvas();
  const pixels = context().getImageData(0, 0, width, height);
  let isEmpty = true;
  for (let place = 0; place < pixels.data.length; place += 4) {
    const value = pixels.data[place + 3] > 127 ? 255 : 0;
    if (value) isEmpty = false;
    pixels.data.set([value, value, value, 255], place);
  }
  if (isEmpty) return null;
  const drawn = document.createElement("canvas");
  Object.assign(drawn, { width, height });
  drawn.getContext("2d").putImageData(pixels, 0, 0);
  return drawn.toDataURL("image/png");
}

export const isMasking = () => at("masked").checked;

// Takes over a job's mask; whether it could be read.
export async function fillMask(url) {
  const file = fileOf(url);
  const bitmap = file && (await createImageBitmap(file).catch(() => null));
  if (!bitmap) return false;
  const { width, height } = canvas();
  const drawn = new OffscreenCanvas(width, height);
  const pen = drawn.getContext("2d");
  pen.drawImage(bitmap, 0, 0, width, height);
  const pixels = pen.getImageData(0, 0, width, height);
  for (let place = 0; place < pixels.data.length; place += 4) {
    const [red, green, blue, alpha] = pixels.data.subarray(place, place + 4);
    const isWhite = (red + green + blue) / 3 > 127 && alpha > 127;
    pixels.data.set([255, 61, 154, isWhite ? 255 : 0], place);
  }
  pen.putImageData(pixels, 0, 0);
  base = { url, canvas: drawn };
  at("masked").checked = true;
  redraw();
  showTools();
  return true;
}

function redraw() {
  context().clearRect(0, 0, canvas().width, canvas().height);
  const since = strokes.findLastIndex(({ clears }) => clears);
  if (base && since < 0) context().drawImage(base.canvas, 0, 0);
  for (const each of strokes.slice(since + 1)) draw(each, 0);
  at("undo").disabled = at("clear").disabled = !strokes.length && !base;
  if (!strokes.length) at("undo").disabled = true;
}

function draw({ erases, size, points }, from) {
  const pen = context();
  pen.globalCompositeOperation = erases ? "destination-out" : "source-over";
  pen.strokeStyle = pen.fillStyle = COLOUR;
  const width = erases ? size + 2 : size; // what shines through at its edge, too
  Object.assign(pen, { lineWidth: width, lineCap: "round", lineJoin: "round" });
  pen.beginPath();
  const [start, ...more] = points.slice(Math.max(0, from - 1));
  pen.arc(start.x, start.y, width / 2, 0, 2 * Math.PI); // a line without length is none
  pen.fill();
  pen.beginPath();
  pen.moveTo(start.x, start.y);
  for (const { x, y } of more) pen.lineTo(x, y);
  pen.stroke();
}

const size = () => Math.max(2, (Number(at("brush").value) / 100) * Math.min(canvas().width, canvas().height));

function begin(point) {
  stroke = { erases: at("eraser").checked, size: size(), points: [point] };
  strokes.push(stroke);
  draw(stroke, 0);
  at("undo").disabled = at("clear").disabled = false;
}

function pointOf({ clientX, clientY }) {
  const box = canvas().getBoundingClientRect();
  return { x: ((clientX - box.left) / box.width) * canvas().width, y: ((clientY - box.top) / box.height) * canvas().height };
}

function showTools() {
  at("mask-tools").hidden = at("mask-tools").disabled = !isMasking();
  canvas().hidden = !isMasking();
}

// By keyboard: arrows move the brush, which is shown, and the space bar paints.
function move(event) {
  const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!by && event.key !== " ") return;
  event.preventDefault();
  if (by) {
    cursor.x = Math.min(canvas().width, Math.max(0, cursor.x + (by[0] * size()) / 2));
    cursor.y = Math.min(canvas().height, Math.max(0, cursor.y + (by[1] * size()) / 2));
  } else begin({ ...cursor });
  showCursor();
}

function showCursor() {
  const { width } = canvas().getBoundingClientRect();
  const scale = width / canvas().width;
  const mark = at("brush-mark");
  mark.hidden = false;
  mark.style.setProperty("width", `${size() * scale}px`);
  mark.style.setProperty("left", `${cursor.x * scale}px`);
  mark.style.setProperty("top", `${cursor.y * scale}px`);
}

at("masked").addEventListener("change", showTools);

at("mask").addEventListener("pointerdown", (event) => {
  if (event.button) return;
  canvas().setPointerCapture(event.pointerId);
  begin(pointOf(event));
});

at("mask").addEventListener("pointermove", (event) => {
  if (!stroke || !canvas().hasPointerCapture(event.pointerId)) return;
  const from = stroke.points.length;
  stroke.points.push(...(event.getCoalescedEvents?.() ?? [event]).map(pointOf));
  draw(stroke, from);
});

for (const end of ["pointerup", "pointercancel"]) at("mask").addEventListener(end, () => { stroke = null; });
at("mask").addEventListener("keydown", move);
at("mask").addEventListener("focus", () => at("mask").matches(":focus-visible") && showCursor());
at("mask").addEventListener("blur", () => { at("brush-mark").hidden = true; });

at("undo").addEventListener("click", () => {
  strokes.pop();
  redraw();
  say("The last stroke is undone.");
  if (at("undo").disabled) at("mask").focus();
});

at("clear").addEventListener("click", () => {
  strokes.push({ clears: true });
  redraw();
  say("The mask is empty.");
});
