/** The tokens above the heat map, each over the column of its step. */
import { visible } from "./text.js";

const MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace';
const WIDEST = 72;

export class TokenLane {
  height = 24;
  tokens = [];

  /** `tokens`: the text of each step. `isCounted`: the steps are numbers, so few need a label. */
  show(tokens, isCounted) {
    this.tokens = tokens;
    this.isCounted = isCounted;
  }

  /** The width of a column in which most tokens have room. */
  widthFor(tokens, isCounted) {
    if (isCounted) return Math.max(2, Math.min(11, Math.round(700 / Math.max(1, tokens.length))));
    const longest = tokens.reduce((most, token) => Math.max(most, token.length), 1);
    return longest === 1 ? 11 : Math.min(WIDEST, Math.max(24, 7.3 * longest + 8));
  }

  draw(context, chart, top, height) {
    const { palette, columnWidth, first, last, gutter } = chart;
    context.fillStyle = palette.css.sunken;
    context.fillRect(0, top, chart.width, height);
    context.font = `12px ${MONO}`;
    context.textBaseline = "middle";
    context.textAlign = "center";
    const every = this.isCounted || columnWidth < 7 ? this.#spacing(columnWidth) : 1;
    for (let step = Math.ceil(first / every) * every; step < last; step += every) {
      const token = this.tokens[step] ?? "";
      const isWhite = token.trim() === "";
      context.fillStyle = isWhite ? palette.css["ink-soft"] : palette.css.ink;
      const text = every > 1 ? String(step) : this.#fitting(visible(token), columnWidth);
      context.fillText(text, chart.x(step) + columnWidth / 2, top + height / 2);
    }
    context.fillStyle = palette.css.sunken;
    context.fillRect(0, top, gutter, height);
    context.fillStyle = palette.css.line;
    context.fillRect(0, top + height - 1, chart.width, 1);
  }

  #spacing(columnWidth) {
    return [5, 10, 20, 50, 100, 200, 500, 1000].find((n) => n * columnWidth >= 48) ?? 1000;
  }

  #fitting(text, columnWidth) {
    const most = Math.max(1, Math.floor((columnWidth - 2) / 7.3));
    return text.length <= most || most === 1 ? text : `${text.slice(0, most - 1)}…`;
  }
}
