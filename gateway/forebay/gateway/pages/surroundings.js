/**
 * The page that the widget has put this one into. Only its own origin is heard and spoken to: the one that the browser names as
 * referrer of this frame.
 */
export class Surroundings {
  #origin = null;

  constructor({ embedded, onToken, onOpen }) {
    if (!embedded) return;
    try {
      this.#origin = new URL(document.referrer).origin;
    } catch {
      return;
    }
    window.addEventListener("message", ({ source, origin, data }) => {
      if (source !== window.parent || origin !== this.#origin || typeof data !== "object" || data === null) return;
      if (data.type === "forebay:token" && typeof data.token === "string") onToken(data.token);
      if (data.type === "forebay:open") onOpen();
    });
    this.tell("ready");
  }

  get known() {
    return this.#origin !== null;
  }

  /** "ready", "close", "reply" or "token-wanted". */
  tell(what) {
    if (this.#origin) window.parent.postMessage({ type: `forebay:${what}` }, this.#origin);
  }
}
