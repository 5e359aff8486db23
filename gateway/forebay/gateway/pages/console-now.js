import { make } from "./elements.js";
import { count, dollars, milliseconds, NOTHING, rate, seconds, share, visible } from "./console-format.js";
import { Plots } from "./console-plots.js";
import { cell, Table } from "./console-table.js";

const FIGURES = [
  ["offered", "Offered", ({ now }) => [rate(now.offered), "/s"]],
  ["answered", "Answered", ({ now }) => [rate(now.answered), "/s"]],
  ["waiting", "Waiting", ({ now, unknown_partitions: unknown }) => [count(now.waiting), "", unknown ? `${unknown} partitions unknown` : ""]],
  ["in-flight", "In flight", ({ now, workers }) => [count(now.in_flight), "", `of ${count(permits(workers))} permits`]],
  ["oldest", "Oldest turn", ({ now }) => [seconds(now.oldest_s), ""]],
  ["wait", "A new turn waits", ({ gateway }) => [seconds(gateway.wait_s), "", "at most, estimated"]],
  ["queued", "In the queue", ({ now }) => [milliseconds(now.queued_p50), "", `99 of 100: ${milliseconds(now.queued_p99)}`]],
  ["model", "In model calls", ({ now }) => [milliseconds(now.model_p50), "", `99 of 100: ${milliseconds(now.model_p99)}`]],
  ["connections", "Connections here", ({ gateway }) => [count(gateway.connections), "", gateway.streaming ? "streaming" : "answered whole"]],
];

/** What happens now: numbers, plots, and where turns wait. */
export class Now {
  #values = new Map();
  #plots;
  #partitions = new Table(
    "Partitions of the requests, those with the most waiting turns first",
    [["Partition", ""], ["Waiting", "number"], ["In flight", "number"], ["Oldest turn", "number"], ["Next offset", "number"], ["Worker", "id"], ["", ""]],
    { most: 48, empty: "No partitions." },
  );
  #outcomes = new Table("How the last turns ended", [["Outcome", ""], ["Turns", "number"], ["Share", "number"]], { empty: "No reply in the last 10 s." });
  #models = new Table("Models over all workers", [["Model", "wide"], ["Breakers", ""], ["Quota left", "number"]], { empty: "No worker has called a model yet." });
  #spending = make("div");

  constructor(about) {
    this.#plots = new Plots(about.plots);
    const figures = make("dl", { class: "figures" });
    for (const [name, label] of FIGURES) {
      const value = make("dd", { id: `figure-${name}` });
      this.#values.set(name, value);
      figures.append(make("div", {}, make("dt", {}, label), value));
    }
    const side = make("div", { class: "columns" },
      make("section", {}, head("The last 10 seconds"), this.#outcomes.node),
      make("section", {}, head("Models"), this.#models.node),
      make("section", {}, head("Spending"), this.#spending),
    );
    this.nodes = [make("section", { class: "figures-of", "aria-label": "Now" }, figures), this.#plots.node, side, make("section", {}, head("Partitions"), this.#partitions.node)];
  }

  show(snapshot, history) {
    for (const [name, , of] of FIGURES) {
      const [value, unit = "", note = ""] = of(snapshot);
      const node = this.#values.get(name);
      const text = [value, unit, note].join("\n");
      if (node.dataset.shown === text) continue;
      node.dataset.shown = text;
      node.replaceChildren(value, unit ? make("small", {}, ` ${unit}`) : "", note ? make("div", { class: "note" }, note) : "");
    }
    this.#plots.draw(history);
    this.#partitions.show(partitionRows(snapshot.partitions));
    this.#outcomes.show(outcomeRows(snapshot));
    this.#models.show(modelRows(snapshot.models));
    this.#spending.replaceChildren(...spent(snapshot.spending));
  }
}

function head(title) {
  return make("div", { class: "head" }, make("h2", {}, title));
}

function permits(workers) {
  return workers.reduce((sum, worker) => sum + (worker.silent || worker.foreign ? 0 : worker.permits), 0);
}

function partitionRows(partitions) {
  return partitions
    .toSorted((one, other) => (other[2] ?? -1) - (one[2] ?? -1) || one[0] - other[0])
    .map(([number, logEnd, waiting, inFlight, oldest, atLeast, worker, paused]) => ({
      key: number,
      cells: [
        String(number),
        cell(count(waiting), { class: waiting === null ? "quiet" : "" }),
        count(inFlight),
        oldest === null ? NOTHING : `${atLeast ? "over " : ""}${seconds(oldest)}`,
        count(logEnd),
        worker ? cell(visible(worker), { title: visible(worker) }) : cell("nobody", { class: waiting ? "bad" : "quiet" }),
        paused ? cell("paused", { class: "warn" }) : "",
      ],
    }));
}

const LOOKS = { failed: "bad", expired: "warn", handed_off: "warn" };

function outcomeRows({ outcomes, errors, turns }) {
  const rows = Object.entries(outcomes).sort((one, other) => other[1] - one[1]);
  const codes = Object.entries(errors).sort((one, other) => other[1] - one[1]);
  return [
    ...rows.map(([name, number]) => ({ key: `o-${name}`, cells: [cell(visible(name), { class: LOOKS[name] }), count(number), share(number / turns)] })),
    ...codes.map(([code, number]) => ({ key: `e-${code}`, cells: [cell(`error ${visible(code)}`, { class: "quiet" }), count(number), share(number / turns)] })),
  ];
}

function modelRows(models) {
  return models.map((model) => ({
    key: model.name,
    cells: [
      cell(visible(model.name), { title: visible(model.reason) }),
      model.open || model.half_open
        ? cell(`${model.open} open, ${model.half_open} half, ${model.closed} closed`, { class: model.open ? "bad" : "warn" })
        : cell(`${model.closed} closed`, { class: "good" }),
      cell(share(model.quota_left), { class: model.quota_left < 0.1 ? "bad" : model.quota_left < 0.25 ? "warn" : "" }),
    ],
  }));
}

function spent(spending) {
  const lines = [["Hour", "hour"], ["Day", "day"]].map(([label, name]) => {
    const ceiling = spending[`${name}_ceiling_usd`];
    const amount = spending[`${name}_usd`];
    if (ceiling === null) return make("div", { class: "meter" }, make("span", {}, label), make("span", { class: "quiet" }, "no ceiling"), make("span", {}, dollars(amount)));
    const bar = make("progress", { max: ceiling, value: Math.min(amount, ceiling), "aria-label": `${label}: ${dollars(amount)} of ${dollars(ceiling)}` });
    return make("div", { class: "meter" }, make("span", {}, label), bar, make("span", {}, `${dollars(amount)} of ${dollars(ceiling)}`));
  });
  return [...lines, make("p", { class: "quiet" }, spending.shared ? "Of all workers, from their store." : "Added up over the workers, each since its start.")];
}
