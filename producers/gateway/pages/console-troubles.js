import { count, dollars, seconds, share, visible } from "./console-format.js";

/** What somebody should look at now, the worst first: `{bad, title, text}`. Pure. */
export function troubles(snapshot, about) {
  return [
    ...ofKafka(snapshot),
    ...ofWorkers(snapshot),
    ...ofModels(snapshot.models),
    ...ofTurns(snapshot, about),
    ...ofSpending(snapshot.spending),
  ].sort((one, other) => Number(other.bad) - Number(one.bad));
}

function ofKafka({ gateway }) {
  return gateway.kafka_away_s === null
    ? []
    : [{ bad: true, title: "Kafka away", text: `It has not answered this gateway for ${seconds(gateway.kafka_away_s)}.` }];
}

function ofWorkers({ workers, partitions }) {
  const found = [];
  const own = workers.filter((worker) => !worker.foreign);
  const silent = own.filter((worker) => worker.silent);
  const alive = own.filter((worker) => !worker.silent);
  if (!alive.length) found.push({ bad: true, title: "No workers", text: "No worker reports: nothing is answered." });
  if (silent.length) found.push({ bad: true, title: "Silent", text: `${named(silent)} stopped reporting: killed, hanging, or cut off from Kafka.` });
  const troubled = alive.filter((worker) => worker.trouble);
  if (troubled.length) found.push({ bad: true, title: "In trouble", text: troubled.slice(0, 5).map((worker) => `${worker.id}: ${worker.trouble}`).map(visible).join("; ") });
  const paused = alive.filter((worker) => worker.state === "paused");
  if (paused.length) found.push({ bad: false, title: "Paused", text: `${named(paused)}, by an operator.` });
  const held = partitions.filter(([, , , , , , worker, stopped]) => stopped && !paused.some((one) => one.id === worker));
  if (held.length) found.push({ bad: false, title: "Paused", text: `Partition ${held.slice(0, 20).map(([number]) => number).join(", ")}${held.length > 20 ? ", …" : ""}, by an operator.` });
  const orphans = partitions.filter(([, , waiting, , , , worker]) => !worker && waiting);
  if (alive.length && orphans.length) found.push({ bad: true, title: "Nobody's", text: `${count(orphans.length)} partitions with waiting turns belong to no worker.` });
  return found;
}

function named(workers) {
  const names = workers.slice(0, 4).map((worker) => visible(worker.id));
  return workers.length > 4 ? `${names.join(", ")} and ${workers.length - 4} more` : names.join(", ");
}

function ofModels(models) {
  return models
    .filter((model) => model.open || model.half_open)
    .map((model) => ({
      bad: model.open > 0,
      title: model.open ? "Breaker open" : "Breaker trying again",
      text: `${visible(model.name)} at ${model.open + model.half_open} of ${model.open + model.half_open + model.closed} workers${model.reason ? `: ${visible(model.reason)}` : ""}`,
    }));
}

function ofTurns({ now, turns, errors, gateway }, about) {
  const found = [];
  const failed = now.failed;
  if (now.oldest_s > about.turn_ttl_s) found.push({ bad: true, title: "Too late", text: `The oldest turn is ${seconds(now.oldest_s)} old; turns expire after ${seconds(about.turn_ttl_s)}.` });
  else if (gateway.wait_s > about.turn_ttl_s / 2) found.push({ bad: false, title: "Long queue", text: `A new turn waits about ${seconds(gateway.wait_s)}; turns expire after ${seconds(about.turn_ttl_s)}.` });
  if (failed && turns >= 5 && failed / turns > 0.02) {
    const codes = Object.entries(errors).sort((one, other) => other[1] - one[1]).slice(0, 3).map(([code, number]) => `${visible(code)} ${count(number)}`);
    found.push({ bad: failed / turns > 0.1, title: "Errors", text: `${share(failed / turns)} of the last replies: ${codes.join(", ")}.` });
  }
  if (!gateway.streaming) found.push({ bad: false, title: "Whole answers", text: "Turns are not streamed while the load is above the threshold." });
  return found;
}

function ofSpending(spending) {
  const found = [];
  for (const [name, label] of [["hour", "this hour"], ["day", "today"]]) {
    const ceiling = spending[`${name}_ceiling_usd`];
    if (ceiling === null || ceiling <= 0) continue;
    const spent = spending[`${name}_usd`] / ceiling;
    if (spent >= 0.8) found.push({ bad: spent >= 1, title: "Budget", text: `${share(spent)} of ${dollars(ceiling)} is spent ${label}.` });
  }
  return found;
}
