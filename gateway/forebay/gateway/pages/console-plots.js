import { make } from "./elements.js";

const POINTS = 400;
const REDRAW_MS = { 300: 1_000, 900: 3_000, 1800: 5_000 };

const PLOTS = [
  { title: "Turns a second", lines: [["offered", "offered", "a"], ["answered", "answered", "b"]], floor: 5 },
  { title: "Turns waiting and in flight", lines: [["waiting", "waiting", "a"], ["in_flight", "in flight", "b"]], floor: 10 },
  { title: "Time in the queue, ms", lines: [["queued_p50", "half", "a"], ["queued_p99", "99 of 100", "b"]], floor: 100 },
  { title: "Time in model calls, ms", lines: [["model_p50", "half", "a"], ["model_p99", "99 of 100", "b"]], floor: 100 },
];

/** The four plots. Where plotly is not installed they are a line that says how to get it. */
export class Plots {
  #drawn = 0;
  #colours = null;
  #figures;
  #window = 300;
  node;

  constructor(installed) {
    const choice = make("select", { "aria-label": "Time shown" });
    for (const [value, label] of [[300, "5 minutes"], [900, "15 minutes"], [1800, "30 minutes"]]) {
      choice.append(make("option", { value }, label));
    }
    choice.addEventListener("change", () => {
      this.#window = Number(choice.value);
      this.#drawn = 0;
    });
    this.#figures = PLOTS.map((plot) => ({ ...plot, node: make("div", { class: "plot", role: "img", "aria-label": plot.title }) }));
    const note = make("p", { class: "empty" }, "Plots need plotly on the gateway: ", make("code", {}, "pip install 'forebay[console]'"));
    const panels = this.#figures.map(({ title, lines, node }) =>
      make("section", {}, make("div", { class: "head" }, make("h2", {}, title), key(lines)), node),
    );
    const head = make("div", { class: "head" }, make("h2", {}, "The last"), choice);
    this.node = installed ? make("div", {}, head, make("div", { class: "plots" }, ...panels)) : make("section", {}, note);
    this.installed = installed;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#colours = null;
      this.#drawn = 0;
    });
  }

  draw(history) {
    const now = Date.now();
    if (!this.installed || !window.Plotly || !history.at?.length || now - this.#drawn < REDRAW_MS[this.#window] - 200) return;
    this.#drawn = now;
    this.#colours ??= colours();
    const columns = thinned(history, this.#window);
    for (const { node, lines, floor } of this.#figures) {
      window.Plotly.react(node, traces(lines, columns, this.#colours), layout(columns, lines, floor, this.#colours), {
        displayModeBar: false,
        responsive: true,
        doubleClick: false,
        showTips: false,
      });
    }
  }
}

/** The columns over so many seconds, as at most `POINTS` points: the highest of each step, since peaks are what is looked for. */
export function thinned(history, span) {
  const last = history.at.at(-1);
  const first = history.at.findIndex((at) => at > last - span);
  const step = Math.max(1, Math.ceil((history.at.length - first) / POINTS));
  const thin = {};
  for (const [name, column] of Object.entries(history)) {
    const points = column.slice(first);
    thin[name] = step === 1 ? points : Array.from({ length: Math.ceil(points.length / step) }, (_, at) => highest(points.slice(at * step, (at + 1) * step)));
  }
  return thin;
}

function highest(values) {
  const known = values.filter((value) => value != null);
  return known.length ? Math.max(...known) : null;
}

function key(lines) {
  return make("div", { class: "key", "aria-hidden": "true" }, ...lines.map(([, label, colour]) => make("span", { class: colour }, label)));
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return { a: of("a"), b: of("b"), ink: of("quiet"), line: of("line"), card: of("card"), edge: of("edge"), text: of("ink") };
}

function traces(lines, columns, palette) {
  const x = columns.at.map((at) => new Date(at * 1000));
  return lines.map(([name, label, colour]) => ({
    x,
    y: columns[name],
    name: label,
    type: "scatter",
    mode: "lines",
    line: { color: palette[colour], width: 1.5 },
    hovertemplate: "%{y:,.0f}",
  }));
}

function layout(columns, lines, floor, palette) {
  const top = Math.max(floor, ...lines.map(([name]) => highest(columns[name]) ?? 0));
  const axis = { color: palette.ink, gridcolor: palette.line, zeroline: false, fixedrange: true, tickfont: { size: 11 } };
  return {
    margin: { t: 4, r: 8, b: 22, l: 46 },
    showlegend: false,
    hovermode: "x unified",
    hoverlabel: { bgcolor: palette.card, bordercolor: palette.edge, font: { color: palette.text, size: 12 } },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif" },
    xaxis: { ...axis, type: "date", tickformat: "%H:%M:%S", hoverformat: "%H:%M:%S", nticks: 6, showgrid: false },
    yaxis: { ...axis, range: [0, top * 1.08], nticks: 5, tickformat: ",~r" },
  };
}
