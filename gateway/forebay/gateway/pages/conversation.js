import { Listener } from "./listener.js";
import { recall, remember } from "./memory.js";
import { Outbox } from "./outbox.js";
import { Turns, newTurn } from "./turns.js";

/** A turn of the user's words that may still get its reply. */
export const isAwaited = (turn) =>
  !turn.reply && !turn.confirms && ["sending", "waiting", "accepted"].includes(turn.delivery);

const SAVE_EVERY_MS = 200;
/** Fragments of answers are kept this long. */
const OLD_MS = 600_000;

/**
 * One conversation: its turns, the way in and the way out. `onTurn` hears every turn that changed, `onHistory` that earlier ones
 * were put before them, `onState` how the connection is.
 *
 * What is kept over a reload is one snapshot of turns and position together. An older one is as good as the newest: the
 * events from its position on come again.
 */
export class Conversation {
  turns;
  #gateway;
  #listener;
  #outbox;
  #onTurn;
  #onHistory;
  #fresh;
  #name;
  #saving = null;
  #ended = false;

  constructor({ id, gateway, onTurn, onHistory, onState }) {
    this.#name = `conversation:${id}`;
    const saved = recall(this.#name);
    this.turns = new Turns(saved);
    this.#fresh = saved === null;
    this.#onHistory = onHistory;
    this.#gateway = gateway;
    this.#onTurn = onTurn;
    this.#listener = new Listener({
      gateway,
      lastEventId: saved?.lastEventId,
      onEvent: (type, data) => this.#take(type, data),
      onState,
    });
    this.#outbox = new Outbox({
      send: (turn) => gateway.send(turn),
      onChange: (turn) => this.#changed(turn),
      onAccepted: (turn, body) => this.#accepted(turn, body),
    });
  }

  begin() {
    this.#listener.run();
    if (this.#fresh) this.#recall();
    for (const turn of this.turns) {
      if (turn.delivery === "sending" || turn.delivery === "waiting") this.#outbox.put(turn);
    }
  }

  end() {
    this.save();
    this.#ended = true;
    this.#listener.stop();
    this.#outbox.stop();
  }

  say(text) {
    this.#outbox.put(this.turns.add(newTurn({ text })));
  }

  decide(turn, accept) {
    if (turn.decided !== null || !turn.action) return;
    turn.decided = accept;
    this.#changed(turn);
    this.#outbox.put(this.turns.add(newTurn({ confirms: { action_id: turn.action.action_id, accept } })));
  }

  /** The same turn once more: nobody knows whether it was taken. */
  retry(turn) {
    this.#outbox.put(turn);
  }

  /** A turn that came to nothing, as a new one. */
  sendAgain(turn) {
    this.#outbox.put(this.turns.add(newTurn({ text: turn.text, confirms: turn.confirms })));
  }

  /** Takes back all that the user said and that has no reply; what the user agreed to is not to be torn in its middle. */
  stop() {
    for (const turn of this.turns) if (isAwaited(turn) && !turn.stopping) this.#stop(turn);
  }

  async rate(turn, value, text) {
    turn.rating = { value, state: text ? "thanked" : "sent" };
    this.#changed(turn);
    const { status } = await this.#gateway.rate(turn.id, value, text);
    if (status === 204 || turn.rating.value !== value) return;
    turn.rating = { value: null, state: "failed" };
    this.#changed(turn);
  }

  online() {
    this.#listener.again();
    this.#outbox.wake();
  }

  lookedAt() {
    this.#listener.wake();
    this.#outbox.wake();
  }

  /** A new token opens what the old one did not. */
  renewed() {
    this.#listener.wake();
    for (const turn of this.turns) {
      if (turn.delivery === "failed" && ["unauthorised", "forbidden"].includes(turn.problem?.code)) this.retry(turn);
    }
  }

  save() {
    clearTimeout(this.#saving);
    this.#saving = null;
    remember(this.#name, { lastEventId: this.#listener.lastEventId, ...this.turns.snapshot() });
  }

  #take(type, data) {
    if (type === "open") {
      this.#lookAfterAll(data.resumed);
      return;
    }
    const turn = this.turns.apply(type, data);
    if (!turn) {
      this.#saveSoon();
      return;
    }
    this.#outbox.settled(turn);
    if (type === "turn" && data.confirm) this.#decidedElsewhere(data.confirm);
    this.#changed(turn);
  }

  async #stop(turn) {
    turn.stopping = true;
    if (turn.delivery !== "accepted") {
      turn.delivery = "stopped";
      this.#outbox.settled(turn);
    }
    this.#changed(turn);
    const { status, body } = await this.#gateway.cancel(turn.id);
    if (body.reply) this.#take("done", { turn_id: turn.id, reply: body.reply });
    else if (status !== 202 && turn.delivery === "accepted") {
      turn.stopping = false;
      this.#changed(turn);
    }
  }

  #decidedElsewhere({ action_id, accept }) {
    for (const turn of this.turns) {
      if (turn.action?.action_id !== action_id || turn.decided !== null) continue;
      turn.decided = accept;
      this.#changed(turn);
    }
  }

  /** A tab that knows nothing of the conversation asks what was said; a gateway without the store has no answer, and none is missed. */
  async #recall() {
    const { status, body } = await this.#gateway.history();
    if (this.#ended || status !== 200 || !this.turns.remember(body.exchanges ?? [])) return;
    this.#onHistory();
    this.#saveSoon();
  }

  /**
   * A connection that goes on from an event id tells all that was missed, so nothing is asked: when a gateway leaves, all its
   * pages come back at once. A turn is asked for where the connection begins anew, or what it would tell may be gone.
   */
  #lookAfterAll(resumed) {
    for (const turn of this.turns) {
      const old = Date.now() - turn.at > OLD_MS;
      if (turn.delivery === "accepted" && !turn.reply && (old || !resumed)) this.#lookAfter(turn);
    }
  }

  async #lookAfter(turn) {
    const { status, body } = await this.#gateway.look(turn.id);
    if (status !== 200 || turn.reply) return;
    if (body.reply) this.#take("done", { turn_id: turn.id, reply: body.reply });
    else if (body.status === "started" && !turn.started) this.#take("started", { turn_id: turn.id });
    else if (body.status === "queued" && body.place && !turn.started && !turn.shown) {
      this.#take("queued", { turn_id: turn.id, ...body.place });
    }
  }

  #accepted(turn, body) {
    if (body.reply) this.#take("done", { turn_id: turn.id, reply: body.reply });
    this.#listener.notBefore(body.event_id);
  }

  #changed(turn) {
    // What was asked before the end may be answered after it.
    if (this.#ended) return;
    this.#onTurn(turn);
    this.#saveSoon();
  }

  #saveSoon() {
    if (this.#ended) return;
    this.#saving ??= setTimeout(() => this.save(), SAVE_EVERY_MS);
  }
}
