/*
 * Puts the chat into a shop's page:
 *   <script src="https://gateway/widget.js" data-token="..." data-lang="en" async></script>
 * Optional: data-conversation, data-title. Then `Forebay.open()`, `Forebay.close()`, `Forebay.setToken(token)`; when the chat's
 * token is refused, the window gets a "forebay:token-wanted" event.
 *
 * All of it lives in a shadow root with a style sheet made by script, so that the shop's styles and these do not meet and a policy
 * without 'unsafe-inline' holds. The shop's policy has to allow the gateway in script-src and frame-src.
 */
(() => {
  "use strict";

  const script = document.currentScript;
  if (!script?.src || window.Forebay) return;
  const origin = new URL(script.src).origin;
  const { conversation, title, lang } = script.dataset;
  let token = script.dataset.token;

  // The page in the frame has its words; these few are needed before there is a frame.
  const chinese = (lang || navigator.language || "").toLowerCase().startsWith("zh");
  const words = chinese
    ? { open: "打开对话", close: "关闭对话", news: "打开对话，有新回复", frame: title || "购物助手" }
    : { open: "Open the chat", close: "Close the chat", news: "Open the chat, new reply", frame: title || "Shop assistant" };

  const STYLE = `
    :host { all: initial; }
    [hidden] { display: none !important; }
    button {
      all: unset; box-sizing: border-box; position: fixed; z-index: 2147483000;
      right: calc(1.25rem + env(safe-area-inset-right)); bottom: calc(1.25rem + env(safe-area-inset-bottom));
      display: grid; place-items: center; width: 56px; height: 56px; border-radius: 50%; cursor: pointer;
      background: #0b5f98; color: #fff; box-shadow: 0 2px 6px rgb(0 0 0 / 18%), 0 8px 28px rgb(0 0 0 / 18%);
    }
    button:hover { background: #084a78; }
    button:focus-visible { outline: 3px solid #0b5f98; outline-offset: 3px; box-shadow: 0 0 0 3px #fff; }
    svg { width: 26px; height: 26px; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
    i { position: absolute; top: 2px; right: 2px; width: 14px; height: 14px; box-sizing: border-box; border-radius: 50%; background: #d9482b; border: 2px solid #fff; }
    dialog {
      all: unset; box-sizing: border-box; position: fixed; z-index: 2147483000; inset: auto;
      right: calc(1.25rem + env(safe-area-inset-right)); bottom: calc(5.75rem + env(safe-area-inset-bottom));
      width: min(400px, calc(100vw - 2.5rem)); height: min(640px, calc(100vh - 7.5rem)); height: min(640px, calc(100dvh - 7.5rem));
      overflow: hidden; border-radius: 18px; background: #f6f5f2; box-shadow: 0 0 0 1px rgb(0 0 0 / 8%), 0 16px 56px rgb(0 0 0 / 22%);
    }
    dialog:not([open]) { display: none; }
    dialog::backdrop { background: #f6f5f2; }
    iframe { display: block; width: 100%; height: 100%; border: 0; color-scheme: light dark; }
    @media (prefers-color-scheme: dark) {
      button { background: #7fc0ee; color: #0c1a25; }
      button:hover { background: #a9d6f6; }
      button:focus-visible { outline-color: #7fc0ee; box-shadow: 0 0 0 3px #14181c; }
      i { border-color: #14181c; background: #ff8f7d; }
      dialog { background: #14181c; box-shadow: 0 0 0 1px rgb(255 255 255 / 12%), 0 16px 56px rgb(0 0 0 / 50%); }
      dialog::backdrop { background: #14181c; }
    }
    @media (max-width: 480px), (max-height: 420px) {
      dialog { inset: 0; width: 100vw; height: 100vh; height: 100dvh; max-width: none; max-height: none; border-radius: 0; box-shadow: none; }
    }
    @media (prefers-reduced-motion: no-preference) {
      dialog[open] { animation: rise 0.2s ease-out; }
      @keyframes rise { from { opacity: 0; transform: translateY(10px); } }
    }
  `;

  const BUBBLE = "M12 4c-5 0-9 3.3-9 7.5 0 2.4 1.3 4.5 3.4 5.9V21l3.6-1.8c.7.1 1.3.2 2 .2 5 0 9-3.4 9-7.9S17 4 12 4Z";
  const DOWN = "M5 9l7 7 7-7";

  const phone = window.matchMedia("(max-width: 480px), (max-height: 420px)");
  const host = document.createElement("div");
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];

  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-haspopup", "dialog");
  const news = document.createElement("i");
  const dialog = document.createElement("dialog");
  dialog.id = "chat";
  dialog.setAttribute("aria-label", words.frame);
  button.setAttribute("aria-controls", dialog.id);
  const drawn = { closed: drawing(BUBBLE), open: drawing(DOWN) };
  button.append(drawn.closed, drawn.open, news);
  root.append(dialog, button);
  say(false);

  let frame = null;
  let ready = false;

  function drawing(path) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", path);
    svg.append(line);
    return svg;
  }

  function say(fresh) {
    const label = dialog.open ? words.close : fresh ? words.news : words.open;
    button.setAttribute("aria-expanded", String(dialog.open));
    button.setAttribute("aria-label", label);
    drawn.closed.toggleAttribute("hidden", dialog.open);
    drawn.open.toggleAttribute("hidden", !dialog.open);
    news.hidden = !fresh || dialog.open;
  }

  /** Token and conversation travel in the fragment, which goes into no request and no log. */
  function address() {
    const query = new URLSearchParams({ embed: "1" });
    if (lang) query.set("lang", lang);
    // An empty token too: else the chat would go on with the one of whoever was signed in before.
    const fragment = new URLSearchParams({ token: token ?? "" });
    if (conversation) fragment.set("conversation", conversation);
    if (title) fragment.set("title", title);
    return `${origin}/chat?${query}#${fragment}`;
  }

  function load() {
    frame = document.createElement("iframe");
    frame.title = words.frame;
    // The chat hears only the page that the browser names to it, whatever the shop's own policy about referrers.
    frame.referrerPolicy = "origin";
    frame.src = address();
    dialog.append(frame);
  }

  function tell(message) {
    if (ready) frame.contentWindow.postMessage(message, origin);
  }

  function show() {
    // On a phone it covers everything, so nothing behind it may be reached; beside a shop that is still in view it may.
    if (phone.matches) dialog.showModal();
    else dialog.show();
  }

  function open() {
    if (dialog.open) return;
    if (!host.isConnected) document.body.append(host);
    if (!frame) load();
    show();
    say(false);
    frame.focus();
    tell({ type: "forebay:open" });
  }

  function close() {
    if (!dialog.open) return;
    dialog.close();
    say(false);
    button.focus();
  }

  function setToken(fresh) {
    token = fresh;
    tell({ type: "forebay:token", token });
  }

  const heard = {
    "forebay:ready"() {
      ready = true;
      if (token) tell({ type: "forebay:token", token });
      if (dialog.open) tell({ type: "forebay:open" });
    },
    "forebay:close": close,
    "forebay:reply"() {
      if (!dialog.open) say(true);
    },
    "forebay:token-wanted"() {
      window.dispatchEvent(new CustomEvent("forebay:token-wanted"));
    },
  };

  window.addEventListener("message", ({ source, origin: from, data }) => {
    if (!frame || source !== frame.contentWindow || from !== origin) return;
    if (Object.hasOwn(heard, data?.type)) heard[data.type]();
  });
  button.addEventListener("click", () => (dialog.open ? close() : open()));
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    close();
  });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  phone.addEventListener("change", () => {
    if (!dialog.open) return;
    dialog.close();
    show();
  });

  if (document.body) document.body.append(host);
  else document.addEventListener("DOMContentLoaded", () => document.body.append(host), { once: true });

  window.Forebay = Object.freeze({ open, close, setToken });
})();
