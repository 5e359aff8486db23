const POST_LIMIT_MS = 20_000;

/** What a request came to: `status` 0 when no answer came at all. */
async function answerOf(request) {
  try {
    const response = await request;
    const body = await response.json().catch(() => ({}));
    return { status: response.status, body, retryAfterMs: retryAfter(response, body) };
  } catch {
    return { status: 0, body: {}, retryAfterMs: null };
  }
}

export function retryAfter(response, body = {}) {
  const header = response.headers.get("Retry-After");
  if (header && /^\d+(\.\d+)?$/.test(header.trim())) return Number(header) * 1000;
  if (header && !Number.isNaN(Date.parse(header))) return Math.max(0, Date.parse(header) - Date.now());
  return typeof body.retry_after_s === "number" ? body.retry_after_s * 1000 : null;
}

export class Gateway {
  #access;

  constructor(access) {
    this.#access = access;
  }

  send(turn) {
    const body = turn.confirms
      ? { ...turn.confirms, turn_id: turn.id, stream: true }
      : { text: turn.text, turn_id: turn.id, stream: true, when_busy: "merge" };
    return answerOf(
      fetch(this.#conversation(turn.confirms ? "confirm" : "turns"), {
        method: "POST",
        headers: this.#headers({ "Content-Type": "application/json" }),
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(POST_LIMIT_MS),
      }),
    );
  }

  /** Takes a turn back; the answer has its reply if that is known soon. */
  cancel(turnId) {
    return answerOf(
      fetch(this.#conversation(`turns/${encodeURIComponent(turnId)}/cancel`), {
        method: "POST",
        headers: this.#headers(),
        signal: AbortSignal.timeout(POST_LIMIT_MS),
      }),
    );
  }

  rate(turnId, rating, text) {
    return answerOf(
      fetch(this.#conversation(`turns/${encodeURIComponent(turnId)}/feedback`), {
        method: "POST",
        headers: this.#headers({ "Content-Type": "application/json" }),
        body: JSON.stringify(text ? { rating, text } : { rating }),
        signal: AbortSignal.timeout(POST_LIMIT_MS),
      }),
    );
  }

  /** What was said, as the store has it. */
  history() {
    return answerOf(
      fetch(`/v1/conversations/${encodeURIComponent(this.#access.conversation)}`, {
        headers: this.#headers(),
        signal: AbortSignal.timeout(POST_LIMIT_MS),
      }),
    );
  }

  /** How a turn stands, for when its events may have been missed. */
  look(turnId) {
    const query = new URLSearchParams({ conversation_id: this.#access.conversation });
    return answerOf(
      fetch(`/v1/turns/${encodeURIComponent(turnId)}?${query}`, {
        headers: this.#headers(),
        signal: AbortSignal.timeout(POST_LIMIT_MS),
      }),
    );
  }

  /** fetch and not EventSource, which cannot carry the token in a header. */
  events(lastEventId, signal) {
    const headers = this.#headers({ Accept: "text/event-stream" });
    if (lastEventId) headers["Last-Event-ID"] = lastEventId;
    return fetch(this.#conversation("events"), { headers, signal, cache: "no-store" });
  }

  #conversation(what) {
    return `/v1/conversations/${encodeURIComponent(this.#access.conversation)}/${what}`;
  }

  #headers(more = {}) {
    const { token } = this.#access;
    return token ? { ...more, Authorization: `Bearer ${token}` } : more;
  }
}
