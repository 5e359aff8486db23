import { ICONS, icon, make } from "./elements.js";

const LONGEST_REMARK = 2000;

/** Which answers may be rated: those that somebody, or something, thought about. */
export const isRatable = (turn) => turn.reply?.outcome === "answered";

export const ratingKey = (turn) => (isRatable(turn) ? JSON.stringify(["rating", turn.rating]) : "none");

/** Thumbs under an answer; whoever has chosen one may say why. `rate(turn, rating, text)` sends it. */
export function rating(turn, words, rate) {
  const { value, state } = turn.rating ?? {};
  const thumb = (own, name, path) => {
    const act = () => rate(turn, own, "");
    const attributes = { type: "button", class: "thumb", "aria-label": name, title: name, "aria-pressed": String(value === own) };
    return make("button", { ...attributes, onclick: act }, icon(path));
  };
  const thumbs = make(
    "div",
    { class: "thumbs", role: "group", "aria-label": words.rateLabel },
    thumb(1, words.rateGood, ICONS.good),
    thumb(-1, words.rateBad, ICONS.bad),
    state === "failed" && make("span", { class: "bad", role: "status" }, words.rateFailed),
    state === "thanked" && make("span", { role: "status" }, words.thanks),
  );
  return value && state === "sent" ? [thumbs, remark(turn, words, rate)] : [thumbs];
}

function remark(turn, words, rate) {
  const field = make("input", {
    type: "text",
    maxlength: LONGEST_REMARK,
    "aria-label": words.remark,
    placeholder: words.remark,
    enterkeyhint: "send",
  });
  const send = (event) => {
    event.preventDefault();
    if (field.value.trim()) rate(turn, turn.rating.value, field.value.trim());
  };
  return make("form", { class: "remark", onsubmit: send }, field, make("button", { class: "text" }, words.send));
}
