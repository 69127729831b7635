/** The head of the page: which run is open, what is known of it, its inputs and its values. */
import { runName } from "./compare.js";
import { byId, element, fill } from "./elements.js";

/** The choice of the text box among the inputs; the others are numbers of examples. */
export const OWN = "own";

export class RunHead {
  /** `onRefresh()`: loads the runs again. */
  constructor(lens, onRefresh) {
    Object.assign(this, { lens, onRefresh });
  }

  /** Shows the run that is open. */
  show() {
    const { run, runs, runIndex } = this.lens;
    byId("run-field").hidden = runs.length < 2;
    const names = runs.map((one, index) => [index, runName(one)]);
    fill(byId("run"), names);
    byId("run").value = runIndex;
    const size = `${run.parameters.toLocaleString("en")} parameters`;
    byId("summary").textContent = [run.task, run.title, run.cell, size].filter(Boolean).join(" · ");
    document.title = `${run.title || run.task} · the lens · throughtime`;
    this.#showNotes(run.notes);
    this.#showValues(run.parts);
    this.#showInputs(run);
  }

  /** Shows which input and which value are chosen. */
  showChoices() {
    const { input, value } = this.lens;
    byId("value").value = value ?? "";
    byId("input").value = input.example ?? OWN;
  }

  #showNotes(notes) {
    const items = notes.map((text) => element("li", { text }));
    if (items.length && !this.lens.client.isOffline) {
      const on = { click: this.onRefresh };
      items.push(element("li", {}, element("button", { type: "button", text: "Look again", on })));
    }
    byId("notes").replaceChildren(...items);
    byId("notes").hidden = items.length === 0;
  }

  #showValues(parts) {
    const groups = parts.map(({ name, values }) => {
      const options = values.map((value) =>
        element("option", { value: value.name, text: value.label }),
      );
      return element("optgroup", { label: name || "model" }, ...options);
    });
    byId("value").replaceChildren(...(groups.length === 1 ? groups[0].children : groups));
  }

  #showInputs(run) {
    const { client, runIndex } = this.lens;
    const examples = run.examples.map((title, index) => [index, title]);
    const choices = run.is_typed ? [[OWN, "my text"], ...examples] : examples;
    const inputs = client.inputs(runIndex);
    const isOffered = ([choice]) => inputs.some(({ example }) => (example ?? OWN) === choice);
    fill(byId("input"), inputs ? choices.filter(isOffered) : choices);
  }
}
