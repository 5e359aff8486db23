/**
 * A safe subset of Markdown as DOM: paragraphs, line breaks, bold, italic, code, lists, http and https links. What a model
 * writes is never parsed as HTML; whatever is not of the subset stays the text it was.
 */

const FENCE = /^\s{0,3}(`{3,}|~{3,})\s*([\w+#.-]*)\s*$/;
const HEADING = /^\s{0,3}#{1,6}\s+(.*?)\s*#*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const DEEPEST = 6;
const LONGEST_LABEL = 500;
const LONGEST_URL = 2048;

export function markdown(text) {
  const fragment = document.createDocumentFragment();
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    if (line.trim() === "") {
      at += 1;
    } else if (fence) {
      at = codeBlock(fragment, lines, at, fence[1]);
    } else if (HEADING.test(line)) {
      const heading = element("p", "heading");
      heading.append(inline(HEADING.exec(line)[1]));
      fragment.append(heading);
      at += 1;
    } else if (ITEM.test(line)) {
      at = list(fragment, lines, at);
    } else {
      at = paragraph(fragment, lines, at);
    }
  }
  return fragment;
}

function codeBlock(parent, lines, from, fence) {
  let at = from + 1;
  const closes = (line) => line.trim().startsWith(fence) && line.trim().replaceAll(fence[0], "") === "";
  const code = [];
  while (at < lines.length && !closes(lines[at])) {
    code.push(lines[at]);
    at += 1;
  }
  const block = document.createElement("pre");
  // It scrolls sideways, and what scrolls has to be reachable by keyboard.
  block.tabIndex = 0;
  block.append(element("code", "", code.join("\n")));
  parent.append(block);
  return at + 1;
}

function paragraph(parent, lines, from) {
  const block = document.createElement("p");
  let at = from;
  while (at < lines.length && lines[at].trim() !== "" && !startsBlock(lines[at])) at += 1;
  lines.slice(from, at).forEach((line, index) => {
    if (index) block.append(document.createElement("br"));
    block.append(inline(line.trim()));
  });
  parent.append(block);
  return at;
}

function startsBlock(line) {
  return FENCE.test(line) || HEADING.test(line) || ITEM.test(line);
}

function list(parent, lines, from) {
  const open = [];
  let at = from;
  for (; at < lines.length; at += 1) {
    const line = lines[at];
    const item = ITEM.exec(line);
    if (item) {
      place(parent, open, item);
    } else if (line.trim() === "") {
      // A blank line ends the list unless it goes on behind it.
      if (at + 1 >= lines.length || !ITEM.test(lines[at + 1])) break;
    } else if (/^\s{2,}/.test(line)) {
      open.at(-1).last.append(document.createElement("br"), inline(line.trim()));
    } else {
      break;
    }
  }
  return at;
}

function place(parent, open, [, space, marker, text]) {
  const indent = space.replaceAll("\t", "    ").length;
  const ordered = /\d/.test(marker);
  while (open.length && indent < open.at(-1).indent) open.pop();
  const top = open.at(-1);
  const deeper = top && indent > top.indent + 1 && open.length < DEEPEST;
  if (!top || deeper || top.ordered !== ordered) {
    if (top && !deeper) open.pop();
    const within = deeper ? top.last : (open.at(-1)?.last ?? parent);
    const node = document.createElement(ordered ? "ol" : "ul");
    if (ordered && Number.parseInt(marker, 10) !== 1) node.start = Number.parseInt(marker, 10);
    within.append(node);
    open.push({ node, indent, ordered, last: null });
  }
  const last = document.createElement("li");
  last.append(inline(text));
  open.at(-1).node.append(last);
  open.at(-1).last = last;
}

/** One line. Every mark is looked for from where it opens; one that is known not to close any more is not looked for again. */
function inline(text) {
  const fragment = document.createDocumentFragment();
  const gone = new Set();
  let plain = "";
  let at = 0;
  const flush = () => {
    if (plain) fragment.append(plain);
    plain = "";
  };
  while (at < text.length) {
    const found = markAt(text, at, gone);
    if (found) {
      flush();
      fragment.append(found.node);
      at = found.end;
    } else if (text[at] === "\\" && /[\\`*_[\]()#+.!-]/.test(text[at + 1] ?? "")) {
      plain += text[at + 1];
      at += 2;
    } else {
      // A run of one mark is taken at once, so that its rest does not open anything.
      const end = text[at] === "`" ? runEnd(text, at) : at + 1;
      plain += text.slice(at, end);
      at = end;
    }
  }
  flush();
  return fragment;
}

function markAt(text, at, gone) {
  switch (text[at]) {
    case "`":
      return codeAt(text, at, gone);
    case "*":
    case "_":
      return emphasisAt(text, at, gone);
    case "[":
      return linkAt(text, at, gone);
    case "h":
      return addressAt(text, at);
    default:
      return null;
  }
}

function find(text, mark, from, gone) {
  if (gone.has(mark)) return -1;
  const at = text.indexOf(mark, from);
  if (at < 0) gone.add(mark);
  return at;
}

function runEnd(text, at) {
  let end = at;
  while (text[end] === text[at]) end += 1;
  return end;
}

function codeAt(text, at, gone) {
  const from = runEnd(text, at);
  const ticks = text.slice(at, from);
  let close = find(text, ticks, from, gone);
  while (close >= 0 && runEnd(text, close) !== close + ticks.length) {
    close = find(text, ticks, runEnd(text, close), gone);
  }
  if (close < 0) return null;
  const code = text.slice(from, close);
  return { node: element("code", "", code.trim() ? code.replace(/^ (.*) $/, "$1") : code), end: close + ticks.length };
}

function emphasisAt(text, at, gone) {
  const mark = text[at];
  const strong = text[at + 1] === mark;
  const marks = strong ? mark + mark : mark;
  const from = at + marks.length;
  if (/^$|\s/.test(text[from] ?? "") || text[from] === mark) return null;
  // snake_case_names are no emphasis.
  if (mark === "_" && /[\p{L}\p{N}]/u.test(text[at - 1] ?? "")) return null;
  const close = find(text, marks, from, gone);
  if (close <= from || /\s/.test(text[close - 1])) return null;
  if (mark === "_" && /[\p{L}\p{N}]/u.test(text[close + marks.length] ?? "")) return null;
  const node = document.createElement(strong ? "strong" : "em");
  node.append(inline(text.slice(from, close)));
  return { node, end: close + marks.length };
}

function linkAt(text, at, gone) {
  const middle = find(text, "](", at, gone);
  if (middle < 0 || middle - at > LONGEST_LABEL) return null;
  const length = text.slice(middle, middle + LONGEST_URL).indexOf(")");
  if (length < 0) return null;
  const close = middle + length;
  const label = text.slice(at + 1, middle);
  const link = anchor(text.slice(middle + 2, close).trim(), label);
  return link && label.trim() && !label.includes("[") ? { node: link, end: close + 1 } : null;
}

function addressAt(text, at) {
  const ahead = text.slice(at, at + 8);
  if (!ahead.startsWith("http://") && !ahead.startsWith("https://")) return null;
  const [long] = /^[^\s<>"'`*，。；：！？、（）【】「」《》]+/u.exec(text.slice(at, at + LONGEST_URL));
  const address = long.replace(/[.,;:!?)\]]+$/, "");
  const link = anchor(address, address);
  return link ? { node: link, end: at + address.length } : null;
}

function anchor(address, label) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") return null;
  const link = element("a", "", label);
  link.href = url.href;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  // Where it leads, whatever its label says.
  link.title = url.href;
  return link;
}

function element(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
