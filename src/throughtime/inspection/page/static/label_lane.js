/** The distribution after each step as bars above each other, as high as the probabilities. */
import { FONT } from "./heat_lane.js";
import { visible } from "./text.js";

export class LabelLane {
  height = 84;
  #top = [];
  #from = 0;

  /** `top`: for each step from `from` on, [[output, probability]]; `colour(output)`: of its bar. */
  show(top, from, colour) {
    this.#top = top;
    this.#from = from;
    this.colour = colour;
  }

  draw(context, chart, top, height) {
    const { palette, columnWidth, first, last, gutter } = chart;
    const [upper, lower] = [top + 6, top + height - 6];
    context.fillStyle = palette.css.line;
    context.fillRect(0, top, chart.width, 1);
    context.font = `11px ${FONT}`;
    context.textBaseline = "middle";
    context.textAlign = "center";
    for (let step = Math.max(first, this.#from); step < last; step += 1) {
      const shares = this.#top[step - this.#from] ?? [];
      let y = lower;
      const x = chart.x(step);
      for (const [output, probability] of shares) {
        const part = probability * (lower - upper);
        context.fillStyle = this.colour(output);
        context.fillRect(x + 0.5, y - part, Math.max(1, columnWidth - 1), part);
        if (part > 14 && columnWidth > 24) {
          context.fillStyle = palette.css.page;
          context.fillText(fitted(visible(output), columnWidth), x + columnWidth / 2, y - part / 2);
        }
        y -= part;
      }
    }
    context.fillStyle = palette.css.panel;
    context.fillRect(0, top + 1, gutter, height - 1);
    context.fillStyle = palette.css["ink-soft"];
    context.textAlign = "right";
    context.fillText("1", gutter - 8, upper + 4);
    context.fillText("0", gutter - 8, lower - 3);
  }
}

function fitted(text, width) {
  const most = Math.floor((width - 4) / 6.2);
  return text.length <= most ? text : `${text.slice(0, Math.max(1, most - 1))}…`;
}
