const KEPT = "forebay.console.key";

/** What the gateway answered that is no success; `status` 0 when it did not answer. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The key, and every request that needs it. In sessionStorage: other tabs and later visits do not have it. */
export class Session {
  #key = sessionStorage.getItem(KEPT) ?? "";
  /** Called when the gateway no longer takes the key. */
  onrefused = () => {};

  get keyed() {
    return this.#key !== "";
  }

  use(key) {
    this.#key = key;
    sessionStorage.setItem(KEPT, key);
  }

  forget() {
    this.#key = "";
    sessionStorage.removeItem(KEPT);
  }

  get(path, query = {}) {
    const written = new URLSearchParams(query).toString();
    return this.#answer(written ? `${path}?${written}` : path);
  }

  post(path, body = {}) {
    return this.#answer(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  }

  /** The live stream as it comes. */
  stream(path, signal) {
    return this.#fetch(path, { signal, headers: { Accept: "text/event-stream" } });
  }

  async #answer(path, options) {
    const response = await this.#fetch(path, options);
    return response.json();
  }

  async #fetch(path, { headers = {}, ...options } = {}) {
    const bearer = this.#key ? { Authorization: `Bearer ${this.#key}` } : {};
    let response;
    try {
      response = await fetch(`/console/api/${path}`, { ...options, headers: { ...headers, ...bearer }, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The gateway does not answer.");
    }
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    const refused = new Refused(response.status, problem.detail ?? `The gateway answered ${response.status}.`);
    if (response.status === 401) this.onrefused(refused);
    throw refused;
  }
}
