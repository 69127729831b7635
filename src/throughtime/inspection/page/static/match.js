/** The units that are active throughout the selected steps, and where else they are. */
import { element } from "./elements.js";
import { passage } from "./passages.js";
import { numberIn, Question, unitButton } from "./question.js";
import { count } from "./text.js";

/** Starts the question in its panel; `selected(range)` is the text of selected steps. */
export function startMatch(panel, lens, selected) {
  const [name, selection] = [
    panel.querySelector("[data-value-name]"),
    panel.querySelector("[data-selection]"),
  ];
  const refresh = () => {
    name.textContent = lens.named(lens.value)?.label ?? "the value";
    selection.textContent = lens.range
      ? `Selected: “${selected(lens.range)}” (${count(lens.range[1] - lens.range[0], "step")}).`
      : "";
  };
  lens.onChange(refresh);
  return new Question(panel, lens, {
    name: "match",
    request: (form) => {
      if (!lens.value) return "Read a text first.";
      if (!lens.range)
        return "Select some steps: in the text, by dragging over the heat map, or with Shift and the arrow keys.";
      return {
        ...lens.input,
        name: lens.value,
        from: lens.range[0],
        to: lens.range[1],
        threshold: numberIn(form, "threshold"),
        is_strict: form.elements.is_strict.checked,
      };
    },
    show: (answer, request) => matches(lens, answer, request),
  });
}

function matches(lens, { units, places, steps }, request) {
  const where = `above ${request.threshold} throughout the selection${request.is_strict ? " and not on either side" : ""}`;
  if (units.length === 0) {
    return [
      element("p", {
        text: `No unit is ${where}. A lower threshold or a shorter selection finds more.`,
      }),
    ];
  }
  const chips = units.map((unit) => unitButton(lens, request.name, unit, String(unit)));
  const rows = places.map(({ tokens, from, to, count: number }) =>
    element(
      "li",
      {},
      element("span", { class: "numbers place-number", text: `${number} of ${units.length}` }),
      passage(tokens, {
        isLanguage: lens.run.is_language,
        isMarked: (step) => step >= from && step < to,
      }),
    ),
  );
  return [
    element("p", {
      text: `${count(units.length, "unit")} of ${lens.named(request.name)?.label} ${units.length === 1 ? "is" : "are"} ${where}:`,
    }),
    element("div", { class: "chips" }, ...chips),
    element("p", {
      class: "soft",
      text: rows.length
        ? `Places among ${steps} held-out steps where most of them are above it throughout:`
        : `Nowhere else among ${steps} held-out steps.`,
    }),
    element("ol", { class: "places" }, ...rows),
  ];
}
