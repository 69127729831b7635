/** What all questions of the page have in common: a form, an answer, and what hinders them. */
import { showErrorIn } from "./alerts.js";
import { element, showSliders } from "./elements.js";
import { LensError } from "./requests.js";

/** Makes a panel ask a question.
 *
 * Args: panel: with a <form>, and an element [data-answer]. lens: what the page looks at. question:
 * {name; request(form): the request without the run that is open, or a sentence that says what is
 * missing; show(answer, request): nodes; ask (optional): (client, request) -> answer, if one request
 * is not enough; asks (optional): (request) -> the requests that must have an answer}.
 */
export class Question {
  #last = null;
  #number = 0;

  constructor(panel, lens, question) {
    Object.assign(this, { panel, lens, question });
    this.form = panel.querySelector("form");
    this.answer = panel.querySelector("[data-answer]");
    this.button = this.form.querySelector("button.primary");
    this.note = element("p", { class: "soft small hindrance", hidden: true });
    this.status = element("p", { class: "soft small", role: "status" });
    this.form.after(this.note, this.status);
    showSliders(this.form);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    this.form.addEventListener("input", () => this.refresh());
    lens.onChange((changes) => {
      if (changes.has("runIndex")) this.#forget();
      if (changes.has("palette")) this.#show();
      this.refresh();
    });
  }

  /** Says what is missing, or enables the button. */
  refresh() {
    const reason = this.#hindrance();
    this.button.disabled = reason !== "";
    this.note.hidden = reason === "";
    if (this.note.textContent !== reason) this.note.textContent = reason;
  }

  async ask() {
    if (this.#hindrance() !== "") return;
    const request = this.#request();
    this.#number += 1;
    const number = this.#number;
    const whole = this.#whole(request);
    this.#say("Asking…", true);
    try {
      const ask = this.question.ask ?? ((client, asked) => client.ask(this.question.name, asked));
      const answer = await ask(this.lens.client, whole);
      if (number !== this.#number) return;
      this.#last = [answer, whole];
      this.#show();
      this.#say(summaryOf(this.answer), false);
    } catch (error) {
      if (number !== this.#number) return;
      this.#last = null;
      this.#say("", false);
      showErrorIn(this.answer, error);
    }
  }

  /** Tells that the question is asked; once it is answered, a screen reader hears the first words. */
  #say(text, isBusy) {
    this.panel.setAttribute("aria-busy", String(isBusy));
    this.status.classList.toggle("hidden-title", !isBusy);
    this.status.textContent = text;
  }

  /** The request, or a sentence that says what it lacks. */
  #request() {
    try {
      return this.question.request(this.form);
    } catch (error) {
      if (!(error instanceof LensError)) throw error;
      return error.message;
    }
  }

  /** The request with the run, unless it names the runs itself. */
  #whole(request) {
    return "runs" in request ? request : { run: this.lens.runIndex, ...request };
  }

  #hindrance() {
    const { client, run } = this.lens;
    const { name, asks = (asked) => [asked] } = this.question;
    const isAnswered = (request) =>
      asks(this.#whole(request)).every((asked) => client.has(name, asked));
    const request = this.#request();
    const isKnown =
      !client.isOffline || (typeof request === "string" ? client.has(name) : isAnswered(request));
    if (!isKnown) {
      return (
        "This page works without a program and does not hold this answer. For all answers run: " +
        `throughtime inspect ${run.folder} --serve`
      );
    }
    return typeof request === "string" ? request : "";
  }

  #forget() {
    this.#number += 1;
    this.#last = null;
    this.#say("", false);
    this.answer.replaceChildren();
  }

  #show() {
    if (this.#last) this.answer.replaceChildren(...this.question.show(...this.#last));
  }
}

/** The first sentences of an answer. */
function summaryOf(answer) {
  const first = answer.querySelector("p, caption, h3");
  return first ? first.textContent : "The answer is below.";
}

/** The number in a form's field; throws a LensError if there is none. */
export function numberIn(form, name) {
  // A field may be named like a property of the collection, such as `length`.
  const field = form.elements.namedItem(name);
  if (field.value.trim() === "" || !field.validity.valid) {
    throw new LensError(
      `${field.labels[0]?.firstChild.textContent.trim()}: ${field.validationMessage || "expected a number."}`,
    );
  }
  return Number(field.value);
}

/** A table; `rows`: arrays of nodes or texts, the first of each row its header. */
export function table(caption, head, rows, kind = "") {
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element(
      "table",
      { class: `data ${kind}` },
      element("caption", { text: caption }),
      element(
        "thead",
        {},
        element("tr", {}, ...head.map((text) => element("th", { scope: "col", text }))),
      ),
      element(
        "tbody",
        {},
        ...rows.map((cells) =>
          element(
            "tr",
            {},
            ...cells.map((cell, index) =>
              element(index === 0 ? "th" : "td", index === 0 ? { scope: "row" } : {}, cell),
            ),
          ),
        ),
      ),
    ),
  );
}

/** A button that picks a unit; `text`: what it says, if less than its whole name. */
export function unitButton(lens, name, unit, text = lens.unitName(name, unit)) {
  return element("button", {
    type: "button",
    class: "unit",
    text,
    "aria-label": lens.unitName(name, unit),
    on: { click: () => lens.pick(name, unit) },
  });
}
