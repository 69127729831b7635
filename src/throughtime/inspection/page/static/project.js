/** A map of states or of an embedding: near points are similar vectors. */
import { element, fill } from "./elements.js";
import { FONT } from "./heat_lane.js";
import { Question } from "./question.js";
import { count, separatorOf, spoken, visible } from "./text.js";

const MARGIN = 28;
/** More tokens than these are points; their texts would cover each other. */
const MOST_TEXTS = 400;

/** Starts the question in its panel. */
export function startProject(panel, lens) {
  const { of, method } = panel.querySelector("form").elements;
  const offer = () => {
    fill(of, [
      ...lens.values
        .filter((value) => value.is_state)
        .map((value) => [`name ${value.name}`, value.label]),
      ...lens.run.embeddings.map((name) => [`embedding ${name}`, `embedding ${name}`]),
    ]);
    if (lens.named(lens.value)?.is_state) of.value = `name ${lens.value}`;
  };
  lens.onChange((changes) => {
    if (changes.has("runIndex") || changes.has("runs")) offer();
  });
  return new Question(panel, lens, {
    name: "project",
    request: () => {
      if (of.options.length === 0) return "The run has no state to draw.";
      const [kind, ...name] = of.value.split(" ");
      return { [kind]: name.join(" "), method: method.value };
    },
    show: (answer, request) => [new Scatter(lens, answer, request).element],
  });
}

/** The points on a canvas; the arrow keys go from point to point. */
class Scatter {
  #at = -1;

  constructor(lens, { points, tokens, explained }, request) {
    Object.assign(this, { palette: lens.palette, points, tokens, isSequence: "name" in request });
    this.separator = separatorOf(tokens, lens.run.is_language);
    this.canvas = element("canvas", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "map",
      "aria-label": `Map of ${count(points.length, "token")}. The arrow keys go from token to token.`,
    });
    this.status = element("p", { class: "soft small numbers", role: "status" });
    this.search = element("input", {
      type: "text",
      autocomplete: "off",
      spellcheck: "false",
      on: {
        input: () => this.#draw(),
        keydown: (event) => {
          if (event.key === "Enter") event.preventDefault();
        },
      },
    });
    const shares = explained.length
      ? `The axes hold ${explained.map((share) => `${(100 * share).toFixed(1)} %`).join(" and ")} of the variance.`
      : "Distances between groups mean little in t-SNE; neighbours do.";
    this.element = element(
      "div",
      { class: "map" },
      element("p", {
        class: "soft",
        text: `${lens.named(request.name)?.label ?? request.embedding}: ${count(points.length, "token")}. ${shares}`,
      }),
      element("label", { class: "field" }, "Highlight a token ", this.search),
      element("div", { class: "panel" }, this.canvas),
      this.status,
    );
    this.canvas.addEventListener("keydown", (event) => this.#onKey(event));
    this.canvas.addEventListener("pointermove", (event) => this.#near(event));
    this.canvas.addEventListener("pointerdown", (event) => this.#near(event));
    new ResizeObserver(() => this.#resize()).observe(this.canvas);
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    Object.assign(this.canvas, {
      width: Math.round(width * ratio),
      height: Math.round(height * ratio),
    });
    const range = (axis) => {
      const numbers = this.points.map((point) => point[axis]);
      const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
      return [low, high > low ? high - low : 1];
    };
    const [[x0, xs], [y0, ys]] = [range(0), range(1)];
    this.places = this.points.map(([x, y]) => [
      MARGIN + ((x - x0) / xs) * (width - 2 * MARGIN),
      height - MARGIN - ((y - y0) / ys) * (height - 2 * MARGIN),
    ]);
    Object.assign(this, { ratio, width, height });
    this.#draw();
  }

  #draw() {
    const context = this.canvas.getContext("2d");
    const { css } = this.palette;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = css.panel;
    context.fillRect(0, 0, this.width, this.height);
    context.textAlign = "center";
    context.textBaseline = "middle";
    const asked = this.search.value;
    // Without a search, the tokens like the one that is picked.
    const isAsked = (step) =>
      asked === ""
        ? this.#at >= 0 && this.tokens[step] === this.tokens[this.#at]
        : this.tokens[step] === asked || visible(this.tokens[step]) === asked;
    const draw = (step, colour, isText) => {
      const [x, y] = this.places[step];
      context.fillStyle = colour;
      if (isText) context.fillText(visible(this.tokens[step]), x, y);
      else context.fillRect(x - 1.5, y - 1.5, 3, 3);
    };
    const areTexts = this.points.length <= MOST_TEXTS;
    context.font = `12px ${FONT}`;
    this.points.forEach((_, step) => {
      if (!isAsked(step)) draw(step, css["ink-soft"], areTexts);
    });
    context.font = `600 14px ${FONT}`;
    this.points.forEach((_, step) => {
      if (isAsked(step)) draw(step, this.palette.series[1], true);
    });
    if (this.#at < 0) return;
    const [x, y] = this.places[this.#at];
    context.strokeStyle = css.accent;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x, y, 11, 0, 2 * Math.PI);
    context.stroke();
  }

  #go(step) {
    if (step === this.#at) return;
    this.#at = step;
    const before = this.isSequence
      ? this.tokens.slice(Math.max(0, step - 12), step).map(visible)
      : [];
    const place = before.length ? `, after “${before.join(this.separator)}”` : "";
    this.status.textContent = `Token ${step}: “${spoken(this.tokens[step])}”${place}`;
    this.#draw();
  }

  #near(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let [nearest, least] = [-1, 20 ** 2];
    this.places.forEach(([px, py], step) => {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [nearest, least] = [step, distance];
    });
    if (nearest >= 0) this.#go(nearest);
  }

  #onKey(event) {
    const moves = {
      ArrowRight: 1,
      ArrowDown: 1,
      ArrowLeft: -1,
      ArrowUp: -1,
      Home: -Infinity,
      End: Infinity,
    };
    if (!(event.key in moves)) return;
    this.#go(Math.max(0, Math.min(this.points.length - 1, this.#at + moves[event.key])));
    event.preventDefault();
  }
}
