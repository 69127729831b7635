/** Starts the page: loads the runs, and leads what the user does to the parts that answer. */
import { clearError, showError } from "./alerts.js";
import { startBeam } from "./beam.js";
import { Palette } from "./colours.js";
import { startCompare } from "./compare.js";
import { byId } from "./elements.js";
import { startFires } from "./fires.js";
import { startFollow } from "./follow.js";
import { Instrument } from "./instrument.js";
import { Lens, valuesOf } from "./lens.js";
import { startMatch } from "./match.js";
import { startTheme } from "./page_theme.js";
import { startProject } from "./project.js";
import { Reading } from "./reading.js";
import { connect } from "./requests.js";
import { OWN, RunHead } from "./run_head.js";
import { Tabs } from "./tabs.js";
import { separatorOf, visible } from "./text.js";
import { TextBox } from "./text_box.js";
import { startWrite } from "./write.js";

/** The text box begins with so many characters of the first example. */
const FIRST_LENGTH = 240;

class Page {
  /** What the user has written, by the task of the run. */
  texts = new Map();
  /** The text to which "my text" leads back. */
  ownText = "";

  constructor(client, runs) {
    this.client = client;
    this.lens = new Lens(client, runs, new Palette());
    this.reading = new Reading(
      client,
      (from, time) => this.#onAnswer(from, time),
      (error) => this.#onError(error),
    );
    this.box = new TextBox(byId("text"), byId("text-colours"), (text, time) =>
      this.#onText(text, time),
    );
    // Before all other listeners, so that a key is asked about first.
    this.lens.onChange((changes) => this.#onChange(changes));
    this.head = new RunHead(this.lens, () => this.#refreshRuns());
    this.instrument = new Instrument(this.lens, this.reading, this.box);
    const panels = [...document.querySelectorAll("[role=tabpanel]")];
    this.tabs = new Tabs(byId("tabs"), panels);
    this.#startQuestions();
    this.#startControls();
    startTheme(() => this.lens.change({ palette: new Palette() }));
    this.#openRun(0);
  }

  #startQuestions() {
    const { lens } = this;
    const tokens = () => this.instrument.tokens();
    const selected = ([from, to]) =>
      tokens().slice(from, to).map(visible).join(separatorOf(tokens(), lens.run.is_language));
    this.questions = [
      startFires(byId("fires"), lens),
      startMatch(byId("match"), lens, selected),
      startFollow(byId("follow"), lens),
      startWrite(byId("write"), lens, {
        text: () => lens.input.text ?? this.reading.text,
        tokens,
        rangeOf: (name, unit) => this.reading.matrices.get(name)?.rangeOf(unit) ?? [0, 0],
        onTake: (text) => this.#take(text),
      }),
      startCompare(byId("compare"), lens),
      startBeam(byId("beam"), lens),
      startProject(byId("project"), lens),
    ];
  }

  #startControls() {
    byId("run").addEventListener("change", (event) => this.#openRun(Number(event.target.value)));
    byId("input").addEventListener("change", (event) => this.#openInput(event.target.value));
    byId("value").addEventListener("change", (event) =>
      this.lens.change({ value: event.target.value }),
    );
    byId("unit").addEventListener("input", (event) => {
      const { value, validity } = event.target;
      if (value !== "" && validity.valid) this.lens.change({ unit: Number(value) });
    });
    document.addEventListener("selectionchange", () => {
      if (document.activeElement !== this.box.area || !this.box.isCurrent) return;
      if (!this.instrument.isOfText) return;
      const range = this.box.selection();
      const step = range ? range[1] - 1 : this.box.caret();
      this.lens.change({ range, ...(step === null ? {} : { step }) });
      if (step !== null) this.instrument.chart.reveal(step);
    });
  }

  /** Opens a run; its first example, or the text that the user has written. */
  #openRun(index) {
    const run = this.lens.runs[index];
    this.reading.clear();
    this.instrument.clear();
    const input = this.#firstInput(run, index);
    this.isFirst = run.is_typed && "example" in input && !this.client.isOffline;
    this.lens.change({
      runIndex: index,
      input,
      value: firstValue(run),
      step: -1,
      range: null,
      pins: [],
    });
  }

  /** The text that the user has written for this task, or the first example. */
  #firstInput(run, index) {
    const inputs = this.client.inputs(index);
    if (inputs) return inputs[0] ?? { text: "" };
    const text = this.texts.get(run.task);
    if (run.is_typed && text) return { text };
    return run.examples.length ? { example: 0 } : { text: "" };
  }

