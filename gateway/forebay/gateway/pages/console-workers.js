import { make } from "./elements.js";
import { confirmed, tell } from "./console-dialog.js";
import { count, NOTHING, rate, seconds, share, visible } from "./console-format.js";
import { cell, Table } from "./console-table.js";

const EVERYBODY = "*";
const LOOKS = { working: "good", starting: "quiet", paused: "warn", draining: "warn", silent: "bad" };
const MOST_PARTITIONS = 24;

const WORDS = {
  pause: {
    title: (whom) => `Pause ${whom}?`,
    lines: ["It takes no new turns; those that have begun are finished. Turns wait in Kafka, and expire there if it lasts.", "It holds until you resume, also for workers that start meanwhile."],
    label: "Pause",
  },
  resume: { title: (whom) => `Resume ${whom}?`, lines: ["It takes turns again. A resume of everything ends every pause, also those of single partitions."], label: "Resume" },
  drain: {
    title: (whom) => `Drain ${whom}?`,
    lines: ["It finishes what is in flight, hands its partitions to the others and its process ends. Only what runs it can start it again."],
    label: "Drain",
    harm: true,
  },
};

/** The workers, their partitions and models, and the operator's word to them. */
export class Workers {
  #session;
  #latest = null;
  #partition = make("select", { "aria-label": "Partition" });
  #workers = new Table(
    "Workers",
    [["Worker", "id"], ["State", ""], ["Partitions", ""], ["In flight", "number"], ["Permits", "number"], ["Waiting", "number"], ["Answered", "number"], ["Oldest", "number"], ["Dead letters", "number"], ["Up", "number"], ["", "acts"]],
    { most: 60, empty: "No worker has reported in the last 10 minutes. `forebay worker` starts one." },
  );
  #models = new Table("Models of each worker that are in trouble or short of quota", [["Worker", "id"], ["Model", "id"], ["Breaker", ""], ["Quota left", "number"], ["Why it opened", "wide"]], { most: 40, empty: "All breakers are closed, and no quota is short." });

  constructor(about, session) {
    this.#session = session;
    const all = ["pause", "resume", "drain"].map((word) => this.#button(word, EVERYBODY, `${WORDS[word].label} all`));
    const one = ["pause", "resume"].map((word) =>
      make("button", { type: "button", onclick: () => this.#say(word, EVERYBODY, Number(this.#partition.value)) }, WORDS[word].label),
    );
    this.nodes = [
      make("section", {}, make("div", { class: "head" }, make("h2", {}, "Workers"), make("span", { class: "push" }, ""), ...all), this.#workers.node),
      make("section", {}, make("div", { class: "head" }, make("h2", {}, "One partition"), make("label", {}, "Partition ", this.#partition), ...one)),
      make("section", {}, make("div", { class: "head" }, make("h2", {}, "Breakers and limits")), this.#models.node),
    ];
  }

  show(snapshot) {
    this.#latest = snapshot;
    this.#workers.show(snapshot.workers.toSorted(byTrouble).map((worker) => ({ key: worker.id, cells: this.#cells(worker) })));
    this.#models.show(modelRows(snapshot.workers));
    this.#offer(snapshot.partitions);
  }

  #cells(worker) {
    const state = worker.silent ? "silent" : worker.state;
    const dead = Object.values(worker.dead_letters).reduce((sum, number) => sum + number, 0);
    const about = `${worker.host}, process ${worker.pid}, version ${worker.version}, group ${worker.group}`;
    return [
      cell(visible(worker.id), { title: visible(about) }),
      cell(stateNode(worker, state), { title: visible(worker.trouble ?? "") }),
      cell(partitionsNode(worker.partitions)),
      count(worker.in_flight),
      cell(`${count(worker.permits)} of ${count(worker.concurrency)}`, { class: worker.permits < worker.concurrency / 2 ? "warn" : "" }),
      count(worker.waiting),
      `${rate(worker.answered)} /s`,
      worker.oldest_s ? seconds(worker.oldest_s) : NOTHING,
      cell(count(dead), { class: dead ? "" : "quiet", title: Object.entries(worker.dead_letters).map(([reason, number]) => `${visible(reason)} ${number}`).join(", ") }),
      seconds(worker.up_s),
      cell(this.#acts(worker)),
    ];
  }

  #acts(worker) {
    const word = worker.state === "paused" ? "resume" : "pause";
    return make("span", {}, this.#button(word, worker.id), " ", this.#button("drain", worker.id));
  }

  #button(word, worker, label = WORDS[word].label) {
    const named = worker === EVERYBODY ? false : `${label} ${visible(worker)}`;
    const looks = WORDS[word].harm && worker === EVERYBODY ? "harm" : false;
    return make("button", { type: "button", class: looks, "aria-label": named, onclick: () => this.#say(word, worker) }, label);
  }

  async #say(word, worker, partition = null) {
    const { title, lines, label, harm = false } = WORDS[word];
    const whom = partition === null ? (worker === EVERYBODY ? "all workers" : visible(worker)) : `partition ${partition}`;
    const typed = word === "drain" && worker === EVERYBODY ? "drain" : null;
    const told = typed === null ? lines : [...lines, "Nobody is left to answer until new workers are started."];
    if (!(await confirmed(title(whom), told, label, { harm, word: typed }))) return;
    try {
      await this.#session.post("commands", partition === null ? { command: word, worker } : { command: word, worker, partition });
      tell(`${label}: said to ${whom}. The table shows when it is obeyed.`);
    } catch (error) {
      tell(error.message, { bad: true });
    }
  }

  #offer(partitions) {
    if (this.#partition.length === partitions.length) return;
    this.#partition.replaceChildren(...partitions.map(([number]) => make("option", { value: number }, String(number))));
  }
}

/** Those that somebody should look at first; else as they came, by id. */
function byTrouble(one, other) {
  const rank = (worker) => (worker.silent ? 0 : worker.trouble ? 1 : worker.state === "working" ? 3 : 2);
  return rank(one) - rank(other);
}

function stateNode(worker, state) {
  const silence = worker.silent ? ` for ${seconds(worker.age_s)}` : "";
  const node = make("span", {}, make("span", { class: `pill ${LOOKS[state] ?? ""}` }, `${state}${silence}`));
  if (worker.trouble) node.append(make("div", { class: "bad" }, visible(worker.trouble)));
  return node;
}

function partitionsNode(partitions) {
  const shown = partitions.slice(0, MOST_PARTITIONS).map(([number, waiting, inFlight, paused]) =>
    make("span", { class: paused ? "paused" : false, title: `partition ${number}: ${waiting} waiting, ${inFlight} in flight${paused ? ", paused" : ""}` }, String(number)),
  );
  const rest = partitions.length - shown.length;
  return make("div", { class: "parts" }, ...shown, rest > 0 ? make("span", {}, `and ${rest} more`) : null, partitions.length ? null : NOTHING);
}

function modelRows(workers) {
  const order = { open: 0, half_open: 1, closed: 2 };
  return workers
    .flatMap((worker) => worker.models.map(([name, breaker, reason, quota]) => ({ worker: worker.id, name, breaker, reason, quota })))
    .filter(({ breaker, quota }) => breaker !== "closed" || quota < 0.25)
    .sort((one, other) => order[one.breaker] - order[other.breaker] || one.quota - other.quota)
    .map(({ worker, name, breaker, reason, quota }) => ({
      key: `${worker}\n${name}`,
      cells: [visible(worker), visible(name), cell(breaker.replace("_", " "), { class: { open: "bad", half_open: "warn" }[breaker] }), share(quota), visible(reason)],
    }));
}
