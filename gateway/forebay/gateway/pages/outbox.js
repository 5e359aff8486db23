import { Pause, backoff } from "./backoff.js";

/** About half a minute of trying; then the user is asked. */
const TRIES = 10;
const LONGEST_WAIT_MS = 60_000;

/** What to do after an answer that is no success: wait so long, or give up. Pure. */
export function afterFailure({ status, retryAfterMs }, tries) {
  const again = status === 0 || status === 408 || status === 429 || status >= 500;
  if (!again || tries >= TRIES) return { giveUp: true };
  const waitMs = Math.max(retryAfterMs ?? 0, backoff(tries));
  return waitMs > LONGEST_WAIT_MS ? { giveUp: true } : { giveUp: false, waitMs };
}

/**
 * Sends turns one after the other, so that they keep their order. A try that got no answer may have been taken, so every
 * further one has the same turn id.
 */
export class Outbox {
  #send;
  #onChange;
  #onAccepted;
  #pause = new Pause();
  #queue = [];
  #running = false;
  #stopped = false;

  constructor({ send, onChange, onAccepted }) {
    this.#send = send;
    this.#onChange = onChange;
    this.#onAccepted = onAccepted;
  }

  put(turn) {
    if (this.#queue.includes(turn)) {
      this.#pause.wake();
      return;
    }
    turn.delivery = "sending";
    turn.problem = null;
    this.#queue.push(turn);
    this.#onChange(turn);
    if (!this.#running) this.#run();
  }

  wake() {
    this.#pause.wake();
  }

  /** An event told that this turn was taken, or the user took it back: no further try. */
  settled(turn) {
    if (this.#queue[0] === turn) this.#pause.wake();
  }

  stop() {
    this.#stopped = true;
    this.#pause.wake();
  }

  async #run() {
    this.#running = true;
    while (this.#queue.length && !this.#stopped) {
      await this.#deliver(this.#queue[0]);
      this.#queue.shift();
    }
    this.#running = false;
  }

  async #deliver(turn) {
    let tries = 0;
    while (!this.#stopped && (turn.delivery === "sending" || turn.delivery === "waiting")) {
      if (!navigator.onLine) {
        await this.#wait(turn, { code: "offline" }, Infinity);
        continue;
      }
      turn.delivery = "sending";
      this.#onChange(turn);
      const answer = await this.#send(turn);
      tries += 1;
      // An event of the turn may have told already that it was taken.
      if (this.#stopped || turn.delivery === "accepted") return;
      if (answer.status >= 200 && answer.status < 300) {
        this.#accept(turn, answer.body);
        return;
      }
      if (turn.delivery === "stopped") return;
      const problem = problemOf(answer);
      const next = afterFailure(answer, tries);
      if (next.giveUp) {
        turn.delivery = "failed";
        turn.problem = problem;
        this.#onChange(turn);
        return;
      }
      await this.#wait(turn, problem, next.waitMs);
    }
  }

  async #wait(turn, problem, ms) {
    turn.delivery = "waiting";
    turn.problem = problem;
    this.#onChange(turn);
    await this.#pause.rest(ms);
  }

  #accept(turn, body) {
    turn.delivery = "accepted";
    turn.problem = null;
    if (!turn.started) turn.place ??= body.place ?? null;
    this.#onAccepted(turn, body);
    this.#onChange(turn);
  }
}

function problemOf({ status, body }) {
  if (status === 0) return { code: "network" };
  const code = body.code ?? { 401: "unauthorised", 403: "forbidden", 413: "too_large", 429: "rate_limited" }[status];
  return { code: code ?? (status >= 500 ? "server" : "refused"), estimate: body.estimated_wait_s ?? null };
}
