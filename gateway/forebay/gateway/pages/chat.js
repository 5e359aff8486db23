import { Access } from "./access.js";
import { Composer } from "./composer.js";
import { Conversation, isAwaited } from "./conversation.js";
import { ICONS, icon, make } from "./elements.js";
import { Gateway } from "./gateway.js";
import { forget, recall, remember } from "./memory.js";
import { Status } from "./status.js";
import { Surroundings } from "./surroundings.js";
import { Transcript } from "./transcript.js";
import { WORDS, chooseLanguage } from "./words.js";

const $ = (id) => document.getElementById(id);

const access = new Access();
const gateway = new Gateway(access);
let words = WORDS[chooseLanguage(recall("lang"))];
let conversation;
let refused = null;

document.documentElement.classList.toggle("embedded", access.embedded);

const surroundings = new Surroundings({
  embedded: access.embedded,
  onToken(token) {
    if (token === access.token) return;
    access.renew(token);
    refused = null;
    conversation.renewed();
  },
  onOpen: () => composer.focus(),
});

const status = new Status({ line: $("status"), spoken: $("queue"), words });

const transcript = new Transcript({
  log: $("log"),
  words,
  acts: {
    retry: (turn) => {
      conversation.retry(turn);
      composer.focus();
    },
    sendAgain: (turn) => {
      conversation.sendAgain(turn);
      said();
    },
    decide: (turn, accept) => {
      conversation.decide(turn, accept);
      said();
    },
    rate: (turn, value, text) => conversation.rate(turn, value, text),
  },
  onEnd: (atEnd) => {
    $("latest").hidden = atEnd;
  },
});

const composer = new Composer({
  form: $("composer"),
  onSend: say,
  draft: recall("draft"),
  onDraft: (text) => remember("draft", text),
});

function say(text) {
  conversation.say(text);
  said();
}

/** On a phone the keyboard would cover what the user just asked for. */
function said() {
  transcript.toEnd();
  if (matchMedia("(pointer: fine)").matches) composer.focus();
}

function converse() {
  conversation = new Conversation({
    id: access.conversation,
    gateway,
    onTurn(turn) {
      transcript.show(turn);
      status.queue(conversation.turns);
      greet();
      offerStop();
      if (turn.reply) surroundings.tell("reply");
      if (turn.problem?.code === "unauthorised") unauthorised();
    },
    onHistory() {
      transcript.reset(conversation.turns);
      greet();
    },
    onState(state) {
      status.state = state;
      if (state === "unauthorised") unauthorised();
    },
  });
  transcript.reset(conversation.turns);
  greet();
  offerStop();
  conversation.begin();
}

/** The shop's page may have a newer token. It is asked once for each that was refused. */
function unauthorised() {
  status.state = "unauthorised";
  if (refused === access.token) return;
  refused = access.token;
  surroundings.tell("token-wanted");
}

/** Whoever has stopped by keyboard must not lose their place with the button. */
function offerStop() {
  const waits = [...conversation.turns].some((turn) => isAwaited(turn) && !turn.stopping);
  if (!waits && document.activeElement === $("stop")) composer.focus();
  $("stop").hidden = !waits;
}

function greet() {
  $("greeting").hidden = conversation.turns.size > 0;
}

function speak() {
  document.documentElement.lang = words.code === "zh" ? "zh-CN" : words.code;
  document.title = access.title || words.title;
  $("title").textContent = access.title || words.title;
  $("hello").textContent = words.greeting;
  $("introduction").textContent = words.introduction;
  $("hint").textContent = words.hint;
  $("log").setAttribute("aria-label", words.transcript);
  $("examples").setAttribute("aria-label", words.examplesLabel);
  $("examples").replaceChildren(
    ...words.examples.map((text) => make("li", {}, make("button", { type: "button", onclick: () => say(text) }, text))),
  );
  $("language").textContent = words.other.label;
  $("language").lang = words.other.code;
  $("language").setAttribute("aria-label", words.other.label);
  label($("anew"), words.anew);
  label($("close"), words.close);
  label($("latest"), words.latest);
  label($("stop"), words.stop);
  composer.say(words);
  status.words = words;
  transcript.words = words;
}

function label(button, text) {
  button.setAttribute("aria-label", text);
  button.title = text;
}

for (const [id, path] of [["anew", ICONS.anew], ["close", ICONS.close], ["latest", ICONS.down], ["send", ICONS.send], ["stop", ICONS.stop]]) {
  $(id).append(icon(path));
}
$("close").hidden = !surroundings.known;
$("anew").hidden = !access.canBeginAnew;

$("language").addEventListener("click", () => {
  words = WORDS[words.other.code];
  remember("lang", words.code);
  const address = new URL(location.href);
  if (address.searchParams.has("lang")) {
    // Else a reload would go back to what the address says.
    address.searchParams.set("lang", words.code);
    history.replaceState(history.state, "", address);
  }
  speak();
  transcript.reset(conversation.turns);
});

$("anew").addEventListener("click", () => {
  conversation.end();
  forget(`conversation:${access.conversation}`);
  access.beginAnew();
  converse();
  composer.focus();
});

$("stop").addEventListener("click", () => conversation.stop());

$("latest").addEventListener("click", () => {
  transcript.toEnd();
  composer.focus();
});

$("close").addEventListener("click", () => surroundings.tell("close"));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing) surroundings.tell("close");
});

// Another link to this page, opened in the same tab, changes nothing but the fragment.
window.addEventListener("hashchange", () => location.reload());
window.addEventListener("online", () => conversation.online());
window.addEventListener("offline", () => {
  status.state = "offline";
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") conversation.lookedAt();
  else conversation.save();
});
window.addEventListener("pagehide", () => conversation.save());

speak();
converse();
if (!access.embedded && matchMedia("(pointer: fine)").matches) composer.focus();
