const FIRST_MS = 500;
const CAP_MS = 10_000;

/** Full jitter: many pages that lost the same gateway must not come back in step. */
export function backoff(failures) {
  return Math.random() * Math.min(CAP_MS, FIRST_MS * 2 ** Math.min(failures, 10));
}

/** A pause that `wake` ends early. Waking while nothing pauses is forgotten. */
export class Pause {
  #end = null;

  rest(ms) {
    return new Promise((resolve) => {
      const timer = Number.isFinite(ms) ? setTimeout(() => this.wake(), ms) : null;
      this.#end = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  wake() {
    const end = this.#end;
    this.#end = null;
    end?.();
  }
}
