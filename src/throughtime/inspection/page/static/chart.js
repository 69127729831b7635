/** The chart: lanes above each other (tokens, heat map, curves, labels) that share their steps.
 *
 * The canvas stays in place inside an element that scrolls, and shows the part to which that
 * element is scrolled. Only the heat lane scrolls up and down.
 *
 * To ask the browser for a size or a scroll position makes it lay the whole page out. So the chart
 * remembers both, and a key that adds a step is drawn without that.
 */

const LONGEST_HEAT = 340;
/** Pixels that a pointer must move before a click becomes a selection. */
const DRAG = 4;

export class Chart {
  gutter = 44;
  columnWidth = 11;
  rowHeight = 2;
  steps = 0;
  units = 0;
  step = -1;
  unit = 0;
  range = null;
  lanes = [];
  width = 0;
  height = 0;
  ratio = 1;
  scrollLeft = 0;
  scrollTop = 0;
  #isScrolling = false;

  /** `picks`: {onPick(step, unit), onRange([from, to] or null), onPin()}. */
  constructor(scroller, sizer, canvas, palette, picks) {
    Object.assign(this, { scroller, sizer, canvas, palette, picks });
    this.context = canvas.getContext("2d", { alpha: false });
    scroller.addEventListener("scroll", () => this.#onScroll());
    scroller.addEventListener("keydown", (event) => this.#onKey(event));
    canvas.addEventListener("pointerdown", (event) => this.#onPress(event));
    new ResizeObserver(() => this.#resize()).observe(scroller);
  }

  /** Lays the lanes out and draws; call it when lanes, steps, units, or the zoom have changed.
   *
   * `step`: shall be in view; null: what is in view stays.
   */
  layout(step = null) {
    const fixed = this.lanes.reduce((sum, lane) => sum + (lane.height ?? 0), 0);
    const heat = this.units * this.rowHeight;
    // 14 pixels are for a scroll bar, 2 for the border.
    const height = `${Math.ceil(fixed + Math.min(heat, LONGEST_HEAT) + 16)}px`;
    if (this.scroller.style.height !== height) this.scroller.style.height = height;
    this.sizer.style.width = `${this.gutter + Math.ceil(this.steps * this.columnWidth)}px`;
    this.sizer.style.height = `${fixed + heat}px`;
    // As the browser will do, if the content has become smaller.
    this.scrollLeft = Math.max(
      0,
      Math.min(this.scrollLeft, this.gutter + this.steps * this.columnWidth - this.width),
    );
    this.scrollTop = Math.max(0, Math.min(this.scrollTop, fixed + heat - this.height));
    if (step !== null) this.#scrollTo(step);
    this.draw();
  }

  #onScroll() {
    const { scrollLeft, scrollTop } = this.scroller;
    // The chart is drawn as it shall be scrolled in the next frame.
    if (this.#isScrolling || (scrollLeft === this.scrollLeft && scrollTop === this.scrollTop))
      return;
    Object.assign(this, { scrollLeft, scrollTop });
    this.draw();
  }

  #resize() {
    const { clientWidth, clientHeight } = this.scroller;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      Object.assign(this.canvas, { width, height });
      this.canvas.style.width = `${clientWidth}px`;
      this.canvas.style.height = `${clientHeight}px`;
    }
    Object.assign(this, { width: clientWidth, height: clientHeight, ratio });
    this.draw();
  }

  draw() {
    const { context, palette } = this;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = palette.css.panel;
    context.fillRect(0, 0, this.width, this.height);
    this.first = Math.max(0, Math.floor(this.scrollLeft / this.columnWidth));
    const wide = (this.width - this.gutter) / this.columnWidth;
    this.last = Math.min(this.steps, Math.ceil(this.scrollLeft / this.columnWidth + wide));
    let top = 0;
    for (const lane of this.lanes) {
      const height = lane.height ?? this.heatHeight();
      lane.top = top;
      context.save();
      context.beginPath();
      context.rect(0, top, this.width, height);
      context.clip();
      lane.draw(context, this, top, height);
      context.restore();
      top += height;
    }
    this.#drawMarks(top);
  }

  /** The height of the part of the heat lane that is in view. */
  heatHeight() {
    const fixed = this.lanes.reduce((sum, lane) => sum + (lane.height ?? 0), 0);
    return Math.min(this.units * this.rowHeight, this.height - fixed);
  }

  /** The left edge of a step's column. */
  x(step) {
    return this.gutter + step * this.columnWidth - this.scrollLeft;
  }

  #drawMarks(bottom) {
    const { context, palette } = this;
    context.save();
    context.beginPath();
    context.rect(this.gutter, 0, this.width - this.gutter, bottom);
    context.clip();
    if (this.range) {
      const [from, to] = [this.x(this.range[0]), this.x(this.range[1])];
      context.strokeStyle = palette.css.accent;
      context.lineWidth = 2;
      context.strokeRect(from + 1, 1, to - from - 2, bottom - 2);
    }
    if (this.step >= 0 && this.step < this.steps) {
      context.strokeStyle = palette.css.ink;
      context.lineWidth = 1;
      const x = Math.round(this.x(this.step));
      context.strokeRect(x + 0.5, 0.5, Math.max(2, Math.round(this.columnWidth) - 1), bottom - 1);
    }
    context.restore();
  }

  /** Scrolls so that a step is in view, and a unit if one is named. */
  reveal(step, unit = null) {
    if (this.#scrollTo(step, unit)) this.draw();
  }

  /** Returns whether the chart must be drawn again. */
  #scrollTo(step, unit = null) {
    const { columnWidth, rowHeight, scrollLeft, scrollTop } = this;
    const wide = this.width - this.gutter;
    const x = step * columnWidth;
    if (x < this.scrollLeft) this.scrollLeft = x;
    if (x + columnWidth > this.scrollLeft + wide) this.scrollLeft = x + columnWidth - wide;
    if (unit !== null) {
      // Two rows more, so that the neighbours of the unit are in view.
      const [above, below] = [(unit - 2) * rowHeight, (unit + 3) * rowHeight];
      this.scrollTop = Math.max(this.scrollTop, below - this.heatHeight());
      this.scrollTop = Math.max(0, Math.min(this.scrollTop, above));
      this.scrollTop = Math.min(this.scrollTop, this.units * rowHeight - this.heatHeight());
    }
    // Positions are whole pixels, as those of an element that scrolls.
    this.scrollLeft = Math.ceil(this.scrollLeft);
    this.scrollTop = Math.ceil(this.scrollTop);
    if (scrollLeft === this.scrollLeft && scrollTop === this.scrollTop) return false;
    if (!this.#isScrolling) {
      this.#isScrolling = true;
      requestAnimationFrame(() => {
        this.#isScrolling = false;
        this.scroller.scrollTo(this.scrollLeft, this.scrollTop);
      });
    }
    return true;
  }

  /** The step and the unit at a point of the canvas; the unit is null outside the heat lane. */
  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const step = Math.floor((x - this.gutter + this.scrollLeft) / this.columnWidth);
    const lane = this.lanes.find((one) => one.height === undefined);
    const row = (y - lane.top + this.scrollTop) / this.rowHeight;
    const isInside = y >= lane.top && y < lane.top + this.heatHeight();
    return {
      step: Math.max(0, Math.min(this.steps - 1, step)),
      unit: isInside ? Math.max(0, Math.min(this.units - 1, Math.floor(row))) : null,
      isInGutter: x < this.gutter,
    };
  }

