import { make } from "./elements.js";
import { tell } from "./console-dialog.js";
import { time, visible } from "./console-format.js";
import { cell, Table } from "./console-table.js";

/** Conversations that a person has taken over, with what was said. */
export class Handoffs {
  #session;
  #table = new Table("Hand-offs, the newest first", [["When", ""], ["Conversation", "id"], ["User", "id"], ["Tenant", "id"], ["Reason", ""], ["What was said", "wide"], ["Give it back with", "wide"]], { most: 200, empty: "No conversation was handed to a person in the last days." });
  #note = make("span", { class: "quiet" });

  constructor(about, session) {
    this.#session = session;
    const again = make("button", { type: "button", onclick: () => this.opened() }, "Look again");
    const why = make("p", { class: "quiet" }, "Run the command where the workers' store can be reached: the console itself does not touch conversations.");
    this.nodes = [make("section", {}, make("div", { class: "head" }, make("h2", {}, "Latest hand-offs"), this.#note, make("span", { class: "push" }), again), why, this.#table.node)];
  }

  async opened() {
    try {
      const { handoffs, unreadable } = await this.#session.get("handoffs");
      this.#note.textContent = unreadable ? `${unreadable} records could not be read` : "";
      this.#table.show(handoffs.map((handoff) => ({ key: handoff.handoff_id, cells: cells(handoff) })));
    } catch (error) {
      tell(error.message, { bad: true });
    }
  }

  show() {}
}

function cells(handoff) {
  const said = handoff.transcript.map(({ role, text }) => make("p", { class: role }, make("b", {}, role), visible(text)));
  const last = handoff.transcript.at(-1)?.text ?? "";
  const short = last.length > 80 ? `${last.slice(0, 80)}…` : last;
  const transcript = make("details", {}, make("summary", {}, visible(short) || "(nothing)"), make("div", { class: "said" }, ...said));
  return [time(handoff.created_at), visible(handoff.conversation_id), visible(handoff.user_id), visible(handoff.tenant), visible(handoff.reason), cell(transcript), cell(make("code", {}, visible(handoff.command)))];
}
