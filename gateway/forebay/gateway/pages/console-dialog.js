import { make } from "./elements.js";

/** A modal dialog with these nodes; resolves to the value of the button that ended it, null when it was left. */
export function ask(title, nodes, buttons, { small = true, ready = () => true } = {}) {
  return new Promise((resolve) => {
    const dialog = make("dialog", { class: small ? "small" : "", "aria-labelledby": "dialog-title" });
    const made = buttons.map(([value, label, looks]) =>
      make("button", { type: "button", class: looks, onclick: () => dialog.close(value) }, label),
    );
    const look = () => made.slice(1).forEach((button) => (button.disabled = !ready()));
    dialog.append(make("h2", { id: "dialog-title" }, title), ...nodes, make("div", { class: "acts" }, ...made));
    dialog.addEventListener("input", look);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue || null);
    });
    document.body.append(dialog);
    look();
    dialog.showModal();
  });
}

/** Asks whether to do it. `word` has to be typed first, for what nobody should do by a slip. */
export async function confirmed(title, lines, label, { harm = false, word = null } = {}) {
  const typed = make("input", { autocomplete: "off", spellcheck: "false" });
  const nodes = lines.map((line) => make("p", {}, line));
  if (word !== null) nodes.push(make("label", {}, `Type ${word} to go on`, typed));
  const buttons = [["", "Cancel", ""], ["do", label, harm ? "harm" : "main"]];
  return (await ask(title, nodes, buttons, { ready: () => word === null || typed.value.trim() === word })) === "do";
}

let hiding;

/** A line in the corner, read out by screen readers; failures stay longer. */
export function tell(text, { bad = false } = {}) {
  const toast = document.getElementById("toast");
  toast.textContent = text;
  toast.className = bad ? "bad" : "";
  toast.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (toast.hidden = true), bad ? 12_000 : 5_000);
}
