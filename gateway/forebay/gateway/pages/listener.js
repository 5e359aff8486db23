import { Pause, backoff } from "./backoff.js";
import { retryAfter } from "./gateway.js";
import { readEvents } from "./sse.js";

/** The gateway sends a comment every 15 seconds; after this long without a byte the connection is dead. */
const SILENCE_MS = 40_000;
/** A connection that lived this long was a good one: the next failure is a first failure again. */
const GOOD_MS = 5_000;

/**
 * Keeps one connection to a conversation's events. `onState` hears "connecting", "open", "lost", "offline", "unauthorised" and
 * "forbidden"; `onEvent(type, data)` hears the events, in order; an `open` that went on from an event id is `resumed`.
 */
export class Listener {
  lastEventId;
  #gateway;
  #onEvent;
  #onState;
  #pause = new Pause();
  #abort = null;
  #stopped = false;
  #opened = false;
  #redoing = false;

  constructor({ gateway, lastEventId, onEvent, onState }) {
    this.#gateway = gateway;
    this.lastEventId = lastEventId ?? null;
    this.#onEvent = onEvent;
    this.#onState = onState;
  }

  async run() {
    let failures = 0;
    while (!this.#stopped) {
      const began = Date.now();
      this.#onState("connecting");
      const { state, waitMs } = await this.#listen();
      if (this.#stopped) return;
      if (this.#redoing) {
        this.#redoing = false;
        continue;
      }
      failures = Date.now() - began >= GOOD_MS ? 0 : failures + 1;
      this.#onState(state);
      await this.#pause.rest(waitMs ?? backoff(failures));
    }
  }

  /** No more waiting: the page is looked at again, or there is a new token. */
  wake() {
    this.#pause.wake();
  }

  /** The browser is online again: a connection from before may be dead without knowing it. */
  again() {
    this.#pause.wake();
    if (!this.#abort) return;
    this.#redoing = true;
    this.#abort.abort();
  }

  stop() {
    this.#stopped = true;
    this.#abort?.abort();
    this.#pause.wake();
  }

  /**
   * A turn was taken at this position. A connection that named none and is not open yet would begin after it, so it is made
   * anew from here.
   */
  notBefore(eventId) {
    if (this.lastEventId || !eventId) return;
    this.lastEventId = eventId;
    if (!this.#opened) this.again();
  }

  async #listen() {
    if (!navigator.onLine) return { state: "offline", waitMs: null };
    const abort = new AbortController();
    this.#abort = abort;
    let silence;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    heard();
    try {
      const response = await this.#gateway.events(this.lastEventId, abort.signal);
      if (!response.ok) return this.#refused(response);
      for await (const { event, data, id } of readEvents(response.body, heard)) {
        if (this.#stopped) break;
        this.#take(event, data, id);
      }
    } catch {
      // Dropped, aborted or never there: all the same to whoever goes on by the last event id.
    } finally {
      clearTimeout(silence);
      abort.abort();
      this.#abort = null;
      this.#opened = false;
    }
    return { state: navigator.onLine ? "lost" : "offline", waitMs: null };
  }

  #take(type, text, id) {
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      return;
    }
    if (type === "open") {
      this.#opened = true;
      data.resumed = this.lastEventId !== null;
      // One who goes on has everything up to their own id, not up to this one.
      this.lastEventId ??= id ?? data.event_id ?? null;
      this.#onState("open");
    } else if (id) {
      this.lastEventId = id;
    }
    try {
      this.#onEvent(type, data);
    } catch (error) {
      // A fault of the page is none of the connection's: it is told, and the next event may fare better.
      reportError(error);
    }
  }

  #refused(response) {
    if (response.status === 401) return { state: "unauthorised", waitMs: Infinity };
    if (response.status === 403) return { state: "forbidden", waitMs: Infinity };
    // A position that this gateway cannot read will not become readable: begin now, and ask how the open turns stand.
    if (response.status === 400) this.lastEventId = null;
    return { state: "lost", waitMs: retryAfter(response) };
  }
}
