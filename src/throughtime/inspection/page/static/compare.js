/** Two runs beside each other: what each line and each token costs them, in nats. */
import { element, fill } from "./elements.js";
import { scaleFor } from "./matrix.js";
import { passage } from "./passages.js";
import { Question, table } from "./question.js";
import { plain, signed, visible } from "./text.js";

/** Starts the question in its panel. */
export function startCompare(panel, lens) {
  const { other } = panel.querySelector("form").elements;
  const offer = () => {
    const others = lens.runs
      .map((run, index) => [index, runName(run)])
      .filter(([index]) => index !== lens.runIndex && lens.runs[index].is_language);
    fill(other, others);
  };
  lens.onChange((changes) => {
    if (changes.has("runIndex") || changes.has("runs")) offer();
  });
  return new Question(panel, lens, {
    name: "compare",
    request: () => {
      if (other.options.length === 0) {
        return `There is one run only. Open two: throughtime inspect ${lens.run.folder} --compare OTHER --serve`;
      }
      if (lens.input.text === "") return "Type a text first.";
      return { runs: [lens.runIndex, Number(other.value)], ...lens.input };
    },
    show: (answer, request) => comparison(lens, answer, request),
  });
}

function number(value, digits) {
  return element("span", { class: "numbers", text: plain(value, digits) });
}

/** A run in few words. */
export function runName(run) {
  return [run.title, run.cell].filter(Boolean).join(" · ");
}

function comparison(lens, { lines, tokens, nats }, request) {
  const differences = nats[0].map((number, step) => number - nats[1][step]);
  const scale = scaleFor(Math.max(...differences.map(Math.abs), 0));
  const totals = nats.map((numbers) => numbers.reduce((sum, number) => sum + number, 0));
  const better =
    totals[0] === totals[1]
      ? "Both predict the input equally well."
      : `${totals[0] < totals[1] ? "A" : "B"} predicts the input better, by ${plain(Math.abs(totals[0] - totals[1]) / tokens.length)} nats per token.`;
  const lineScale = scaleFor(
    Math.max(...lines.map((line) => Math.abs(line.nats[0] - line.nats[1])), 0),
  );
  const rows = lines.map((line, index) => {
    const difference = element("span", {
      class: "numbers tinted",
      text: signed(line.nats[0] - line.nats[1], 2),
    });
    difference.style.backgroundColor = lens.palette.tint(line.nats[0] - line.nats[1], lineScale);
    return [
      String(index + 1),
      element("code", { text: visible(line.text) }),
      ...line.nats.map((nats) => number(nats, 2)),
      difference,
    ];
  });
  const whole = passage(tokens, {
    isLanguage: true,
    keepsLines: true,
    tint: (step) => lens.palette.tint(differences[step], scale),
  });
  whole.querySelectorAll("[data-step]").forEach((span, step) => {
    span.title = `A ${plain(nats[0][step])}, B ${plain(nats[1][step])} nats`;
  });
  return [
    table(
      better,
      ["", "Run", "Nats", "Nats per token"],
      totals.map((total, n) => [
        "AB"[n],
        runName(lens.runs[request.runs[n]]),
        number(total, 2),
        number(total / tokens.length, 3),
      ]),
      "lines",
    ),
    element("p", {
      class: "soft small",
      text: `Orange: the token costs A more; blue: it costs B more (colours from −${scale} to ${scale} nats).`,
    }),
    element("div", { class: "panel passage-box" }, whole),
    table("Nats of each line", ["Line", "Text", "A", "B", "A − B"], rows, "lines"),
  ];
}
