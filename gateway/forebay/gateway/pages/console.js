import { make } from "./elements.js";
import { tell } from "./console-dialog.js";
import { visible } from "./console-format.js";
import { Audit } from "./console-audit.js";
import { Handoffs } from "./console-handoffs.js";
import { Letters } from "./console-letters.js";
import { Live } from "./console-live.js";
import { Now } from "./console-now.js";
import { Session } from "./console-session.js";
import { Workers } from "./console-workers.js";

const VIEWS = { now: Now, workers: Workers, letters: Letters, handoffs: Handoffs, audit: Audit };
const STATES = { opening: "connecting", live: "live", lost: "connection lost" };
const of = (id) => document.getElementById(id);

/** The whole page: who looks, which view is open, and what it is shown every second. */
class Console {
  #session = new Session();
  #live = new Live(this.#session);
  #views = new Map();
  #about = null;
  #open = "now";

  constructor() {
    this.#session.onrefused = (refused) => this.#askForKey(refused.message);
    this.#live.onsnapshot = (snapshot) => this.#show(snapshot);
    this.#live.onstate = (state) => {
      if (of("link").dataset.state === state) return;
      of("link").dataset.state = state;
      of("link").textContent = STATES[state];
    };
    for (const tab of this.#tabs()) tab.addEventListener("click", () => this.#choose(tab.dataset.tab));
    of("tabs").addEventListener("keydown", (event) => this.#walk(event));
    of("key").addEventListener("submit", (event) => this.#enter(event));
    of("leave").addEventListener("click", () => this.#leave());
    window.addEventListener("hashchange", () => this.#choose(location.hash.slice(1)));
    document.addEventListener("visibilitychange", () => !document.hidden && this.#live.latest && this.#show(this.#live.latest));
  }

  async start() {
    try {
      this.#about = await this.#session.get("whoami");
    } catch (error) {
      if (error.status === 401 || error.status === 403) this.#askForKey(this.#session.keyed ? error.message : "");
      else {
        tell(error.message, { bad: true });
        setTimeout(() => this.start(), 3_000);
      }
      return;
    }
    of("key").hidden = true;
    of("panel").hidden = of("tabs").hidden = false;
    of("who").textContent = this.#about.open ? "open gateway" : visible(this.#about.name);
    of("leave").hidden = this.#about.open;
    this.#live.open();
    this.#choose(location.hash.slice(1) || this.#open);
  }

  #tabs() {
    return [...of("tabs").querySelectorAll("[role=tab]")];
  }

  #choose(name) {
    if (!Object.hasOwn(VIEWS, name) || !this.#about) return;
    this.#open = name;
    if (location.hash.slice(1) !== name) history.replaceState(null, "", `#${name}`);
    for (const tab of this.#tabs()) {
      const chosen = tab.dataset.tab === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    }
    of("panel").setAttribute("aria-labelledby", `tab-${name}`);
    if (!this.#views.has(name)) this.#views.set(name, new VIEWS[name](this.#about, this.#session));
    const view = this.#views.get(name);
    of("panel").replaceChildren(...view.nodes);
    view.opened?.();
    if (this.#live.latest) this.#show(this.#live.latest);
  }

  #walk(event) {
    const tabs = this.#tabs();
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const tab = tabs[(to + tabs.length) % tabs.length];
    tab.focus();
    this.#choose(tab.dataset.tab);
  }

  #show(snapshot) {
    if (document.hidden || !this.#about) return;
    this.#views.get(this.#open)?.show(snapshot, this.#live.history);
    const lines = snapshot.troubles;
    const shown = JSON.stringify(lines);
    if (of("troubles").dataset.shown !== shown) {
      of("troubles").dataset.shown = shown;
      of("troubles").replaceChildren(...lines.map(({ severe, title, text }) => make("li", { class: severe ? "bad" : false }, make("b", {}, title), make("span", {}, visible(text)))));
    }
    // Read out when a trouble comes or goes, not whenever a number in it changes.
    const titles = lines.map(({ title }) => title).join(", ");
    if (of("announced").textContent !== titles) of("announced").textContent = titles;
    const badge = of("tab-workers").querySelector(".badge");
    const ill = snapshot.workers.filter((worker) => worker.silent || worker.trouble).length;
    badge.hidden = !ill;
    badge.textContent = String(ill);
  }

  #askForKey(why) {
    this.#live.close();
    this.#about = null;
    this.#views.clear();
    of("panel").hidden = of("tabs").hidden = true;
    of("panel").replaceChildren();
    of("troubles").replaceChildren();
    delete of("troubles").dataset.shown;
    of("link").textContent = of("who").textContent = "";
    delete of("link").dataset.state;
    of("leave").hidden = true;
    of("key").hidden = false;
    of("refused").textContent = why;
    of("secret").focus();
  }

  #enter(event) {
    event.preventDefault();
    this.#session.use(of("secret").value.trim());
    of("secret").value = "";
    this.start();
  }

  #leave() {
    this.#session.forget();
    this.#askForKey("");
  }
}

new Console().start();
