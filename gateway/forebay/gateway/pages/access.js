import { newId } from "./ids.js";
import { recall, remember } from "./memory.js";

/**
 * Who may talk where: the token and the conversation, from the address's fragment, from the page around this one, or kept from
 * before. The fragment never reaches a server, and it leaves the address bar at once.
 */
export class Access {
  token;
  conversation;
  title;
  embedded;

  constructor() {
    const query = new URLSearchParams(location.search);
    const fragment = new URLSearchParams(location.hash.slice(1));
    if (location.hash) history.replaceState(history.state, "", location.pathname + location.search);
    this.embedded = query.get("embed") === "1" && window.parent !== window;
    this.title = fragment.get("title") ?? query.get("title") ?? recall("title");
    this.token = fragment.has("token") ? fragment.get("token") || null : recall("token");
    this.conversation = fragment.get("conversation") ?? this.#kept() ?? this.#fresh();
    this.#keep();
  }

  /** Whether the token opens conversations that do not exist yet. */
  get canBeginAnew() {
    return this.#fresh({ strict: true }) !== null;
  }

  beginAnew() {
    this.conversation = this.#fresh();
    this.#keep();
  }

  renew(token) {
    this.token = token;
    this.#keep();
  }

  #keep() {
    remember("token", this.token);
    remember("conversation", this.conversation);
    remember("title", this.title);
  }

  #kept() {
    const kept = recall("conversation");
    const { names, prefixes } = this.#opens();
    const free = !names.length && !prefixes.length;
    return kept && (free || names.includes(kept) || prefixes.some((prefix) => kept.startsWith(prefix))) ? kept : null;
  }

  /** A conversation's id that the token opens: one under its prefix, else the one it names, else any. */
  #fresh({ strict = false } = {}) {
    const { names, prefixes } = this.#opens();
    if (prefixes.length) return prefixes[0] + newId();
    if (names.length) return strict ? null : names[0];
    return newId();
  }

  /** Read without checking the signature: the gateway does that, here it only saves a refusal. */
  #opens() {
    const claims = claimsOf(this.token);
    const all = Array.isArray(claims.conversations) ? claims.conversations.filter((name) => typeof name === "string") : [];
    return {
      names: all.filter((name) => !name.endsWith("*")),
      prefixes: all.filter((name) => name.endsWith("*")).map((name) => name.slice(0, -1)),
    };
  }
}

function claimsOf(token) {
  try {
    const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}
