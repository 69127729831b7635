/** Where the picked unit fires: the held-out places with its largest absolute values. */
import { scaleFor } from "./matrix.js";
import { passage } from "./passages.js";
import { numberIn, Question } from "./question.js";
import { element } from "./elements.js";
import { count, signed, visible } from "./text.js";

/** Starts the question in its panel. */
export function startFires(panel, lens) {
  const name = panel.querySelector("[data-unit-name]");
  lens.onChange(() => {
    name.textContent = lens.value ? lens.unitName(lens.value, lens.unit) : "the unit";
  });
  return new Question(panel, lens, {
    name: "fires",
    request: (form) =>
      lens.value
        ? { name: lens.value, unit: lens.unit, most: numberIn(form, "most") }
        : "Read a text first.",
    show: (answer, request) => places(lens, answer, request),
  });
}

function places(lens, answer, request) {
  const { isLanguage } = { isLanguage: lens.run.is_language };
  const scale = scaleFor(
    Math.max(...answer.places.flatMap((place) => place.values.map(Math.abs)), 0),
  );
  const rows = answer.places.map(({ tokens, values, at }) =>
    element(
      "li",
      {},
      element("span", { class: "numbers place-number", text: signed(values[at], 3) }),
      passage(tokens, {
        isLanguage,
        tint: (step) => lens.palette.tint(values[step], scale),
        isMarked: (step) => step === at,
      }),
    ),
  );
  const strongest = answer.places[0];
  const summary = strongest
    ? `${lens.unitName(request.name, request.unit)}: the ${count(rows.length, "place")} with the largest values among ` +
      `${answer.steps} steps, the largest at “${visible(strongest.tokens[strongest.at])}”. Colours from −${scale} to ${scale}.`
    : "No place.";
  return [
    element("p", { class: "soft", text: summary }),
    element("ol", { class: "places" }, ...rows),
  ];
}
