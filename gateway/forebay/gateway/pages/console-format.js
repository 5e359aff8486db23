const NUMBER = new Intl.NumberFormat("en");

export const NOTHING = "–";

export function count(value) {
  return value == null ? NOTHING : NUMBER.format(Math.round(value));
}

export function rate(value) {
  if (value == null) return NOTHING;
  return value < 10 ? value.toFixed(1) : count(value);
}

export function milliseconds(value) {
  if (value == null) return NOTHING;
  return value < 1000 ? `${Math.round(value)} ms` : seconds(value / 1000);
}

export function seconds(value) {
  if (value == null) return NOTHING;
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172_800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86_400)} d`;
}

export function dollars(value) {
  if (value == null) return NOTHING;
  return `$${value >= 100 ? count(value) : value.toFixed(value < 1 ? 4 : 2)}`;
}

export function share(value) {
  return `${Math.round(value * 100)} %`;
}

/** In the reader's own zone, with the date where it is not today's. */
export function time(moment) {
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return NOTHING;
  const clock = date.toTimeString().slice(0, 8);
  if (date.toDateString() === new Date().toDateString()) return clock;
  const pad = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clock}`;
}

/** Control characters, and those that hide or turn round what stands beside them, as escapes: text from anywhere is only read. */
export function visible(text) {
  return String(text ?? "").replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
