// Placeholders of pictures, drawn from a few letters: https://blurha.sh

const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~";
const SIDE = 24; // pixels: there is nothing finer in it

const number = (text) => [...text].reduce((value, letter) => value * 83 + LETTERS.indexOf(letter), 0);
const toLinear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
const toSrgb = (value) => {
  const share = Math.max(0, Math.min(1, value));
  return Math.round(255 * (share <= 0.0031308 ? share * 12.92 : 1.055 * share ** (1 / 2.4) - 0.055));
};
const squared = (value) => Math.sign(value) * value ** 2;

// A canvas with what the letters say; null where they say nothing.
export function placeholder(text) {
  const along = (number(text[0] ?? "") % 9) + 1;
  const down = Math.floor(number(text[0] ?? "") / 9) + 1;
  if (text.length !== 4 + 2 * along * down) return null;
  const colours = factors(text, along * down);
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  const drawn = canvas.getContext("2d");
  const pixels = drawn.createImageData(SIDE, SIDE);
  for (let place = 0; place < SIDE * SIDE; place += 1) {
    const [x, y] = [place % SIDE, Math.floor(place / SIDE)];
    const colour = [0, 0, 0];
    colours.forEach((factor, wave) => {
      const weight = Math.cos((Math.PI * x * (wave % along)) / SIDE) * Math.cos((Math.PI * y * Math.floor(wave / along)) / SIDE);
      factor.forEach((value, channel) => (colour[channel] += value * weight));
    });
    pixels.data.set([...colour.map(toSrgb), 255], 4 * place);
  }
  drawn.putImageData(pixels, 0, 0);
  canvas.setAttribute("aria-hidden", "true");
  return canvas;
}

function factors(text, count) {
  const scale = (number(text[1]) + 1) / 166;
  const mean = number(text.slice(2, 6));
  const waves = Array.from({ length: count - 1 }, (_, place) => number(text.slice(6 + 2 * place, 8 + 2 * place)));
  return [
    [mean >> 16, (mean >> 8) & 255, mean & 255].map(toLinear),
    ...waves.map((value) => [Math.floor(value / 361), Math.floor(value / 19) % 19, value % 19].map((step) => squared((step - 9) / 9) * scale)),
  ];
}
