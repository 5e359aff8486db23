/** Where the user writes: Enter sends, Shift+Enter begins a line, and neither while an IME composes. */
export class Composer {
  #form;
  #field;
  #button;
  #onSend;

  constructor({ form, onSend, draft, onDraft }) {
    this.#form = form;
    this.#field = form.querySelector("textarea");
    this.#button = form.querySelector("[type=submit]");
    this.#onSend = onSend;
    this.#field.value = draft ?? "";
    this.#grow();
    this.#field.addEventListener("input", () => {
      this.#grow();
      onDraft(this.#field.value);
    });
    this.#field.addEventListener("keydown", (event) => {
      // 229: Safari ends the composition before it tells of the Enter that ended it.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#send(onDraft);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(onDraft);
    });
  }

  say(words) {
    this.#form.setAttribute("aria-label", words.composer);
    this.#field.setAttribute("aria-label", words.composer);
    this.#field.placeholder = words.placeholder;
    this.#button.setAttribute("aria-label", words.send);
    this.#button.title = words.send;
  }

  focus() {
    this.#field.focus();
  }

  #send(onDraft) {
    const text = this.#field.value.trim();
    if (!text) {
      this.focus();
      return;
    }
    this.#field.value = "";
    this.#grow();
    onDraft("");
    this.#onSend(text);
    this.focus();
  }

  /** For browsers without `field-sizing`; a style set through the DOM is no inline style to the security policy. */
  #grow() {
    this.#form.classList.toggle("empty", this.#field.value.trim() === "");
    if (CSS.supports("field-sizing", "content")) return;
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight}px`;
  }
}
