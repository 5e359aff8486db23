import { readEvents } from "./sse.js";

const SILENT_MS = 6_000;
const LONGEST_MS = 10_000;
const KEPT = 1_800;

/** The snapshots, and the last half hour in columns. It connects again by itself for as long as it is wanted. */
export class Live {
  #session;
  #stop = null;
  /** Columns by name, all of one length. */
  history = {};
  latest = null;
  onsnapshot = () => {};
  /** Hears "live", "lost" and "opening". */
  onstate = () => {};

  constructor(session) {
    this.#session = session;
  }

  open() {
    this.close();
    this.#stop = new AbortController();
    this.#follow(this.#stop.signal);
  }

  close() {
    this.#stop?.abort();
    this.#stop = null;
    this.latest = null;
    this.history = {};
  }

  async #follow(wanted) {
    let pause = 500;
    this.onstate("opening");
    while (!wanted.aborted) {
      const began = Date.now();
      try {
        await this.#read(wanted);
      } catch (error) {
        if (error.status === 401 || error.status === 403) return;
      }
      if (wanted.aborted) return;
      this.onstate("lost");
      pause = Date.now() - began > 5_000 ? 500 : Math.min(LONGEST_MS, pause * 2);
      await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random() / 2)));
    }
  }

  /** A connection from which nothing comes is as good as none: the gateway speaks every second. */
  async #read(wanted) {
    const cut = new AbortController();
    const signal = AbortSignal.any([wanted, cut.signal]);
    let clock = setTimeout(() => cut.abort(), SILENT_MS);
    try {
      const response = await this.#session.stream("live", signal);
      const heard = () => {
        clearTimeout(clock);
        clock = setTimeout(() => cut.abort(), SILENT_MS);
      };
      for await (const { event, data } of readEvents(response.body, heard)) this.#take(event, JSON.parse(data));
    } finally {
      clearTimeout(clock);
    }
  }

  #take(event, data) {
    if (event === "history") {
      this.history = data;
    } else if (event === "snapshot") {
      this.latest = data;
      this.#keep(data.now);
      this.onstate("live");
      this.onsnapshot(data);
    }
  }

  #keep(point) {
    for (const [name, value] of Object.entries(point)) {
      const column = (this.history[name] ??= []);
      column.push(value);
      if (column.length > KEPT) column.shift();
    }
  }
}
