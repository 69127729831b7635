/** The picked number, and the likeliest outputs after its step, beside the chart. */
import { Distribution } from "./distribution.js";
import { byId } from "./elements.js";
import { signed, spoken, visible } from "./text.js";

/** How long the page waits before it says a step, so that typing does not flood a screen reader. */
const SPEAK_AFTER = 400;
const NOTHING = "–";

export class Readout {
  #distribution = new Distribution(byId("distribution"), byId("distribution-title"));
  #place = "";
  #speak = 0;

  /** Shows a unit at a step.
   *
   * Args: value: its label. matrix: its numbers, or null. unit, unitText: its index, and how it is
   * written. step: null if none is picked. steps: how many there are. token: of the step, or "".
   */
  show({ value, matrix, unit, unitText, step, steps, token }) {
    const isPicked = step !== null;
    const number = isPicked ? signed(matrix.at(step, unit)) : NOTHING;
    const name = token === "" ? "" : visible(token);
    set("readout-value", value || NOTHING);
    set("readout-unit", matrix ? unitText : NOTHING);
    set("readout-step", isPicked ? `${step} of ${steps}  ${name}`.trim() : NOTHING);
    set("readout-number", number);
    const range = matrix?.rangeOf(unit).map((end) => signed(end, 2));
    set("readout-range", range ? range.join(" to ") : NOTHING);
    const field = byId("unit");
    if (field.value !== String(unit)) field.value = unit;
    field.max = matrix ? matrix.width - 1 : 0;
    this.#place = `step ${isPicked ? step : steps - 1}${name && `, “${name}”`}`;
    clearTimeout(this.#speak);
    if (!isPicked) return;
    const said = [value, `unit ${unitText}`, `step ${step}`, spoken(token)].filter(Boolean);
    this.#speak = setTimeout(() => set("live", `${said.join(", ")}: ${number}`), SPEAK_AFTER);
  }

  /** Shows the outputs after the step; `shares`: undefined if none are known. */
  showOutputs(kind, shares, colour) {
    byId("distribution-box").hidden = !shares;
    if (shares) this.#distribution.show(`${kind} after ${this.#place}`, shares, colour);
  }
}

function set(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = text;
}