  #showRun() {
    this.head.show();
    const offered = this.#offered();
    byId("questions").hidden = offered.length === 0;
    this.tabs.offer(offered);
  }

  /** The panels that fit the run. */
  #offered() {
    const { run } = this.lens;
    const isKnown = run.examples.length > 0;
    const offered = {
      fires: isKnown,
      match: isKnown,
      write: run.is_language,
      follow: isKnown && (run.is_typed || run.properties.length > 0),
      compare: run.is_language,
      beam: run.has_beam,
      project: isKnown || run.embeddings.length > 0,
    };
    return Object.keys(offered).filter((id) => offered[id]);
  }

  /** Loads the runs again: one may still be trained, or may have shown its values only now. */
  async #refreshRuns() {
    try {
      const { runs } = await this.client.ask("runs", {});
      const { lens } = this;
      const run = runs[lens.runIndex];
      const value = valuesOf(run).some(({ name }) => name === lens.value)
        ? lens.value
        : firstValue(run);
      lens.change({ runs, value });
      // Another model may have been loaded, of which nothing else tells.
      this.#read();
    } catch (error) {
      showError(error);
    }
  }

  #openInput(choice) {
    this.lens.change({
      input: choice === OWN ? this.#ownInput() : { example: Number(choice) },
      step: -1,
      range: null,
    });
  }

  #ownInput() {
    const inputs = this.client.inputs(this.lens.runIndex);
    return inputs?.find((input) => "text" in input) ?? { text: this.ownText };
  }

  #onText(text, time) {
    this.keyTime = time;
    this.texts.set(this.lens.run.task, text);
    this.lens.change({ input: { text }, range: null });
  }

  /** Puts a text into the box, as if it were typed. */
  #take(text) {
    this.texts.set(this.lens.run.task, text);
    this.lens.change({ input: { text }, step: -1, range: null });
    byId("text").scrollIntoView({ block: "center" });
    byId("text").focus();
  }

  #onChange(changes) {
    const isOther = ["runs", "runIndex", "input", "value"].some((name) => changes.has(name));
    if (changes.has("runs") || changes.has("runIndex")) this.#showRun();
    if (isOther) this.#showInput();
    const isMissing = this.lens.pins.some((pin) => !this.reading.matrices.has(pin.name));
    if (isOther || (changes.has("pins") && isMissing)) this.#read();
  }

  #showInput() {
    const { input, run } = this.lens;
    this.head.showChoices();
    this.box.area.readOnly = "example" in input || this.client.isOffline;
    byId("text-box").hidden = !run.is_typed;
    if ("text" in input) {
      this.ownText = input.text;
      if (this.box.text !== input.text) this.box.text = input.text;
    }
  }

  #read() {
    const { lens, reading } = this;
    const { run, input } = lens;
    const time = this.keyTime ?? null;
    this.keyTime = null;
    if (input.text === "") {
      reading.clear();
      this.#showWaiting();
      clearError();
      lens.change({ step: -1, range: null });
      this.instrument.clear();
      byId("text-note").textContent = run.is_typed
        ? "Type a text: the model reads it while you type."
        : "";
      return;
    }
    const names = [...new Set([lens.value, ...lens.pins.map((pin) => pin.name)])].filter(Boolean);
    reading.read(lens.runIndex, input, names, run.is_language, time);
    this.#showWaiting();
  }

  /** Says, also to screen readers, whether the chart is of an older text. */
  #showWaiting() {
    byId("chart").setAttribute("aria-busy", String(this.reading.isWaiting));
  }

  #onAnswer(from, time) {
    const { lens, reading, box } = this;
    this.#showWaiting();
    clearError();
    if (lens.values.length === 0 && !this.isRefreshed) {
      // A run whose data are missing shows its values once it has read a text.
      this.isRefreshed = true;
      this.#refreshRuns();
      return;
    }
    if (this.isFirst && "example" in lens.input) {
      this.#beginText();
      return;
    }
    // The user may have begun to write in the meantime.
    if ("example" in reading.input && "example" in lens.input) box.text = reading.text;
    byId("text-note").textContent = [reading.unknown, this.#offlineNote()]
      .filter(Boolean)
      .join(" ");
    const isTyped = time !== null;
    const isAtEnd = isTyped && box.area.selectionEnd === box.text.length;
    const last = () => this.instrument.tokens().length - 1;
    const caret = () => (isTyped && this.instrument.isOfText ? box.caret() : null);
    const choice = () => caret() ?? (isTyped || lens.step < 0 ? last() : null);
    this.instrument.show(from, choice, isAtEnd);
    if (isTyped) performance.measure("lens:key", { start: time });
  }

  /** The user's text begins with the first example, so that there is something to change. */
  #beginText() {
    this.isFirst = false;
    // Whole characters, not the two halves of which some are made.
    const characters = [...this.reading.text].slice(0, FIRST_LENGTH);
    this.lens.change({ input: { text: characters.join("") } });
  }

  #offlineNote() {
    if (!this.client.isOffline) return "";
    const command = `throughtime inspect ${this.lens.run.folder} --serve`;
    return `This page shows the input for which it was written. To type, run: ${command}`;
  }

  #onError(error) {
    this.#showWaiting();
    byId("text-note").textContent = "";
    showError(error);
  }
}

/** The value that a run shows first: attention, or the first state (h) of the last layer. */
function firstValue(run) {
  const values = valuesOf(run);
  const states = values.filter((value) => value.is_state && !value.name.endsWith("_reverse"));
  const layer = states.at(-1)?.name.match(/_l\d+$/)?.[0] ?? "";
  const state = states.find(
    (value) => value.part === states.at(-1).part && value.name.endsWith(layer),
  );
  return (values.find((value) => value.is_attention) ?? state ?? values[0])?.name ?? null;
}

try {
  const client = connect();
  const { runs } = await client.ask("runs", {});
  new Page(client, runs);
} catch (error) {
  byId("summary").textContent = "";
  startTheme();
  showError(error);
}
