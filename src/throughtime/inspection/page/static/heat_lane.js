/** The heat map: units by rows, steps by columns.
 *
 * Each number is one pixel of a bitmap off the screen. A new column paints its pixels only, and
 * scrolling copies the bitmap, magnified.
 */

/** Steps of one bitmap; a long text has several, so that none has to be copied when it grows. */
const TILE = 512;

export class HeatLane {
  #tiles = [];
  #matrix = null;
  #scale = 1;

  /** `rowName(unit)`: the label of a row. */
  constructor(rowName) {
    this.rowName = rowName;
  }

  /** Paints the numbers from step `from` on; all of them if the matrix or the scale is another. */
  show(matrix, scale, palette, from) {
    if (matrix !== this.#matrix || scale !== this.#scale) from = 0;
    if (matrix !== this.#matrix) this.#tiles = [];
    this.#matrix = matrix;
    this.#scale = scale;
    let step = from;
    while (step < matrix.steps) {
      const number = Math.floor(step / TILE);
      const end = Math.min(matrix.steps, (number + 1) * TILE);
      this.#paint(number, step, end, palette);
      step = end;
    }
  }

  #paint(number, from, to, palette) {
    const matrix = this.#matrix;
    while (this.#tiles.length <= number) {
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width: TILE, height: matrix.width });
      this.#tiles.push(canvas);
    }
    const context = this.#tiles[number].getContext("2d");
    const pixels = context.createImageData(to - from, matrix.width);
    palette.paint(pixels, matrix.rows(from, to), matrix.width, this.#scale);
    context.putImageData(pixels, from - number * TILE, 0);
  }

  draw(context, chart, top, height) {
    const { columnWidth, rowHeight, first, last, palette } = chart;
    const above = Math.min(chart.scrollTop, Math.max(0, chart.units * rowHeight - height));
    context.imageSmoothingEnabled = false;
    const [row, rows] = [above / rowHeight, height / rowHeight];
    for (let number = Math.floor(first / TILE); number * TILE < last; number += 1) {
      const tile = this.#tiles[number];
      if (!tile) break;
      const from = Math.max(first, number * TILE);
      const to = Math.min(last, (number + 1) * TILE);
      context.drawImage(
        tile,
        from - number * TILE,
        row,
        to - from,
        rows,
        chart.x(from),
        top,
        (to - from) * columnWidth,
        height,
      );
    }
    this.#drawRows(context, chart, top, height, above);
    // The picked unit's row has a line above and below, so that its colours stay in view.
    const y = top + chart.unit * rowHeight - above;
    context.fillStyle = palette.css.ink;
    context.fillRect(chart.gutter - 5, Math.round(y) - 1, chart.width, 1);
    context.fillRect(chart.gutter - 5, Math.round(y + rowHeight), chart.width, 1);
  }

  #drawRows(context, chart, top, height, above) {
    const { palette, rowHeight, gutter } = chart;
    context.fillStyle = palette.css.panel;
    context.fillRect(0, top, gutter, height);
    context.textAlign = "right";
    context.textBaseline = "middle";
    // A label at the edge moves inside.
    const place = (unit) => {
      const y = top + (unit + 0.5) * rowHeight - above;
      return Math.max(top + 7, Math.min(top + height - 7, y));
    };
    const write = (unit, isPicked) => {
      context.font = `${isPicked ? "600 " : ""}11px ${FONT}`;
      context.fillStyle = isPicked ? palette.css.ink : palette.css["ink-soft"];
      context.fillText(this.rowName(unit), gutter - 8, place(unit), gutter - 10);
    };
    const every =
      [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((n) => n * rowHeight >= 16) ?? 1000;
    const isInView =
      chart.unit * rowHeight < above + height && (chart.unit + 1) * rowHeight > above;
    // The label of the picked unit takes the place of those that it would touch.
    let last = -Infinity;
    const isFree = (y) => y - last >= 13 && !(isInView && Math.abs(y - place(chart.unit)) < 13);
    const begin = Math.ceil(above / rowHeight / every) * every;
    for (let unit = begin; unit < chart.units && unit * rowHeight < above + height; unit += every) {
      if (!isFree(place(unit))) continue;
      write(unit, false);
      last = place(unit);
    }
    if (isInView) write(chart.unit, true);
  }
}

export const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif';
