import { Listener } from "./listener.js";
import { recall, remember } from "./memory.js";
import { Outbox } from "./outbox.js";
import { Turns, newTurn } from "./turns.js";

const SAVE_EVERY_MS = 200;

/**
 * One conversation: its turns, the way in and the way out. `onTurn` hears every turn that changed, `onState` how the connection
 * is.
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
  #name;
  #saving = null;

  constructor({ id, gateway, onTurn, onState }) {
    this.#name = `conversation:${id}`;
    const saved = recall(this.#name);
    this.turns = new Turns(saved);
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
    for (const turn of this.turns) {
      if (turn.delivery === "sending" || turn.delivery === "waiting") this.#outbox.put(turn);
    }
  }

  end() {
    this.save();
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
      this.#lookAfterAll();
      return;
    }
    const turn = this.turns.apply(type, data);
    if (!turn) {
      this.#saveSoon();
      return;
    }
    this.#outbox.taken(turn);
    this.#changed(turn);
  }

  /** After a silence the stream tells what is new; a turn that was answered beyond what it can tell is asked for. */
  #lookAfterAll() {
    for (const turn of this.turns) {
      if (turn.delivery === "accepted" && !turn.reply) this.#lookAfter(turn);
    }
  }

  async #lookAfter(turn) {
    const { status, body } = await this.#gateway.look(turn.id);
    if (status !== 200 || turn.reply) return;
    if (body.reply) this.#take("done", { turn_id: turn.id, reply: body.reply });
    else if (body.status === "queued" && body.place && !turn.started && !turn.shown) {
      this.#take("queued", { turn_id: turn.id, ...body.place });
    }
  }

  #accepted(turn, body) {
    if (body.reply) this.#take("done", { turn_id: turn.id, reply: body.reply });
    this.#listener.notBefore(body.event_id);
  }

  #changed(turn) {
    this.#onTurn(turn);
    this.#saveSoon();
  }

  #saveSoon() {
    this.#saving ??= setTimeout(() => this.save(), SAVE_EVERY_MS);
  }
}
