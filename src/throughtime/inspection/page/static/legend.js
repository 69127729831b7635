/** What the colours and lines of the chart mean: the scale, the pins, the features, the outputs. */
import { short } from "./curve_lane.js";
import { byId, element } from "./elements.js";
import { visible } from "./text.js";

/** Curves beyond the sixth repeat a colour, with another line; a CSS name for each dash. */
const DASHES = [[], [6, 3], [1.5, 2.5]];
const LINES = ["solid", "dashed", "dotted"];
const MOST_FEATURES = 18;
/** The colour of the outputs that have none of their own. */
const OTHERS = 5;

/** The dash of the n-th curve. */
export function dashOf(number) {
  return DASHES[Math.floor(number / 6) % 3];
}

export class Legend {
  #shown = "";

  constructor(lens) {
    this.lens = lens;
  }

  /** Args: matrix: the numbers of the heat map, or null. scale: of its colours. features: names of
   * curves. outputs: which colour an output has, or null if none are drawn.
   */
  show(matrix, scale, features, outputs) {
    const { palette, pins, run } = this.lens;
    const isSigned = !matrix || matrix.least < 0;
    const beyond = matrix && matrix.largest > 1.05 * scale ? short(matrix.largest) : "";
    // A key that changes nothing here leaves the elements, and what has the focus, as they are.
    const all = [isSigned, beyond, scale, pins, features, outputs && [...outputs], palette.series];
    const shown = JSON.stringify(all);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#showScale(isSigned, scale, beyond);
    const chips = features.slice(0, MOST_FEATURES).map((name, n) => this.#chip(name, n));
    chips.push(...pins.map((pin, number) => this.#pin(pin, number)));
    for (const [output, number] of outputs ?? []) chips.push(this.#chip(visible(output), number));
    if (outputs && run.outputs.length > outputs.size)
      chips.push(this.#chip("other outputs", OTHERS));
    byId("pins").replaceChildren(...chips);
    byId("pins").hidden = chips.length === 0;
  }

  #showScale(isSigned, scale, beyond) {
    const bar = byId("legend-bar");
    const context = bar.getContext("2d");
    const numbers = Float32Array.from({ length: bar.width }, (_, x) => {
      const share = x / (bar.width - 1);
      return isSigned ? 2 * share - 1 : share;
    });
    const pixels = context.createImageData(bar.width, 1);
    this.lens.palette.paint(pixels, numbers, 1, 1);
    for (let y = 0; y < bar.height; y += 1) context.putImageData(pixels, 0, y);
    byId("legend-low").textContent = isSigned ? short(-scale) : "0";
    byId("legend-high").textContent = short(scale);
    byId("legend-beyond").textContent = beyond && `and beyond, to ${beyond}`;
  }

  #chip(text, number) {
    return element("li", { class: "pin" }, this.#swatch(number), element("span", { text }));
  }

  #pin(pin, number) {
    const { lens } = this;
    const name = lens.unitName(pin.name, pin.unit);
    const pick = () => lens.pick(pin.name, pin.unit);
    const remove = () => lens.change({ pins: lens.pins.filter((other) => other !== pin) });
    return element(
      "li",
      { class: "pin" },
      this.#swatch(number),
      element("button", { type: "button", class: "quiet", text: name, on: { click: pick } }),
      element("button", {
        type: "button",
        class: "quiet",
        text: "×",
        "aria-label": `Remove the curve of ${name}`,
        on: { click: remove },
      }),
    );
  }

  #swatch(number) {
    const mark = element("span", { class: "swatch", "aria-hidden": "true" });
    const line = LINES[DASHES.indexOf(dashOf(number))];
    mark.style.borderTop = `3px ${line} ${this.lens.palette.nth(number)}`;
    return mark;
  }
}
