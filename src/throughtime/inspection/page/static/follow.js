/** The units that follow a property of the held-out text most. */
import { element, fill } from "./elements.js";
import { Question, table, unitButton } from "./question.js";
import { signed } from "./text.js";

const PATTERN = "";

/** Starts the question in its panel. */
export function startFollow(panel, lens) {
  const { property, pattern } = panel.querySelector("form").elements;
  const offer = () => {
    fill(property, [...lens.run.properties, [PATTERN, "a regular expression"]]);
    toggle();
  };
  const toggle = () => {
    pattern.closest("label").hidden = property.value !== PATTERN;
  };
  property.addEventListener("input", toggle);
  lens.onChange((changes) => {
    if (changes.has("runIndex") || changes.has("runs")) offer();
  });
  return new Question(panel, lens, {
    name: "follow",
    request: () => {
      if (property.value !== PATTERN) return { property: property.value };
      return pattern.value ? { pattern: pattern.value } : "Type a regular expression.";
    },
    show: (answer, request) => units(lens, answer, request),
  });
}

function units(lens, answer, request) {
  const what = request.property ?? `the expression ${request.pattern}`;
  const rows = answer.units.map(({ name, unit, correlation }) => {
    const bar = element("span", { class: `bar ${correlation < 0 ? "below" : "above"}` });
    bar.style.width = `${50 * Math.abs(correlation)}%`;
    bar.style.marginLeft = correlation < 0 ? `${50 - 50 * Math.abs(correlation)}%` : "50%";
    return [
      unitButton(lens, name, unit),
      element("span", { class: "numbers", text: signed(correlation, 3) }),
      element("span", { class: "two-sided", "aria-hidden": "true" }, bar),
    ];
  });
  if (rows.length === 0) return [element("p", { text: `No unit follows ${what}.` })];
  const caption = `Correlation with ${what} over ${answer.steps} steps. A unit's name picks it.`;
  return [table(caption, ["Unit", "Correlation", ""], rows, "correlations")];
}
