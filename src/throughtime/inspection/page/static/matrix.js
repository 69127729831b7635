/** The numbers of a value: a row for each step, which arrive step by step. */
export class Matrix {
  #data = new Float32Array(0);

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
    for (const number of numbers) {
      const size = Math.abs(number);
      if (size > this.largest && size < Infinity) this.largest = size;
      if (number < this.least && size < Infinity) this.least = number;
    }
  }

  at(step, unit) {
    return this.#data[step * this.width + unit];
  }

  /** The numbers of steps `from` to `to`, without a copy. */
  rows(from, to) {
    return this.#data.subarray(from * this.width, to * this.width);
  }
}

/** The least round number (1, 1.5, 2, 3, 5, 7, 10, … and 0.7, 0.5, …) that is not below `largest`. */
export function scaleFor(largest) {
  if (!(largest > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(largest));
  // A number such as 1.0000001, which rounding made larger than 1, still has the scale 1.
  return [1, 1.5, 2, 3, 5, 7, 10].map((step) => step * power).find((scale) => largest <= scale * 1.001);
}
