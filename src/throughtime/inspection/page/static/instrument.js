/** The instrument: the heat map of a value, with the text, the curves and the outputs beside it. */
import { Chart } from "./chart.js";
import { CurveLane } from "./curve_lane.js";
import { byId } from "./elements.js";
import { HeatLane } from "./heat_lane.js";
import { LabelLane } from "./label_lane.js";
import { dashOf, Legend } from "./legend.js";
import { scaleFor } from "./matrix.js";
import { Readout } from "./readout.js";
import { TokenLane } from "./token_lane.js";
import { visible } from "./text.js";

const NONE = [];

export class Instrument {
  #heat = new HeatLane((unit) => this.#rowName(unit));
  #tokens = new TokenLane();
  #curves = new CurveLane(76);
  #features = new CurveLane(76);
  #labels = new LabelLane();
  #readout = new Readout();
  #matrix = null;
  /** What the zoom fits, and whether the user has changed it since. */
  #zoomedFor = "";
  #isZoomed = false;
  #isShowing = false;
  #ownColours = new Map();
  scale = 1;

  /** `reading`: what the model computed; `box`: the TextBox. */
  constructor(lens, reading, box) {
    Object.assign(this, { lens, reading, box });
    this.legend = new Legend(lens);
    this.chart = new Chart(byId("chart"), byId("chart-size"), byId("chart-canvas"), lens.palette, {
      onPick: (step, unit) => lens.change({ step, unit }),
      onRange: (range) => lens.change({ range }),
      onPin: () => this.pin(),
    });
    for (const [id, field] of [
      ["column-width", "columnWidth"],
      ["row-height", "rowHeight"],
    ]) {
      byId(id).addEventListener("input", (event) => {
        this.chart[field] = Number(event.target.value);
        this.#isZoomed = true;
        this.chart.layout();
        this.chart.reveal(Math.max(0, lens.step), lens.unit);
      });
    }
    byId("pin").addEventListener("click", () => this.pin());
    lens.onChange((changes) => this.#onChange(changes));
  }

  /** Shows what the reading has from step `from` on.
   *
   * `choice()`: the step to pick, once the text box has the tokens; null leaves the picked one.
   * `isAtEnd`: the newest step shall be in view.
   */
  show(from, choice, isAtEnd) {
    const { chart, lens } = this;
    const matrix = this.reading.matrices.get(lens.value) ?? null;
    const tokens = this.tokens();
    this.#matrix = matrix;
    if (!matrix) {
      this.clear();
      return;
    }
    const isAttention = lens.named(lens.value)?.is_attention;
    const scale = isAttention ? scaleFor(matrix.largest) : matrix.usualScale();
    this.scale = scale;
    this.#heat.show(matrix, scale, this.lens.palette, from);
    this.#tokens.show(tokens, Boolean(this.reading.features));
    this.#zoom(matrix, tokens);
    Object.assign(chart, { steps: matrix.steps, units: matrix.width });
    this.#setLanes();
    this.paintText(Math.min(lens.unit, matrix.width - 1));
    // All is drawn once, at the end.
    this.#isShowing = true;
    lens.change({
      step: Math.min(choice() ?? lens.step, matrix.steps - 1),
      unit: Math.min(lens.unit, matrix.width - 1),
      range: lens.range && lens.range[1] <= matrix.steps ? lens.range : null,
    });
    this.#isShowing = false;
    if (isAttention) this.paintText();
    Object.assign(chart, { step: lens.step, unit: lens.unit, range: lens.range });
    this.#showCurves();
    chart.layout(isAtEnd ? matrix.steps - 1 : null);
    this.#showLegend();
    this.#showReadout();
  }

  /** Shows an empty chart. */
  clear() {
    this.#matrix = null;
    Object.assign(this.chart, { steps: 0, units: 0, lanes: [] });
    this.chart.layout();
    this.box.paint(this.box.text, [], () => "");
    this.#showReadout();
  }

  /** The tokens of the part of the model to which the picked value belongs. */
  tokens() {
    const part = this.lens.named(this.lens.value)?.part;
    return this.reading.steps[part] ?? Object.values(this.reading.steps).at(-1) ?? NONE;
  }

  /** Whether the shown steps are those of the text box, and not of what the model wrote. */
  get isOfText() {
    return this.tokens() === this.#tokensOfText();
  }

  /** The tokens of the text box: of the part that reads, which is the first one. */
  #tokensOfText() {
    return Object.values(this.reading.steps)[0] ?? NONE;
  }

  /** Keeps the curve of the picked unit. */
  pin() {
    const { value, unit, pins } = this.lens;
    if (!value || pins.some((pin) => pin.name === value && pin.unit === unit)) return;
    // Curves beyond the sixth would repeat a colour.
    this.lens.change({ pins: [...pins, { name: value, unit }].slice(-6) });
  }

  /** Colours the text by the picked unit. */
  paintText(unit = this.lens.unit) {
    const matrix = this.#matrix;
    const tokens = this.#tokensOfText();
    this.box.paint(this.box.text, tokens, matrix ? this.#tints(matrix, unit, tokens) : () => "");
  }

  /** The colour of each token of the text: by the unit, or by the attention of the picked step. */
  #tints(matrix, unit, tokens) {
    const { palette, step: picked } = this.lens;
    if (this.lens.named(this.lens.value)?.is_attention) {
      const isRow = picked >= 0 && picked < matrix.steps;
      return (step) =>
        isRow && step < matrix.width ? palette.tint(matrix.at(picked, step), this.scale) : "";
    }
    if (!this.isOfText) return () => "";
    const scale = scaleFor(Math.max(...matrix.rangeOf(unit).map(Math.abs)));
    return (step) => (step < matrix.steps ? palette.tint(matrix.at(step, unit), scale) : "");
  }

