/** Numbers as colours: blue below zero, orange above it, the page's neutral colour at zero. */
import { colour, isDark } from "./page_theme.js";

const LEVELS = 255;

/** The red, green and blue (0..255) of a CSS colour "rgb(r, g, b)". */
function channels(css) {
  return css
    .match(/[\d.]+/g)
    .slice(0, 3)
    .map(Number);
}

/** The colours of the theme that is in use; make a new one after the theme changes. */
export class Palette {
  constructor() {
    const names = [
      "ink",
      "ink-soft",
      "line",
      "line-strong",
      "panel",
      "sunken",
      "accent",
      "zero",
      "page",
      "on-accent",
    ];
    this.css = Object.fromEntries(names.map((name) => [name, colour(`--${name}`)]));
    this.series = [1, 2, 3, 4, 5, 6].map((number) => colour(`--series-${number}`));
    const [below, zero, above] = ["--below", "--zero", "--above"].map((name) =>
      channels(colour(name)),
    );
    const mixed = (end, share) => zero.map((c, i) => Math.round(c + (end[i] - c) * share));
    // Text must be readable on its colour, so a text's colours go only part of the way.
    const part = isDark() ? 0.42 : 0.55;
    this.#words = new Uint32Array(2 * LEVELS + 1);
    for (let level = -LEVELS; level <= LEVELS; level += 1) {
      const end = level < 0 ? below : above;
      const [r, g, b] = mixed(end, Math.abs(level) / LEVELS);
      // Image data has the bytes red, green, blue, alpha.
      this.#words[level + LEVELS] = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
      this.#tints.push(`rgb(${mixed(end, (part * Math.abs(level)) / LEVELS).join(" ")})`);
    }
    this.#missing = ((255 << 24) | (128 << 16) | (128 << 8) | 128) >>> 0;
  }

  #words;
  #tints = [];
  #missing;

  /** Writes the colours of `numbers` (steps by `width`) into image data that is `steps` wide. */
  paint(pixels, numbers, width, scale) {
    const words = new Uint32Array(pixels.data.buffer);
    const steps = pixels.width;
    const factor = LEVELS / scale;
    let index = 0;
    for (let step = 0; step < steps; step += 1) {
      for (let unit = 0; unit < width; unit += 1) {
        const level = Math.round(numbers[index] * factor);
        // NaN is grey; it has no order.
        words[unit * steps + step] =
          level <= LEVELS
            ? this.#words[Math.max(level, -LEVELS) + LEVELS]
            : level > LEVELS
              ? this.#words[2 * LEVELS]
              : this.#missing;
        index += 1;
      }
    }
  }

  /** The background of a token whose number is `number`. */
  tint(number, scale) {
    if (Number.isNaN(number)) return "transparent";
    const level = Math.round((number / scale) * LEVELS);
    return this.#tints[Math.max(-LEVELS, Math.min(LEVELS, level)) + LEVELS];
  }

  /** The colour of the n-th curve or output. */
  nth(number) {
    return this.series[number % this.series.length];
  }
}
