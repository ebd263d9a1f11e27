// An element within a frame, made larger and moved about: by wheel, by fingers, by mouse, by call.

const MOST = 8; // times its own size
const STEP = 1.5;
const STILL = 6; // pixels that a finger may move and yet have tapped
const SWIPE = 50;
const TWICE = 300; // milliseconds between two taps that mean one thing

export class Zoom {
  #frame;
  #element = null;
  #scale = 1; // 1: it fits
  #x = 0;
  #y = 0;
  #fingers = new Map();
  #gesture = null;
  #tapped = 0;
  #told;

  // `told` hears of each change; `swiped` of 1 for onwards, -1 for back.
  constructor(frame, { told, swiped }) {
    this.#frame = frame;
    this.#told = told;
    frame.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    frame.addEventListener("pointerdown", (event) => this.#down(event));
    frame.addEventListener("pointermove", (event) => this.#move(event));
    frame.addEventListener("pointerup", (event) => this.#up(event, swiped));
    frame.addEventListener("pointercancel", (event) => this.#forget(event));
  }

  // Nothing is made larger that is no picture.
  show(element) {
    this.#element = element instanceof HTMLImageElement ? element : null;
    this.#fingers.clear();
    this.fit();
  }

  fit() {
    this.#set(1, 0, 0);
  }

  larger() {
    this.#by(STEP);
  }

  smaller() {
    this.#by(1 / STEP);
  }

  pan(x, y) {
    this.#set(this.#scale, this.#x + x, this.#y + y);
  }

  // How large it is beside its own size.
  get share() {
    return this.#scale * this.#fitted;
  }

  get isFitted() {
    return this.#scale === 1;
  }

  get #fitted() {
    const { naturalWidth: width, naturalHeight: height } = this.#element ?? {};
    return width ? Math.min(1, this.#frame.clientWidth / width, this.#frame.clientHeight / height) : 1;
  }

  // About a point of the frame, as seen from its middle.
  #by(factor, x = 0, y = 0) {
    const scale = Math.min(Math.max(this.#scale * factor, 1), MOST / this.#fitted);
    const grown = scale / this.#scale;
    this.#set(scale, x - (x - this.#x) * grown, y - (y - this.#y) * grown);
  }

  #set(scale, x, y) {
    const image = this.#element;
    if (!image) return this.#told();
    const spare = (length, frame) => Math.max(0, (length * this.#fitted * scale - frame) / 2);
    const [across, down] = [spare(image.naturalWidth, this.#frame.clientWidth), spare(image.naturalHeight, this.#frame.clientHeight)];
    this.#scale = scale;
    this.#x = Math.min(Math.max(x, -across), across);
    this.#y = Math.min(Math.max(y, -down), down);
    image.style.transform = `translate(${this.#x}px, ${this.#y}px) scale(${scale})`;
    this.#frame.dataset.zoomed = String(scale > 1);
    this.#told();
  }

  #seen({ clientX, clientY }) {
    const box = this.#frame.getBoundingClientRect();
    return [clientX - box.left - box.width / 2, clientY - box.top - box.height / 2];
  }

  #wheel(event) {
    if (!this.#element) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 24 : 1;
    this.#by(Math.exp((-event.deltaY * lines) / 400), ...this.#seen(event));
  }

  #down(event) {
    if (event.button || !this.#element) return;
    this.#frame.setPointerCapture(event.pointerId);
    this.#fingers.set(event.pointerId, event);
    this.#gesture = { x: this.#x, y: this.#y, from: event, moved: this.#fingers.size > 1, apart: this.#apart(), scale: this.#scale };
  }

  #move(event) {
    if (!this.#fingers.has(event.pointerId)) return;
    this.#fingers.set(event.pointerId, event);
    const { x, y, from } = this.#gesture;
    const [across, down] = [event.clientX - from.clientX, event.clientY - from.clientY];
    if (Math.hypot(across, down) > STILL) this.#gesture.moved = true;
    if (this.#fingers.size === 2) {
      const [one, other] = [...this.#fingers.values()].map((finger) => this.#seen(finger));
      this.#by(((this.#apart() / this.#gesture.apart) * this.#gesture.scale) / this.#scale, (one[0] + other[0]) / 2, (one[1] + other[1]) / 2);
    } else if (!this.isFitted && this.#gesture.moved) {
      this.#set(this.#scale, x + across, y + down);
    }
  }

  #up(event, swiped) {
    if (!this.#fingers.has(event.pointerId)) return;
    const { from, moved, apart } = this.#gesture;
    const isAlone = this.#fingers.size === 1 && !apart;
    this.#forget(event);
    if (!isAlone) return;
    const [across, down] = [event.clientX - from.clientX, event.clientY - from.clientY];
    if (!moved) this.#tap(event);
    else if (this.isFitted && event.pointerType !== "mouse" && Math.abs(across) > SWIPE && Math.abs(across) > Math.abs(down)) swiped(across < 0 ? 1 : -1);
  }

  // A click, or two taps: to its own size, or twice as large where that fits, and back.
  #tap(event) {
    const isTwice = event.timeStamp - this.#tapped < TWICE;
    this.#tapped = event.timeStamp;
    if (event.pointerType !== "mouse" && !isTwice) return;
    if (this.isFitted) this.#by(this.#fitted < 0.8 ? 1 / this.#fitted : 2, ...this.#seen(event));
    else this.fit();
  }

  #forget(event) {
    this.#fingers.delete(event.pointerId);
    const [left] = this.#fingers.values();
    if (left) this.#gesture = { ...this.#gesture, x: this.#x, y: this.#y, from: left, moved: true };
  }

  #apart() {
    const [one, other] = this.#fingers.values();
    return other ? Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) : 0;
  }
}
