import { ICONS, icon, make, patch } from "./elements.js";
import { markdown } from "./markdown.js";
import { rating, ratingKey } from "./rating.js";

const NEAR_END_PX = 80;
/** Problems that the same message would meet again. */
const REFUSED = ["invalid", "refused", "too_large", "conflict"];

/**
 * The turns as they are read. The element is a live log: what is added is announced. So words that are still streaming are
 * hidden from screen readers, and the finished reply is added as a whole.
 */
export class Transcript {
  #log;
  #words;
  #acts;
  #onEnd;
  #views = new Map();
  #due = new Map();
  #frame = null;
  #atEnd = true;

  /** `acts`: retry(turn), sendAgain(turn), decide(turn, accept), rate(turn, value, text); `onEnd(bool)` hears whether the last message is in view. */
  constructor({ log, words, acts, onEnd }) {
    this.#log = log;
    this.#words = words;
    this.#acts = acts;
    this.#onEnd = onEnd;
    log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#follow()).observe(log);
  }

  set words(words) {
    this.#words = words;
  }

  /** All turns anew, without announcing them. */
  reset(turns) {
    this.#log.setAttribute("aria-live", "off");
    for (const { timer } of this.#views.values()) clearTimeout(timer);
    this.#views.clear();
    this.#due.clear();
    this.#log.replaceChildren();
    for (const turn of turns) this.#draw(turn);
    this.toEnd();
    setTimeout(() => this.#log.setAttribute("aria-live", "polite"), 100);
  }

  /** Words that stream in are drawn once a frame; whatever else happened is drawn at once. */
  show(turn) {
    if (!turn.shown || turn.reply) {
      this.#due.delete(turn.id);
      this.#draw(turn);
      return;
    }
    this.#due.set(turn.id, turn);
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      for (const due of this.#due.values()) this.#draw(due);
      this.#due.clear();
    });
  }

  toEnd() {
    this.#atEnd = true;
    this.#follow();
    this.#onEnd(true);
  }

  #draw(turn) {
    const view = this.#views.get(turn.id) ?? this.#open(turn);
    section(view, "said", saidKey(turn), () => this.#said(turn));
    section(view, "note", noteKey(turn), () => this.#note(turn));
    this.#reply(view, turn);
    this.#rate(view, turn);
    view.node.classList.toggle("merged", turn.reply?.outcome === "merged");
    this.#follow();
  }

  #open(turn) {
    const view = { node: make("div", { class: "turn", "data-turn": turn.id }), keys: {}, timer: null };
    for (const name of ["said", "note", "reply", "rate"]) {
      // Buttons that come with a reply are found, not announced.
      view[name] = make("div", { class: name, "aria-live": name === "rate" && "off" });
      view.node.append(view[name]);
    }
    this.#views.set(turn.id, view);
    this.#log.append(view.node);
    return view;
  }

  #said(turn) {
    const words = this.#words;
    const text = turn.confirms ? (turn.confirms.accept ? words.agreed : words.declined) : turn.text;
    if (text === null) return [];
    return [make("p", { class: "bubble", dir: "auto" }, make("span", { class: "unseen" }, words.you), text)];
  }

  #note(turn) {
    const words = this.#words;
    if (turn.reply || turn.started || turn.shown || isStranger(turn)) return [];
    // Screen readers hear of the waiting from the status line; of a failure they hear here.
    if (turn.delivery === "sending") return [make("span", { "aria-hidden": "true" }, words.sending)];
    if (turn.delivery === "accepted") return [make("span", { "aria-hidden": "true" }, words.sent)];
    if (turn.delivery === "stopped") return [make("span", {}, words.takenBack)];
    const failed = turn.delivery === "failed";
    const text = make("span", { class: failed ? "bad" : "" }, words.problem(turn.problem ?? {}, failed));
    if (REFUSED.includes(turn.problem?.code)) return [text];
    return [text, this.#button("text", failed ? words.retry : words.retryNow, () => this.#acts.retry(turn))];
  }

