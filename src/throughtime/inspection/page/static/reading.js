/** What the model computed while it read the input: asked for with each key, kept step by step. */
import { Matrix } from "./matrix.js";
import { numbersOf } from "./requests.js";
import { separatorOf, tokensInCommon } from "./text.js";

export class Reading {
  run = -1;
  /** The input that was read: {text} or {example}; null before the first answer. */
  input = null;
  /** The tokens of each part of the model. */
  steps = {};
  /** The numbers of each value that was asked for, by its name. */
  matrices = new Map();
  /** The likeliest outputs after each step from `topFrom` of the last part on. */
  top = [];
  topFrom = 0;
  /** The input as a person would type it. */
  text = "";
  features = null;
  featureNames = [];
  /** A sentence about characters that the training never saw, or "". */
  unknown = "";
  /** Which model gave the answer: a training may have written a newer one. */
  version = null;
  #sent = 0;
  #applied = 0;

  /** `onAnswer(from, time)`: the steps from `from` on are new; `time`: of the event that asked.
   * `onError(error)`: the question has no answer.
   */
  constructor(client, onAnswer, onError) {
    Object.assign(this, { client, onAnswer, onError });
  }

  /** Asks for the values of an input. Answers that arrive after a newer one are dropped.
   *
   * Args: run: its index. input: {text} or {example}. names: of the values. isLanguage: the values
   * of a step depend on no later token, so those of an unchanged beginning are known.
   */
  async read(run, input, names, isLanguage, time = null) {
    this.#sent += 1;
    const number = this.#sent;
    const known = isLanguage ? this.#known(run, input, names) : 0;
    try {
      // Only an earlier answer knows a version.
      const before = known > 0 ? { known, version: this.version } : { known };
      const answer = await this.client.ask("read", { run, ...input, values: names, ...before });
      if (number < this.#applied) return;
      if (answer.known > 0 && !this.#continues(run, names, answer)) {
        // What was read in the meantime has another beginning.
        if (number === this.#sent) await this.#again(run, input, names, time);
        return;
      }
      this.#applied = number;
      this.#apply(run, input, answer, isLanguage, time);
    } catch (error) {
      if (number !== this.#sent) return;
      this.#applied = number;
      this.onError(error);
    }
  }

  /** Whether the answer to the last question has not arrived yet. */
  get isWaiting() {
    return this.#applied < this.#sent;
  }

  /** Forgets all, and drops the answers that are on their way. */
  clear() {
    this.#sent += 1;
    this.#applied = this.#sent;
    Object.assign(this, {
      run: -1,
      input: null,
      steps: {},
      matrices: new Map(),
      top: [],
      topFrom: 0,
    });
    Object.assign(this, { text: "", features: null, featureNames: [], unknown: "", version: null });
  }

  async #again(run, input, names, time) {
    this.input = null;
    await this.read(run, input, names, false, time);
  }

  #known(run, input, names) {
    const isCurrent = this.run === run && typeof this.input?.text === "string";
    if (!isCurrent || typeof input.text !== "string") return 0;
    if (!names.every((name) => this.matrices.has(name))) return 0;
    return tokensInCommon(this.input.text, input.text, Object.values(this.steps)[0]);
  }

  #continues(run, names, answer) {
    const [before, after] = [Object.values(this.steps)[0] ?? [], Object.values(answer.steps)[0]];
    return (
      this.run === run &&
      names.every((name) => this.matrices.get(name)?.steps >= answer.known) &&
      after.slice(0, answer.known).every((token, step) => token === before[step])
    );
  }

  #apply(run, input, answer, isLanguage, time) {
    const { known } = answer;
    const matrices = new Map();
    for (const values of answer.values) {
      const before = known > 0 ? this.matrices.get(values.name) : undefined;
      const matrix = before ?? new Matrix(values.shape[1]);
      matrix.replaceFrom(known, numbersOf(values));
      matrices.set(values.name, matrix);
    }
    Object.assign(this, { run, input, matrices, steps: answer.steps, unknown: answer.unknown });
    this.version = answer.version;
    const tokens = Object.values(answer.steps)[0] ?? [];
    this.text = input.text ?? answer.text ?? tokens.join(separatorOf(tokens, isLanguage));
    this.top = known > 0 ? [...this.top.slice(0, known), ...answer.top] : answer.top;
    this.topFrom = Math.max(0, (Object.values(answer.steps).at(-1) ?? []).length - this.top.length);
    if (answer.features) {
      this.features = new Matrix(answer.features.shape[1]);
      this.features.replaceFrom(0, numbersOf(answer.features));
    } else {
      this.features = null;
    }
    this.featureNames = answer.feature_names ?? [];
    this.onAnswer(known, time);
  }
}
