/** Curves over the steps: of picked units, or of the features that the model reads. */
import { FONT } from "./heat_lane.js";
import { plain } from "./text.js";

export class CurveLane {
  curves = [];
  low = -1;
  high = 1;

  constructor(height) {
    this.height = height;
  }

  /** `curves`: [{matrix, unit, colour, width, dash}], the last on top; from `low` to `high`. */
  show(curves, low, high) {
    Object.assign(this, { curves, low, high });
  }

  draw(context, chart, top, height) {
    const { palette, columnWidth, first, last, gutter } = chart;
    const [upper, lower] = [top + 8, top + height - 6];
    const y = (number) => lower - ((number - this.low) / (this.high - this.low)) * (lower - upper);
    context.fillStyle = palette.css.line;
    context.fillRect(0, top, chart.width, 1);
    if (this.low <= 0 && this.high >= 0) context.fillRect(gutter, Math.round(y(0)), chart.width, 1);
    context.lineJoin = "round";
    for (const { matrix, unit, colour, width, dash = [] } of this.curves) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.setLineDash(dash);
      context.beginPath();
      const end = Math.min(matrix.steps, last + 1);
      for (let step = Math.max(0, first - 1); step < end; step += 1) {
        context.lineTo(chart.x(step) + columnWidth / 2, y(matrix.at(step, unit)));
      }
      context.stroke();
    }
    context.setLineDash([]);
    context.fillStyle = palette.css.panel;
    context.fillRect(0, top + 1, gutter, height - 1);
    context.fillStyle = palette.css["ink-soft"];
    context.font = `11px ${FONT}`;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(short(this.high), gutter - 8, upper + 2);
    if (this.low < 0 && this.high > 0) context.fillText("0", gutter - 8, y(0));
    context.fillText(short(this.low), gutter - 8, lower - 2);
  }
}

/** A number in at most five characters. */
export function short(number) {
  const size = Math.abs(number);
  if (size >= 10000 || (size > 0 && size < 0.01)) return number.toExponential(0).replace("-", "−");
  return plain(number, 2).replace(/\.?0+$/, "");
}