  #onChange(changes) {
    if (changes.has("palette")) {
      this.chart.palette = this.lens.palette;
      if (this.#matrix) this.#heat.show(this.#matrix, this.scale, this.lens.palette, 0);
      else this.chart.draw();
    }
    if (changes.has("palette") || changes.has("pins")) this.#showLegend();
    const isNew = ["palette", "unit", "step", "range", "pins"].some((name) => changes.has(name));
    if (!isNew || !this.#matrix || this.#isShowing) return;
    const { step, unit, range } = this.lens;
    Object.assign(this.chart, { step, unit, range });
    this.#showCurves();
    this.chart.draw();
    if (changes.has("unit")) this.chart.reveal(Math.max(0, step), unit);
    const isAttention = this.lens.named(this.lens.value)?.is_attention;
    if (changes.has("palette") || changes.has(isAttention ? "step" : "unit")) this.paintText();
    this.#showReadout();
  }

  /** Fits the columns and rows, unless the user has chosen their size. */
  #zoom(matrix, tokens) {
    const shown = `${this.lens.runIndex} ${this.lens.value} ${this.lens.input.example}`;
    if (shown !== this.#zoomedFor) this.#isZoomed = false;
    this.#zoomedFor = shown;
    if (this.#isZoomed) return;
    this.chart.rowHeight = Math.max(1, Math.min(20, Math.round(340 / matrix.width)));
    this.chart.columnWidth = this.#tokens.widthFor(tokens, Boolean(this.reading.features));
    byId("row-height").value = this.chart.rowHeight;
    byId("column-width").value = this.chart.columnWidth;
    const isAttention = this.lens.named(this.lens.value)?.is_attention;
    this.chart.gutter = isAttention ? 88 : 44;
  }

  #setLanes() {
    const lanes = [this.#tokens, this.#heat, this.#curves];
    if (this.reading.features) lanes.splice(1, 0, this.#features);
    const { reading, lens } = this;
    if (!lens.run.is_language && reading.top.length && this.#isLastPart()) {
      this.#ownColours = this.#outputColours();
      this.#labels.show(reading.top, reading.topFrom, (output) => this.#outputColour(output));
      lanes.push(this.#labels);
    }
    this.chart.lanes = lanes;
  }

  /** Whether the shown steps are those whose outputs are known. */
  #isLastPart() {
    return this.tokens() === Object.values(this.reading.steps).at(-1);
  }

  /** The colours of outputs: the five with the largest shares have one each, the others are grey. */
  #outputColours() {
    const shares = new Map();
    for (const row of this.reading.top) {
      for (const [output, share] of row) shares.set(output, (shares.get(output) ?? 0) + share);
    }
    const outputs = [...shares.keys()].sort((a, b) => shares.get(b) - shares.get(a)).slice(0, 5);
    return new Map(outputs.map((output, number) => [output, number]));
  }

  #outputColour(output) {
    return this.lens.palette.nth(this.#ownColours.get(output) ?? 5);
  }

  #rowName(unit) {
    if (!this.lens.named(this.lens.value)?.is_attention) return String(unit);
    return visible(this.#tokensOfText()[unit] ?? String(unit));
  }

  #showCurves() {
    const { lens, reading, chart } = this;
    const own = { matrix: this.#matrix, unit: lens.unit, colour: lens.palette.css.ink, width: 1.5 };
    const pins = lens.pins
      .map((pin, number) => ({
        ...pin,
        colour: lens.palette.nth(number),
        matrix: reading.matrices.get(pin.name),
        width: 1.5,
      }))
      .filter((pin) => pin.matrix && lens.named(pin.name)?.part === lens.named(lens.value)?.part);
    const curves = [...pins, own];
    const ends = curves.flatMap((curve) => curve.matrix.rangeOf(curve.unit));
    const high = scaleFor(Math.max(...ends.map(Math.abs)));
    this.#curves.show(curves, Math.min(...ends) < 0 ? -high : 0, high);
    if (!reading.features) return;
    const scale = scaleFor(reading.features.largest);
    this.#features.show(
      reading.featureNames.map((_, unit) => ({
        matrix: reading.features,
        unit,
        colour: lens.palette.nth(unit),
        dash: dashOf(unit),
        width: 1.25,
      })),
      reading.features.least < 0 ? -scale : 0,
      scale,
    );
  }
  #showLegend() {
    const outputs = this.chart.lanes.includes(this.#labels) ? this.#ownColours : null;
    this.legend.show(this.#matrix, this.scale, this.reading.featureNames, outputs);
  }

  #showReadout() {
    const { lens, reading } = this;
    const matrix = this.#matrix;
    const tokens = this.tokens();
    const isPicked = matrix !== null && lens.step >= 0;
    const step = isPicked ? lens.step : tokens.length - 1;
    const { unit } = lens;
    const name = this.#rowName(unit);
    this.#readout.show({
      value: lens.named(lens.value)?.label ?? "",
      matrix,
      unit,
      unitText: name === String(unit) ? name : `${unit}  ${name}`,
      step: isPicked ? step : null,
      steps: tokens.length,
      // The steps of a series have their number only.
      token: reading.features ? "" : (tokens[step] ?? ""),
    });
    const isLanguage = lens.run?.is_language;
    this.#readout.showOutputs(
      isLanguage ? "Next token" : "Output",
      this.#isLastPart() ? reading.top[step - reading.topFrom] : undefined,
      (output) => (isLanguage ? lens.palette.series[0] : this.#outputColour(output)),
    );
  }
}
