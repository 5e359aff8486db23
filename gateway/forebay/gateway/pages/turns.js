import { newId } from "./ids.js";

const KEPT_TURNS = 100;
const KEPT_CHARACTERS = 400_000;
const KEPT_DONE = 500;

/**
 * One turn as the page knows it.
 *
 * `delivery`: "sending", "waiting" (between two tries), "accepted" (Kafka has it), "failed", or "stopped" (taken back unsent).
 * `stopping`: the user has asked to take it back, and it has no reply yet.
 * `shown` and `next`: what the deltas said so far, and the sequence that continues it; `gap`: one was missed, wait for the end.
 * `person`: the name of whoever of the shop wrote it, where it is no turn but a person's message.
 * `rating`: what the user thinks of the reply, and whether that was sent: {value, state}; null until then.
 * `decided`: what the user said to the action of this turn's reply, null until then.
 */
export function newTurn({ text = null, confirms = null, id = newId() }) {
  return {
    id,
    text,
    confirms,
    delivery: "sending",
    problem: null,
    place: null,
    started: false,
    shown: "",
    next: 0,
    gap: false,
    action: null,
    decided: null,
    reply: null,
    person: null,
    rating: null,
    stopping: false,
    at: Date.now(),
  };
}

export class Turns {
  #turns = new Map();
  #done;

  constructor(saved = null) {
    for (const turn of saved?.turns ?? []) this.#turns.set(turn.id, { ...turn, stopping: false });
    this.#done = new Set(saved?.done ?? []);
  }

  [Symbol.iterator]() {
    return this.#turns.values();
  }

  get size() {
    return this.#turns.size;
  }

  get(id) {
    return this.#turns.get(id);
  }

  add(turn) {
    this.#turns.set(turn.id, turn);
    return turn;
  }

  /** What the store remembers goes before what this tab knows; returns whether there was anything new in it. */
  remember(exchanges) {
    const earlier = exchanges.map(rememberedTurn).filter((turn) => turn && !this.#turns.has(turn.id));
    this.#turns = new Map([...earlier.map((turn) => [turn.id, turn]), ...this.#turns]);
    for (const turn of earlier) this.#done.add(turn.id);
    return earlier.length > 0;
  }

  /** The turn an event changed, or null where there is nothing new in it. */
  apply(type, data) {
    const known = CHANGES[type];
    const id = type === "message" ? data.message_id && `message:${data.message_id}` : data.turn_id;
    if (!known || !id || this.#done.has(id)) return null;
    // A turn of another tab or another device in the same conversation is shown too.
    const turn = this.#turns.get(id) ?? this.add(newTurn({ id }));
    turn.delivery = "accepted";
    turn.problem = null;
    known(turn, data);
    if (turn.reply) this.#done.add(turn.id);
    return turn;
  }

  /** Small enough for sessionStorage: the oldest finished turns go first. */
  snapshot() {
    const turns = [...this.#turns.values()];
    let room = KEPT_CHARACTERS;
    const kept = turns
      .reverse()
      .filter((turn, age) => {
        room -= (turn.text?.length ?? 0) + turn.shown.length + (turn.reply?.text.length ?? 0);
        return !turn.reply || (age < KEPT_TURNS && room >= 0);
      })
      .reverse();
    return { turns: kept, done: [...this.#done].slice(-KEPT_DONE) };
  }
}

/** An exchange of the store as a turn that is over; null for one of an earlier version, which has no id. */
function rememberedTurn({ turn_id, message_id, at, name, text, answer }) {
  if (!turn_id && !message_id) return null;
  const turn = newTurn({ id: message_id ? `message:${message_id}` : turn_id, text: message_id ? null : text || null });
  turn.delivery = "accepted";
  turn.at = Date.parse(at) || turn.at;
  if (message_id) CHANGES.message(turn, { name, text });
  else CHANGES.done(turn, { reply: { text: answer, outcome: "answered" } });
  return turn;
}

const CHANGES = {
  turn(turn, { text, confirm }) {
    if (turn.text !== null || turn.confirms) return;
    turn.text = text || null;
    turn.confirms = confirm ?? null;
  },
  message(turn, { name, text }) {
    turn.person = String(name ?? "");
    turn.reply = { text: String(text ?? ""), outcome: "message", error: null };
  },
  queued(turn, { ahead, estimated_wait_s }) {
    turn.place = { ahead, estimated_wait_s };
    turn.started = false;
  },
  started(turn) {
    turn.place = null;
    turn.started = true;
  },
  delta(turn, { sequence, text, restart }) {
    turn.place = null;
    turn.started = true;
    if (sequence === 0 || restart) {
      turn.shown = String(text);
      turn.next = sequence + 1;
      turn.gap = false;
    } else if (sequence > turn.next) {
      turn.gap = true;
    } else if (sequence === turn.next && !turn.gap) {
      turn.shown += text;
      turn.next += 1;
    }
  },
  confirmation_required(turn, { action, text }) {
    turn.action = action;
    turn.shown = text ?? turn.shown;
    turn.gap = true;
  },
  done(turn, { reply }) {
    const { text, outcome, action, error } = reply;
    turn.reply = { text: String(text ?? ""), outcome, error: error ? { code: error.code } : null };
    turn.action = action ?? turn.action;
    turn.shown = "";
    turn.place = null;
    turn.stopping = false;
  },
};
