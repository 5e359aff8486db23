/** Shorter losses of the connection mend themselves before anyone could read about them. */
const PATIENCE_MS = 1_500;
/** A place in the queue may change many times a second; a screen reader hears of it this often. */
const SPOKEN_EVERY_MS = 5_000;

/** One visible line about the connection, and one that only screen readers get, about the turn that is waiting. */
export class Status {
  #line;
  #spoken;
  #words;
  #state = "connecting";
  #text = "";
  #timer = null;
  #speaking = null;

  constructor({ line, spoken, words }) {
    this.#line = line;
    this.#spoken = spoken;
    this.#words = words;
  }

  set words(words) {
    this.#words = words;
    this.#show();
  }

  set state(state) {
    // Between two tries nothing changes for who reads it.
    if (state === "connecting" && this.#state !== "open") return;
    this.#state = state === "connecting" ? "lost" : state;
    clearTimeout(this.#timer);
    if (this.#state === "lost" && this.#line.hidden) this.#timer = setTimeout(() => this.#show(), PATIENCE_MS);
    else this.#show();
  }

  queue(turns) {
    let text = "";
    for (const turn of turns) {
      if (turn.reply || turn.delivery !== "accepted") continue;
      text = turn.stopping ? this.#words.stopping : turn.started ? this.#words.typing : turn.place ? this.#words.place(turn.place) : this.#words.waitingForPlace;
    }
    this.#text = text;
    this.#speaking ??= setTimeout(() => {
      this.#speaking = null;
      if (this.#spoken.textContent !== this.#text) this.#spoken.textContent = this.#text;
    }, this.#spoken.textContent ? SPOKEN_EVERY_MS : 0);
  }

  #show() {
    const text = this.#state === "open" || this.#state === "connecting" ? "" : this.#words[this.#state];
    this.#line.hidden = !text;
    this.#line.dataset.state = this.#state;
    if (this.#line.textContent !== text) this.#line.textContent = text;
  }
}
