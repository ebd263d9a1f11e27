// Files of pictures, made fit to be sent.

const LARGEST = 2048; // pixels of the longer side: no runtime makes use of more
const AS_THEY_ARE = ["image/png", "image/jpeg", "image/webp"]; // what every runtime reads

// The picture of a file as {url, width, height, bitmap, note}: its own bytes as a data URL, or drawn
// anew if it is too large or of a kind that runtimes may not read, or has EXIF data, which may turn
// it and tell where it was taken. `most`: bytes of a request; `largest`: pixels of the longer side,
// beyond which it is scaled down. Throws an Error with words for people.
export async function pictureOf(file, most = Infinity, largest = LARGEST) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error("This is no picture that the browser can read: PNG, JPEG and WebP are.");
  });
  const { width, height } = bitmap;
  const scale = Math.min(1, largest / Math.max(width, height));
  const isFit = scale === 1 && AS_THEY_ARE.includes(file.type) && !(await hasExif(file));
  if (isFit && fits(file, most)) return { url: await dataUrl(file), width, height, bitmap, note: "" };
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  let drawn = await canvas.convertToBlob(file.type === "image/jpeg" ? { type: "image/jpeg", quality: 0.95 } : {});
  if (!fits(drawn, most)) drawn = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
  if (!fits(drawn, most)) throw new Error(`This picture is too large: the gateway takes ${sized(most)} in a request.`);
  return {
    url: await dataUrl(drawn), width: canvas.width, height: canvas.height, bitmap: await createImageBitmap(drawn),
    note: scale < 1 ? `scaled down from ${width} × ${height}` : "",
  };
}

// What a text holds that is a data URL or base64; null where it is neither.
export function fileOf(text) {
  const [, type = "", encoded] = /^(?:data:([\w.+/-]+)?(?:;[\w=-]+)*?;base64,)?([A-Za-z0-9+/\s]+={0,2})\s*$/.exec(text) ?? [];
  if (!encoded) return null;
  try {
    return new Blob([Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0))], { type });
  } catch {
    return null;
  }
}

export function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new Error("The file cannot be read.")));
    reader.readAsDataURL(file);
  });
}

// A size in words.
export const sized = (bytes) => (bytes < 2 ** 20 ? `${Math.ceil(bytes / 2 ** 10)} kB` : `${(bytes / 2 ** 20).toFixed(1)} MB`);

// In base64, with some room for the rest of the job.
const fits = (file, most) => file.size * 1.4 < most;

async function hasExif(file) {
  const beginning = new Uint8Array(await file.slice(0, 2 ** 16).arrayBuffer());
  const text = new TextDecoder("latin1").decode(beginning);
  return /Exif\0|eXIf/.test(text);
}
