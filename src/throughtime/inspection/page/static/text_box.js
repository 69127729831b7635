/** The text box, whose text has the colours of the picked unit.
 *
 * The colours lie behind the text area, in an element with the same text and the same lines.
 */
import { rangesOf } from "./text.js";

export class TextBox {
  #pieces = [];
  #text = "";
  #tokens = [];

  /** `onText(text, time)`: called for each change, with the time of its key. */
  constructor(area, colours, onText) {
    Object.assign(this, { area, colours });
    let pressed = null;
    area.addEventListener("keydown", (event) => {
      pressed = event.timeStamp;
    });
    area.addEventListener("input", (event) => {
      onText(area.value, pressed ?? event.timeStamp);
      pressed = null;
    });
    area.addEventListener("scroll", () => this.#follow());
    colours.append(document.createElement("br"));
  }

  /** Whether the tokens are those of the text, and not those of the text before the last key. */
  get isCurrent() {
    return this.#text === this.area.value;
  }

  get text() {
    return this.area.value;
  }

  set text(text) {
    this.area.value = text;
  }

  /** The steps of the selected characters, or null. */
  selection() {
    const [from, to] = [this.area.selectionStart, this.area.selectionEnd];
    if (from === to || !this.isCurrent) return null;
    const chosen = rangesOf(this.#text, this.#tokens).flatMap((range, step) =>
      range && range[1] > from && range[0] < to ? [step] : [],
    );
    return chosen.length ? [chosen[0], chosen.at(-1) + 1] : null;
  }

  /** The step of the character before the caret, or null. */
  caret() {
    const ranges = rangesOf(this.#text, this.#tokens);
    const position = this.area.selectionStart;
    for (let step = ranges.length - 1; step >= 0; step -= 1) {
      if (ranges[step] && ranges[step][0] < Math.max(1, position)) return step;
    }
    return null;
  }

  /** Colours the text's tokens; `tint(step)` is the colour of each. */
  paint(text, tokens, tint) {
    const pieces = [];
    let position = 0;
    rangesOf(text, tokens).forEach((range, step) => {
      if (!range) return;
      if (range[0] > position) pieces.push([text.slice(position, range[0]), ""]);
      pieces.push([text.slice(...range), tint(step)]);
      position = range[1];
    });
    if (position < text.length) pieces.push([text.slice(position), ""]);
    this.#text = text;
    this.#tokens = tokens;
    this.#show(pieces);
    // To read the scroll position now would lay the whole page out.
    requestAnimationFrame(() => this.#follow());
  }

  /** Changes only the pieces that are not as they were. */
  #show(pieces) {
    const nodes = this.colours.children;
    for (let index = 0; index < pieces.length; index += 1) {
      const [text, tint] = pieces[index];
      const before = this.#pieces[index];
      if (before?.[0] === text && before[1] === tint) continue;
      let node = nodes[index];
      if (!before) {
        node = document.createElement("span");
        this.colours.insertBefore(node, this.colours.lastChild);
      }
      if (before?.[0] !== text) node.textContent = text;
      if (before?.[1] !== tint) node.style.backgroundColor = tint;
    }
    for (let index = this.#pieces.length - 1; index >= pieces.length; index -= 1)
      nodes[index].remove();
    this.#pieces = pieces;
  }

  #follow() {
    if (this.colours.scrollTop !== this.area.scrollTop)
      this.colours.scrollTop = this.area.scrollTop;
  }
}
