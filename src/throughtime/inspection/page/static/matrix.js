/** The numbers of a value: a row for each step, which arrive step by step. */

const ROUND = [1, 1.5, 2, 3, 5, 7];
/** The colours reach their ends for this share of the numbers; a few outliers may lie beyond. */
const SHARE = 0.98;

export class Matrix {
  #data = new Float32Array(0);
  #counts = new Map();
  #counted = 0;

  /** An empty matrix; `width`: the number of units. */
  constructor(width) {
    this.width = width;
    this.steps = 0;
    /** The largest absolute number, and the least number, of all that ever were in it. */
    this.largest = 0;
    this.least = 0;
  }

  /** Replaces the rows from `step` on by `numbers`, (T - step) times `width`. */
  replaceFrom(step, numbers) {
    const length = step * this.width + numbers.length;
    if (length > this.#data.length) {
      const data = new Float32Array(Math.max(length, 2 * this.#data.length));
      data.set(this.#data.subarray(0, step * this.width));
      this.#data = data;
    }
    this.#data.set(numbers, step * this.width);
    this.steps = length / this.width;
    for (const number of numbers) this.#count(number);
  }

  #count(number) {
    const size = Math.abs(number);
    if (!(size < Infinity)) return;
    if (size > this.largest) this.largest = size;
    if (number < this.least) this.least = number;
    // Powers of the square root of 2 are fine enough to choose a round number.
    const level = size > 0 ? Math.ceil(2 * Math.log2(size)) : -Infinity;
    this.#counts.set(level, (this.#counts.get(level) ?? 0) + 1);
    this.#counted += 1;
  }

  /** A round number that nearly all numbers do not exceed. */
  usualScale() {
    let number = 0;
    for (const level of [...this.#counts.keys()].sort((a, b) => a - b)) {
      number += this.#counts.get(level);
      if (number >= SHARE * this.#counted)
        return scaleFor(Math.min(this.largest, 2 ** (level / 2)));
    }
    return 1;
  }

  at(step, unit) {
    return this.#data[step * this.width + unit];
  }

  /** The numbers of steps `from` to `to`, without a copy. */
  rows(from, to) {
    return this.#data.subarray(from * this.width, to * this.width);
  }

  /** The least and the largest number of a unit, and 0 if all lie on one side of it. */
  rangeOf(unit) {
    let [low, high] = [0, 0];
    for (let step = 0; step < this.steps; step += 1) {
      const number = this.at(step, unit);
      if (number < low) low = number;
      if (number > high) high = number;
    }
    return [low, high];
  }
}

/** The least round number (1, 1.5, 2, 3, 5, 7, 10, …, and 0.7, 0.5, …) not below `largest`. */
export function scaleFor(largest) {
  if (!(largest > 0 && largest < Infinity)) return 1;
  const power = 10 ** Math.floor(Math.log10(largest));
  // A number such as 1.0000001, which rounding made larger than 1, still has the scale 1.
  const scale = [...ROUND, 10].find((step) => largest <= step * power * 1.001) ?? 10;
  return Number((scale * power).toPrecision(2));
}