  #reply(view, turn) {
    if (turn.reply) {
      section(view, "reply", finalKey(turn), () => this.#final(view, turn));
    } else if (turn.delivery !== "accepted") {
      section(view, "reply", "none", () => []);
    } else if (turn.shown) {
      section(view, "reply", "live", () => [make("div", { class: "words live", "aria-hidden": "true", dir: "auto" })]);
      patch(view.reply.firstChild, markdown(turn.shown));
    } else {
      const waits = turn.stopping ? this.#words.stopping : turn.started ? this.#words.typing : turn.place ? this.#words.place(turn.place) : "";
      section(view, "reply", `pending ${turn.started} ${waits}`, () => [this.#pending(turn, waits)]);
    }
  }

  #rate(view, turn) {
    const within = view.rate.contains(document.activeElement);
    const key = ratingKey(turn);
    section(view, "rate", key, () => (key === "none" ? [] : rating(turn, this.#words, this.#acts.rate)));
    // Whoever has pressed a button that was drawn anew keeps their place.
    if (within && !view.rate.contains(document.activeElement)) {
      (view.rate.querySelector("[aria-pressed=true]") ?? view.rate.querySelector("button"))?.focus();
    }
  }

  #pending(turn, text) {
    const dots = make("span", { class: "dots" }, make("i"), make("i"), make("i"));
    const kind = turn.started ? "pending typing" : "pending";
    return make("p", { class: kind, "aria-hidden": "true" }, dots, text && make("span", {}, text));
  }

  #final(view, turn) {
    const { text, outcome } = turn.reply;
    // The answer to both stands under the later one.
    if (outcome === "merged") return [];
    const who = outcome === "message" ? turn.person || this.#words.colleague : null;
    const words = make("div", { class: "words", dir: "auto" }, markdown(text));
    const first = words.firstElementChild ?? words.appendChild(make("p"));
    first.prepend(make("span", { class: "unseen" }, who === null ? this.#words.assistant : this.#words.says(who)));
    // Often an action's summary is all there is to say; it is not said twice.
    const asks = turn.action && outcome === "confirmation_required";
    const parts = text && !(asks && text.trim() === turn.action.summary.trim()) ? [words] : [];
    if (who !== null) {
      parts.unshift(make("p", { class: "who", "aria-hidden": "true" }, icon(ICONS.person), make("span", { dir: "auto" }, who)));
    }
    if (outcome === "handed_off") {
      parts.push(make("p", { class: "notice" }, icon(ICONS.person), make("span", {}, this.#words.handedOff)));
    }
    if (["expired", "failed", "cancelled"].includes(outcome)) parts.push(this.#nothing(turn, outcome));
    if (asks) parts.push(this.#confirmation(view, turn));
    return parts;
  }

  #nothing(turn, outcome) {
    const again = this.#button("text", this.#words.sendAgain, () => this.#acts.sendAgain(turn));
    return make("div", { class: "nothing" }, make("span", {}, this.#words[outcome]), isStranger(turn) ? null : again);
  }

  #confirmation(view, turn) {
    const words = this.#words;
    const left = Date.parse(turn.action.expires_at) - Date.now();
    const open = turn.decided === null && left > 0;
    if (open) {
      clearTimeout(view.timer);
      // setTimeout takes no more than 2^31 ms.
      view.timer = setTimeout(() => this.#draw(turn), Math.min(left + 50, 2 ** 31 - 1));
    }
    const button = (accept, text) => {
      const node = this.#button(accept ? "strong" : "soft", text, () => this.#acts.decide(turn, accept));
      node.disabled = !open;
      if (turn.decided !== null) node.setAttribute("aria-pressed", String(turn.decided === accept));
      return node;
    };
    return make(
      "div",
      { class: "confirmation", role: "group", "aria-label": words.confirmLabel },
      make("p", { class: "summary", dir: "auto" }, turn.action.summary),
      make("div", { class: "choice" }, button(true, words.agree), button(false, words.decline)),
      open || turn.decided !== null ? null : make("p", { class: "late" }, words.tooLate),
    );
  }

  #button(kind, text, act) {
    return make("button", { type: "button", class: kind, onclick: act }, text);
  }

  #scrolled() {
    const atEnd = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < NEAR_END_PX;
    if (atEnd !== this.#atEnd) this.#onEnd(atEnd);
    this.#atEnd = atEnd;
  }

  #follow() {
    if (this.#atEnd) this.#log.scrollTop = this.#log.scrollHeight;
  }
}

function section(view, name, key, content) {
  if (view.keys[name] === key) return;
  view.keys[name] = key;
  view[name].replaceChildren(...content());
}

/** A turn of another tab or device: what the user said there is not known here. */
const isStranger = (turn) => turn.text === null && !turn.confirms;
const saidKey = (turn) => `${turn.text === null}${turn.confirms?.accept}`;
const noteKey = (turn) =>
  JSON.stringify([turn.delivery, turn.problem, turn.started || turn.shown !== "", turn.reply !== null]);
const finalKey = (turn) =>
  JSON.stringify(["final", turn.decided, turn.action !== null && Date.parse(turn.action.expires_at) > Date.now()]);
