import { make } from "./elements.js";
import { ask, confirmed, tell } from "./console-dialog.js";
import { count, NOTHING, time, visible } from "./console-format.js";
import { cell, Table } from "./console-table.js";

const PAGE = 50;
const REASONS = ["undecodable", "invalid", "key_mismatch", "retries_exhausted", "rejected_by_model", "handler_error", "unknown_action", "over_budget"];

/** Dead letters: found, looked at, sent again, deleted; the last two are shown before they are done. */
export class Letters {
  #session;
  #chosen = new Set();
  #rows = [];
  #next = null;
  #fields = {
    reason: make("input", { list: "reasons", spellcheck: "false", placeholder: "any" }),
    conversation: make("input", { spellcheck: "false" }),
    tenant: make("input", { spellcheck: "false" }),
    since: make("input", { type: "datetime-local", step: "1" }),
    until: make("input", { type: "datetime-local", step: "1" }),
  };
  #table = new Table(
    "Dead letters, the newest first",
    [["", ""], ["Id", ""], ["Died", ""], ["Reason", ""], ["Replayed", ""], ["Conversation", "id"], ["Tenant", "id"], ["Text", "wide"]],
    { most: 500, empty: "No dead letters match." },
  );
  #older = make("button", { type: "button", class: "more", hidden: true, onclick: () => this.#load(true) }, "Older ones");
  #selected = make("span", { class: "quiet" });
  #job = make("div", { class: "job", role: "status" });
  #jobShown = "";
  #seenJob = null;

  constructor(about, session) {
    this.#session = session;
    const form = make("form", { class: "filters" }, ...Object.entries(this.#fields).map(([name, field]) => make("label", {}, name[0].toUpperCase() + name.slice(1), field)), make("button", { class: "main" }, "Find"), make("datalist", { id: "reasons" }, ...REASONS.map((reason) => make("option", { value: reason }))));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#load(false);
    });
    const acts = make("div", { class: "head" },
      make("h2", {}, about.topics.dead_letters),
      this.#selected,
      make("span", { class: "push" }),
      make("button", { type: "button", onclick: () => this.#replay(true) }, "Replay chosen…"),
      make("button", { type: "button", onclick: () => this.#replay(false) }, "Replay all that match…"),
      make("button", { type: "button", class: "harm", onclick: () => this.#purge() }, "Purge…"),
    );
    this.nodes = [make("section", { class: "job-of", hidden: true }, this.#job), make("section", {}, form), make("section", {}, acts, this.#table.node, this.#older)];
  }

  opened() {
    this.#load(false);
  }

  show({ job }) {
    const shown = JSON.stringify(job);
    if (shown === this.#jobShown) return;
    this.#jobShown = shown;
    this.nodes[0].hidden = job === null;
    if (job === null) return;
    this.#job.replaceChildren(...jobNodes(job, () => this.#stop(job)));
    if (job.ended_at !== null && this.#seenJob !== job.job_id) {
      if (this.#seenJob !== null || Date.now() / 1000 - job.ended_at < 5) this.#load(false);
      this.#seenJob = job.job_id;
    }
  }

  #filter() {
    const given = Object.fromEntries(Object.entries(this.#fields).map(([name, field]) => [name, field.value.trim()]).filter(([, value]) => value));
    for (const name of ["since", "until"]) if (given[name]) given[name] = new Date(given[name]).toISOString();
    return given;
  }

  async #load(older) {
    try {
      const query = { ...this.#filter(), limit: PAGE, ...(older && this.#next ? { after: this.#next } : {}) };
      const page = await this.#session.get("dead-letters", query);
      this.#rows = older ? [...this.#rows, ...page.letters] : page.letters;
      this.#next = page.next;
      if (!older) this.#chosen.clear();
      this.#older.hidden = page.next === null;
      this.#draw();
    } catch (error) {
      tell(error.message, { bad: true });
    }
  }

  #draw() {
    this.#table.show(this.#rows.map((letter) => ({ key: letter.id, cells: this.#cells(letter) })));
    const number = this.#chosen.size;
    this.#selected.textContent = number ? `${count(number)} chosen` : "";
  }

  #cells(letter) {
    const box = make("input", { type: "checkbox", "aria-label": `Choose ${letter.id}`, onchange: (event) => this.#choose(letter.id, event.target.checked) });
    box.checked = this.#chosen.has(letter.id);
    const open = make("button", { type: "button", class: "link mono", onclick: () => this.#preview(letter.id) }, letter.id);
    return [
      cell(box, { anew: true }),
      cell(open),
      time(letter.died_at),
      cell(visible(letter.reason) || "(none)", { title: visible(letter.message) }),
      letter.replayed ? "yes" : letter.replays ? `no, ${letter.replays === 1 ? "once" : `${letter.replays} times`} before` : "no",
      cell(visible(letter.conversation) || NOTHING, { title: visible(letter.conversation) }),
      visible(letter.tenant) || NOTHING,
      letter.text ? visible(letter.text) : cell("(empty)", { class: "quiet" }),
    ];
  }

  #choose(id, chosen) {
    if (chosen) this.#chosen.add(id);
    else this.#chosen.delete(id);
    this.#selected.textContent = this.#chosen.size ? `${count(this.#chosen.size)} chosen` : "";
  }

  async #preview(id) {
    try {
      const letter = await this.#session.get(`dead-letters/${encodeURIComponent(id)}`);
      const done = await ask(`Dead letter ${letter.id}`, wholeNodes(letter), [["", "Close", ""], ["replay", "Replay this one…", "main"]], { small: false });
      if (done === "replay") this.#send({ ids: [id] }, `dead letter ${id}`);
    } catch (error) {
      tell(error.message, { bad: true });
    }
  }

  #replay(chosen) {
    if (chosen && !this.#chosen.size) return tell("Choose some letters first.");
    if (chosen) return this.#send({ ids: [...this.#chosen] }, `${count(this.#chosen.size)} chosen letters`);
    const { reason, ...rest } = this.#filter();
    const wanted = { ...rest, ...(reason ? { reasons: [reason] } : {}) };
    return this.#send(Object.keys(wanted).length ? wanted : { everything: true }, Object.keys(wanted).length ? "all that match" : "all dead letters");
  }

  async #send(wanted, what) {
    try {
      const plan = await this.#session.post("dead-letters/replay", { ...wanted, dry_run: true });
      const speed = make("input", { type: "number", min: "1", step: "1", placeholder: "no limit" });
      const nodes = [...planNodes(plan), make("label", {}, "At most so many a second", speed)];
      const buttons = [["", "Cancel", ""], ["do", `Replay ${count(plan.letters)}`, "main"]];
      const go = await ask(`Replay ${what}?`, nodes, buttons, { ready: () => plan.letters > 0 });
      if (go !== "do") return;
      const pace = speed.value ? { rate: Number(speed.value) } : {};
      await this.#session.post("dead-letters/replay", { ...wanted, ...pace, dry_run: false });
      tell("The replay has begun.");
    } catch (error) {
      tell(error.message, { bad: true });
    }
  }

  async #purge() {
    const before = make("input", { type: "datetime-local", step: "1" });
    const lines = make("p", {}, "Kafka deletes from the oldest on: a letter stays while an older one stays in its partition. Empty means all there are now. Filters do not count here.");
    if ((await ask("Purge dead letters", [lines, make("label", {}, "Those that died before", before)], [["", "Cancel", ""], ["look", "Count them", "main"]])) !== "look") return;
    const wanted = before.value ? { before: new Date(before.value).toISOString() } : { everything: true };
    try {
      const plan = await this.#session.post("dead-letters/purge", { ...wanted, dry_run: true });
      if (!plan.letters) return tell("There is nothing to delete.");
      const dead = plan.letters - plan.replayed;
      const told = [`${count(plan.letters)} dead letters are deleted for good: ${count(plan.replayed)} replayed, ${count(dead)} not.`, reasonsOf(plan.reasons)].filter(Boolean);
      if (!(await confirmed("Purge for good?", told, `Delete ${count(plan.letters)}`, { harm: true, word: String(plan.letters) }))) return;
      const job = await this.#session.post("dead-letters/purge", { ...wanted, dry_run: false, confirm: plan.letters });
      tell(`Purge: ${job.message}.`);
    } catch (error) {
      tell(error.message, { bad: true });
    }
  }

  async #stop(job) {
    try {
      await this.#session.post(`jobs/${job.job_id}/stop`);
    } catch (error) {
      tell(error.message, { bad: true });
    }
  }
}

function jobNodes(job, stop) {
  const words = { counting: "is counting", running: "is running", stopping: "is stopping", done: "is done", stopped: "was stopped", failed: "failed" };
  const bar = job.planned === null ? make("progress", { "aria-label": "counting" }) : make("progress", { max: Math.max(1, job.planned), value: job.done, "aria-label": "progress" });
  const over = job.ended_at !== null;
  return [
    make("b", { class: job.state === "failed" ? "bad" : "" }, `${job.kind} ${words[job.state]}`),
    make("span", { class: "quiet" }, `${visible(job.who)}: ${visible(job.on)}`),
    over ? make("span", {}, visible(job.message)) : bar,
    over ? make("span", { class: "quiet" }, time(job.ended_at * 1000)) : make("span", {}, `${count(job.done)} of ${count(job.planned)}`),
    over || job.kind !== "replay" ? "" : make("button", { type: "button", onclick: stop, disabled: job.state === "stopping" }, "Stop"),
  ];
}

function planNodes(plan) {
  const left = [plan.replayed_before && `${count(plan.replayed_before)} were replayed already`, plan.worn_out && `${count(plan.worn_out)} were replayed too often`].filter(Boolean);
  return [
    make("p", {}, `${count(plan.letters)} go back to the requests, the oldest first, each conversation in its order.`),
    make("p", {}, reasonsOf(plan.reasons)),
    left.length ? make("p", { class: "quiet" }, `Left out: ${left.join(", ")}.`) : "",
  ];
}

function reasonsOf(reasons) {
  return Object.entries(reasons).map(([reason, number]) => `${visible(reason) || "(none)"} ${count(number)}`).join(", ");
}

function wholeNodes(letter) {
  const facts = { Died: time(letter.died_at), Reason: letter.reason, Message: letter.message, Conversation: letter.conversation, Turn: letter.turn, Key: letter.key, "Model calls": letter.attempts, Replayed: letter.replayed ? "yes" : "no" };
  const list = (entries) => make("dl", { class: "facts" }, ...entries.flatMap(([name, value]) => [make("dt", {}, visible(name)), make("dd", {}, value === null || value === "" ? NOTHING : visible(value))]));
  const value = letter.value === null ? "(none, a tombstone)" : visible(pretty(letter.value, letter.cut));
  return [
    list(Object.entries(facts)),
    make("h3", {}, "Headers"),
    list(letter.headers),
    make("h3", {}, `Value, ${count(letter.bytes)} bytes${letter.cut ? ", the beginning of it" : ""}`),
    make("pre", { tabindex: "0" }, value),
  ];
}

function pretty(text, cut) {
  if (cut) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
