// JSON with whole numbers as they are: seeds may be larger than what a Number holds exactly.

const WHOLE = /^-?\d+$/;

// Whole numbers that a Number cannot hold become BigInts, where the browser tells their digits.
export const parse = (text) =>
  JSON.parse(text, (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && WHOLE.test(context?.source ?? "") ? BigInt(context.source) : value);

export const written = (value, space) =>
  JSON.stringify(value, (_, part) => (typeof part === "bigint" ? JSON.rawJSON?.(String(part)) ?? Number(part) : part), space);

export const number = (text) => (WHOLE.test(text) && !Number.isSafeInteger(Number(text)) ? BigInt(text) : Number(text));
