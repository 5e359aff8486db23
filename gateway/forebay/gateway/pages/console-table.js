import { make } from "./elements.js";

/** A cell's content and looks: `cell("text", {class: "bad", title: "…"})`; content may be a node. */
export function cell(content, attributes = {}) {
  return { content, attributes };
}

/**
 * A table whose rows are kept by key and changed only where they differ, so that a row under the pointer or with the focus stays
 * while numbers change every second. Beyond `most` rows the rest waits behind a button: a page of 5,000 rows helps nobody.
 */
export class Table {
  #columns;
  #most;
  #shown;
  #rows = new Map();
  #body = make("tbody");
  #empty;
  #nothing;
  #more = make("button", { type: "button", class: "more", hidden: true });
  #last = [];

  /** Columns are `[title, class]`; a title may be a node. */
  constructor(caption, columns, { most = 100, empty = "Nothing." } = {}) {
    this.#columns = columns;
    this.#most = this.#shown = most;
    this.#nothing = empty;
    this.#empty = make("p", { class: "empty" }, "Reading…");
    const heads = columns.map(([title, looks]) => make("th", { scope: "col", class: looks }, title));
    const table = make("table", {}, make("caption", { class: "unseen" }, caption), make("thead", {}, make("tr", {}, ...heads)), this.#body);
    this.#more.addEventListener("click", () => {
      this.#shown += 5 * this.#most;
      this.show(this.#last);
    });
    this.node = make("div", {}, make("div", { class: "scroll" }, table), this.#empty, this.#more);
  }

  /** Rows are `{key, cells}`, in order; a cell is text or what `cell` makes. */
  show(rows) {
    this.#last = rows;
    const visible = rows.slice(0, this.#shown);
    const keys = new Set(visible.map((row) => row.key));
    for (const [key, row] of this.#rows) {
      if (!keys.has(key)) {
        row.node.remove();
        this.#rows.delete(key);
      }
    }
    let before = this.#body.firstChild;
    for (const { key, cells } of visible) {
      const row = this.#rows.get(key) ?? this.#add(key);
      this.#fill(row, cells);
      if (row.node === before) before = before.nextSibling;
      else this.#body.insertBefore(row.node, before);
    }
    this.#empty.textContent = this.#nothing;
    this.#empty.hidden = rows.length > 0;
    this.#more.hidden = rows.length <= visible.length;
    this.#more.textContent = `${(rows.length - visible.length).toLocaleString("en")} more rows`;
  }

  #add(key) {
    const cells = this.#columns.map(([, looks]) => ({ node: make("td", { class: looks }), written: undefined, looks }));
    const row = { node: make("tr", {}, ...cells.map(({ node }) => node)), cells };
    this.#rows.set(key, row);
    return row;
  }

  #fill(row, cells) {
    cells.forEach((given, index) => {
      const place = row.cells[index];
      const { content, attributes } = given?.attributes ? given : { content: given, attributes: {} };
      if (content instanceof Node) {
        if (!place.node.firstChild?.isEqualNode(content) || attributes.anew) place.node.replaceChildren(content);
        place.written = undefined;
      } else if (place.written !== content) {
        place.node.textContent = content ?? "";
        place.written = content;
      }
      const looks = [place.looks, attributes.class].filter(Boolean).join(" ");
      if (place.node.className !== looks) place.node.className = looks;
      if ((attributes.title ?? "") !== place.node.title) place.node.title = attributes.title ?? "";
    });
  }
}
