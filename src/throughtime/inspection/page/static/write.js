/** What the model writes from a step on, with and without units that are held at a value. */
import { element } from "./elements.js";
import { scaleFor } from "./matrix.js";
import { passage } from "./passages.js";
import { numberIn, Question } from "./question.js";
import { count, plain, visible } from "./text.js";

/** So many tokens of the text stand before what is written. */
const SHOWN_BEFORE = 30;

/** Starts the question in its panel.
 *
 * `text()`: the text of the input, `tokens()`: its tokens; `rangeOf(name, unit)`: the least and the
 * largest value of a unit in the text; `onTake(text)` gets what was written.
 */
export function startWrite(panel, lens, { text, tokens, rangeOf, onTake }) {
  const holds = new Holds(panel, lens, rangeOf);
  const place = panel.querySelector("[data-place]");
  const at = () => (lens.step >= 0 ? lens.step + 1 : tokens().length);
  const question = new Question(panel, lens, {
    name: "write",
    request: (form) =>
      lens.run.is_language
        ? {
            text: text(),
            at: at(),
            length: numberIn(form, "length"),
            ...choice(form),
            seed: numberIn(form, "seed"),
            set: holds.set,
          }
        : "Only a language model writes on.",
    asks: (request) => (request.set.length ? [request, { ...request, set: [] }] : [request]),
    ask: async (client, request) => {
      const free = client.ask("write", { ...request, set: [] });
      const bound = request.set.length ? client.ask("write", request) : null;
      // The text may have changed when the answers are here.
      const begin = tokens().slice(0, request.at);
      return { begin, free: await free, bound: await bound };
    },
    show: (answer, request) => texts(answer, request, onTake),
  });
  holds.onChange = () => question.refresh();
  lens.onChange(() => {
    const last = tokens()[at() - 1];
    place.textContent =
      last === undefined ? "from the start" : `after step ${at() - 1}, “${visible(last)}”`;
  });
  return question;
}

/** From which tokens the next one is drawn; temperature 0 always takes the likeliest. */
function choice(form) {
  const [temperature, k, p] = ["temperature", "top_k", "top_p"].map((name) =>
    Number(form.elements[name].value),
  );
  // Top k 0 and nucleus 1 leave all tokens.
  const [top_k, top_p] = temperature === 0 ? [null, null] : [k || null, p < 1 ? p : null];
  return { temperature, top_k, top_p };
}

/** The units that are held, with a slider each. */
class Holds {
  set = [];
  onChange = () => {};

  constructor(panel, lens, rangeOf) {
    Object.assign(this, { lens, rangeOf });
    this.list = panel.querySelector("#holds");
    this.note = panel.querySelector("#hold-note");
    this.button = panel.querySelector("#hold");
    this.button.addEventListener("click", () => this.#add(lens.value, lens.unit));
    lens.onChange((changes) => {
      if (changes.has("runIndex")) {
        this.set = [];
        this.list.replaceChildren();
      }
      this.#refresh();
    });
  }

  #refresh() {
    const value = this.lens.named(this.lens.value);
    this.button.disabled = !value?.is_state;
    this.note.textContent =
      value && !value.is_state ? "Only a unit of a state can be held; pick one." : "";
  }

  #add(name, unit) {
    if (this.set.some((held) => held.name === name && held.unit === unit)) return;
    const [low, high] = this.rangeOf(name, unit);
    // The slider goes beyond the values that the text gives the unit.
    const end = scaleFor(2 * Math.max(-low, high, 0.5));
    const held = { name, unit, value: Number((-low > high ? low : high).toFixed(2)) };
    const output = element("output", { class: "numbers", text: plain(held.value, 2) });
    const label = this.lens.unitName(name, unit);
    const slider = element("input", {
      type: "range",
      min: -end,
      max: end,
      step: end / 100,
      value: held.value,
      "aria-label": `Value of ${label}`,
      on: {
        input: () => {
          held.value = Number(slider.value);
          output.textContent = plain(held.value, 2);
          this.onChange();
        },
      },
    });
    const row = element(
      "div",
      { class: "hold" },
      element("span", { text: label }),
      slider,
      output,
      element("button", {
        type: "button",
        class: "quiet",
        text: "Release",
        "aria-label": `Release ${label}`,
        on: {
          click: () => {
            this.set = this.set.filter((other) => other !== held);
            row.remove();
            this.button.focus();
            this.onChange();
          },
        },
      }),
    );
    this.set = [...this.set, held];
    this.list.append(row);
    this.onChange();
  }
}

function texts({ begin, free, bound }, request, onTake) {
  const before = begin.slice(-SHOWN_BEFORE);
  const both = bound
    ? [
        ["Without", free, bound],
        [`With ${count(request.set.length, "unit")} held`, bound, free],
      ]
    : [["Written", free, null]];
  const columns = both.map(([title, answer, other]) => {
    const differs = other
      ? answer.tokens.findIndex((token, step) => token !== other.tokens[step])
      : -1;
    const shown = passage([...before, ...answer.tokens], {
      isLanguage: true,
      keepsLines: true,
      isMarked: (step) => differs >= 0 && step === before.length + differs,
    });
    shown.querySelectorAll("[data-step]").forEach((span, number) => {
      const likely = answer.top[number - before.length];
      if (likely)
        span.title = likely.map(([token, p]) => `${visible(token)} ${plain(p, 3)}`).join("   ");
      else span.classList.add("soft");
    });
    return element(
      "div",
      { class: "written" },
      element("h3", { text: title }),
      shown,
      element("p", { class: "soft small", text: summary(answer, differs, other) }),
      element("button", {
        type: "button",
        text: "Take into the text",
        on: { click: () => onTake([...begin, ...answer.tokens].join("")) },
      }),
    );
  });
  return [element("div", { class: "side-by-side" }, ...columns)];
}

function summary(answer, differs, other) {
  const likeliest = answer.tokens.filter(
    (token, step) => answer.top[step][0]?.[0] === token,
  ).length;
  const same = differs < 0 ? "the same text as the other" : `differs from token ${differs + 1} on`;
  return (
    `${count(answer.tokens.length, "token")}, ${likeliest} of them the likeliest one${other ? `; ${same}` : ""}. ` +
    "Hold the pointer over a token for what else was likely."
  );
}