  #onPress(event) {
    if (event.button !== 0 || this.steps === 0) return;
    const begin = this.#at(event);
    this.picks.onPick(begin.isInGutter ? this.step : begin.step, begin.unit ?? this.unit);
    // A finger that moves scrolls.
    if (event.pointerType === "touch" || begin.isInGutter) return;
    if (this.range) this.picks.onRange(null);
    this.canvas.setPointerCapture(event.pointerId);
    const move = (moved) => {
      if (!this.range && Math.abs(moved.clientX - event.clientX) < DRAG) return;
      const { step } = this.#at(moved);
      this.picks.onRange([Math.min(step, begin.step), Math.max(step, begin.step) + 1]);
    };
    const end = () => {
      this.canvas.removeEventListener("pointermove", move);
      this.canvas.removeEventListener("pointerup", end);
      this.canvas.removeEventListener("pointercancel", end);
    };
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", end);
    this.canvas.addEventListener("pointercancel", end);
  }

  #onKey(event) {
    if (this.steps === 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const [step, unit] = [Math.max(0, this.step), this.unit];
    const places = {
      ArrowLeft: [step - 1, unit],
      ArrowRight: [step + 1, unit],
      ArrowUp: [step, unit - 1],
      ArrowDown: [step, unit + 1],
      PageUp: [step, unit - 10],
      PageDown: [step, unit + 10],
      Home: [0, unit],
      End: [this.steps - 1, unit],
    };
    if (event.key === "Enter" || event.key === " ") this.picks.onPin();
    else if (event.key === "Escape") this.picks.onRange(null);
    else if (event.key in places) this.#go(event, ...places[event.key]);
    else return;
    event.preventDefault();
  }

  #go(event, step, unit) {
    step = Math.max(0, Math.min(this.steps - 1, step));
    unit = Math.max(0, Math.min(this.units - 1, unit));
    if (event.shiftKey && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      if (!this.range || this.anchor === undefined) this.anchor = Math.max(0, this.step);
      this.picks.onRange([Math.min(step, this.anchor), Math.max(step, this.anchor) + 1]);
    } else {
      this.anchor = undefined;
    }
    this.picks.onPick(step, unit);
    this.reveal(step, unit);
  }
}
