/** What the page looks at: the run, its input, the picked value, unit, step and range, the pins.
 *
 * All parts of the page share one Lens; each change calls the listeners with what has changed.
 */
export class Lens {
  runIndex = -1;
  /** {text} or {example: number}. */
  input = { text: "" };
  value = null;
  unit = 0;
  step = -1;
  /** [from, to) of the selected steps, or null. */
  range = null;
  /** [{name, unit}] of the units whose curves stay. */
  pins = [];
  #listeners = [];

  constructor(client, runs, palette) {
    Object.assign(this, { client, runs, palette });
  }

  get run() {
    return this.runs[this.runIndex];
  }

  /** All values of the run that is open. */
  get values() {
    return this.run ? valuesOf(this.run) : [];
  }

  /** The value with this name. */
  named(name) {
    return this.values.find((value) => value.name === name);
  }

  /** A name of a unit for people. */
  unitName(name, unit) {
    return `${this.named(name)?.label ?? name}, unit ${unit}`;
  }

  /** Calls `listener(changes)` after each change; `changes`: the names of the changed fields. */
  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** Changes fields, and tells the listeners which of them are new. */
  change(fields) {
    const changes = new Set(
      Object.keys(fields).filter((name) => !isEqual(this[name], fields[name])),
    );
    if (changes.size === 0) return;
    Object.assign(this, fields);
    for (const listener of this.#listeners) listener(changes);
  }

  /** Picks a unit of a value of the run that is open. */
  pick(name, unit) {
    const value = this.named(name);
    if (value) this.change({ value: value.name, unit });
  }
}

/** All values of a run: [{name, label, width, is_state, is_attention, part}]. */
export function valuesOf(run) {
  return run.parts.flatMap((part) => part.values.map((value) => ({ ...value, part: part.name })));
}

function isEqual(a, b) {
  return a === b || (a && b && typeof a === "object" && JSON.stringify(a) === JSON.stringify(b));
}
