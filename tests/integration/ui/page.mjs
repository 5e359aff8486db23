// A page with useChat, unmodified, in jsdom. Says what it sees as JSON lines, and does what it is told line by line.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const { MODULES, API, CHAT, TOKEN, RESUME, STOPS } = process.env;
const require = createRequire(`${MODULES}/package.json`);
const { JSDOM } = require('jsdom');

const dom = new JSDOM('<!doctype html><div id="page"></div>', { url: 'http://localhost/' });
Object.assign(globalThis, { window: dom.window, document: dom.window.document, IS_REACT_ACT_ENVIRONMENT: false });
globalThis.navigator ??= dom.window.navigator; // Node.js has its own from 21 on

const { createElement, useEffect } = require('react');
const { createRoot } = require('react-dom/client');
const { DefaultChatTransport } = await import(pathToFileURL(require.resolve('ai')));
const { useChat } = await import(pathToFileURL(require.resolve('@ai-sdk/react')));

const say = fields => process.stdout.write(`${JSON.stringify(fields)}\n`);

function Page({ transport, chat }) {
  const { messages, status, error, sendMessage, regenerate, stop } = useChat({
    id: CHAT,
    resume: RESUME === 'yes',
    transport,
    onData: part => say({ data: part }),
  });
  Object.assign(chat, { sendMessage, regenerate, stop, messages });
  useEffect(() => void say({ status, error: error?.message ?? null, messages }), [messages, status, error]);
  return messages.map(message => createElement('p', { key: message.id }, message.role));
}

const headers = TOKEN ? { Authorization: `Bearer ${TOKEN}` } : {};
const api = `${API}/v1/ui/chat`;

class StoppingTransport extends DefaultChatTransport {
  sendMessages(options) {
    const stop = `${api}/${encodeURIComponent(options.chatId)}/stop`;
    options.abortSignal?.addEventListener('abort', () => void fetch(stop, { method: 'POST', headers, keepalive: true }));
    return super.sendMessages(options);
  }
}

const Transport = STOPS === 'yes' ? StoppingTransport : DefaultChatTransport;
const chat = {};
createRoot(document.getElementById('page')).render(createElement(Page, { chat, transport: new Transport({ api, headers }) }));

async function complete({ text, user }) {
  const { default: OpenAISdk } = await import(pathToFileURL(require.resolve('openai')));
  const client = new OpenAISdk({ apiKey: 'none', baseURL: `${API}/v1`, dangerouslyAllowBrowser: true });
  const asked = { model: 'forebay', user, messages: [{ role: 'user', content: text }] };
  const whole = await client.chat.completions.create(asked);
  let streamed = '';
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    streamed += chunk.choices[0]?.delta?.content ?? '';
  }
  say({ whole: whole.choices[0].message.content, streamed });
}

const deeds = {
  send: ({ message, options }) => chat.sendMessage(message, options),
  regenerate: () => chat.regenerate(),
  stop: () => chat.stop(),
  complete,
};
for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line);
  Promise.resolve(deeds[told.do](told)).catch(error => say({ failed: String(error) }));
}
process.exit(0);
