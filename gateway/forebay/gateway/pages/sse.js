/**
 * The events of a text/event-stream as `{event, data, id}`; `id` is null where the event has none.
 * `onBytes` hears of everything that arrives, comments too. An event cut off by the end of the stream is dropped: its id was
 * never seen, so it comes again.
 */
export async function* readEvents(body, onBytes) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

export class EventParser {
  #rest = "";
  #fields = { event: "", data: [], id: null };

  *push(text) {
    let buffer = this.#rest + text;
    // A CR at the very end may be half of a CRLF.
    const held = buffer.endsWith("\r") ? "\r" : "";
    if (held) buffer = buffer.slice(0, -1);
    const lines = buffer.split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + held;
    for (const line of lines) {
      if (line === "") {
        const event = this.#take();
        if (event) yield event;
      } else {
        this.#line(line);
      }
    }
  }

  #line(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#fields.event = value;
    else if (name === "data") this.#fields.data.push(value);
    else if (name === "id" && !value.includes("\0")) this.#fields.id = value;
  }

  #take() {
    const { event, data, id } = this.#fields;
    this.#fields = { event: "", data: [], id: null };
    return data.length ? { event: event || "message", data: data.join("\n"), id } : null;
  }
}
