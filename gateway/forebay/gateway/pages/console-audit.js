import { make } from "./elements.js";
import { tell } from "./console-dialog.js";
import { time, visible } from "./console-format.js";
import { cell, Table } from "./console-table.js";

/** Who did what. */
export class Audit {
  #session;
  #table = new Table("Actions, the newest first", [["When", ""], ["Who", "id"], ["What", ""], ["On what", "wide"], ["Outcome", "wide"], ["Known from", ""]], { most: 200, empty: "Nothing was done lately." });
  #topic;

  constructor(about, session) {
    this.#session = session;
    this.#topic = about.topics.commands;
    const again = make("button", { type: "button", onclick: () => this.opened() }, "Look again");
    const why = make("p", { class: "quiet" }, `Commands come from ${this.#topic}, whoever gave them and wherever, and stay there for an hour. What was done with dead letters, and what failed, is remembered by this gateway alone until it ends; every action is in its log as console.action.`);
    this.nodes = [make("section", {}, make("div", { class: "head" }, make("h2", {}, "Latest actions"), make("span", { class: "push" }), again), why, this.#table.node)];
  }

  async opened() {
    try {
      const { actions } = await this.#session.get("audit");
      this.#table.show(actions.map((action, index) => ({ key: `${action.at} ${action.who} ${action.what} ${index}`, cells: this.#cells(action) })));
    } catch (error) {
      tell(error.message, { bad: true });
    }
  }

  show() {}

  #cells({ at, who, what, on, outcome, source }) {
    const failed = outcome.startsWith("failed");
    return [time(at), visible(who), visible(what), visible(on), cell(visible(outcome), { class: failed ? "bad" : "" }), source === "topic" ? this.#topic : "this gateway"];
  }
}
