const SVG = "http://www.w3.org/2000/svg";

/** `make("p", {class: "note", hidden: true}, "text", node)`; no attribute of it is ever parsed as HTML. */
export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value == null) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null && child !== false));
  return node;
}

export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

export const ICONS = {
  send: "M12 19V5M5.5 11.5 12 5l6.5 6.5",
  anew: "M12 20h8M4 20l1-4L16.5 4.5a2.1 2.1 0 0 1 3 3L8 19l-4 1Z",
  stop: "M7.5 7.5h9v9h-9Z",
  good: "M7 10.5v9H4v-9h3Zm0 0 4-7a2 2 0 0 1 2 2v4h5.5a1.5 1.5 0 0 1 1.5 1.8l-1.3 6.5a2 2 0 0 1-2 1.7H7",
  bad: "M7 13.5v-9H4v9h3Zm0 0 4 7a2 2 0 0 0 2-2v-4h5.5a1.5 1.5 0 0 0 1.5-1.8l-1.3-6.5a2 2 0 0 0-2-1.7H7",
  close: "M6 6l12 12M18 6 6 18",
  down: "M12 5v14M5.5 12.5 12 19l6.5-6.5",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM4.5 20.5a7.5 7.5 0 0 1 15 0",
};

/** Puts `fragment` into `parent` and touches only the children that differ, so that what is selected or focused stays. */
export function patch(parent, fragment) {
  const wanted = [...fragment.childNodes];
  wanted.forEach((node, index) => {
    const present = parent.childNodes[index];
    if (!present) parent.append(node);
    else if (!present.isEqualNode(node)) present.replaceWith(node);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}
