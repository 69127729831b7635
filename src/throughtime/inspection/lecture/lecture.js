/** The small network of the lecture page: its sliders, its steps, and its table of numbers. */
import { unfold } from "./unfolded.js";
import { figure, norm, tint } from "./figure.js";
import { startTheme } from "../page_theme.js";

// Pixels: of a number with so many digits, and of the names of the rows.
const WIDTHS = { 2: 58, 4: 70, 8: 104 };
const LABELS = 98;
const PAUSE = 900;

/** Starts the page; `step` is the printed step of the cell. */
export function start(step) {
  const network = JSON.parse(document.getElementById("network-data").textContent);
  const { steps, units } = network;
  const at = (id) => document.getElementById(id);
  const table = at("unfolded").querySelector("table");
  const cells = new Map();
  let given;
  let goal;
  let position = 2 * steps;
  let timer = null;

  const isForward = (t) => t < position;
  const isBackward = (t) => t >= 2 * steps - position;
  const lossAt = () => Number(at("at").value) - 1;

  // The table.

  function makeTable() {
    at("figure").colSpan = steps;
    for (let t = 0; t < steps; t += 1) {
      const head = document.createElement("th");
      head.scope = "col";
      head.textContent = `t = ${t + 1}`;
      table.tHead.rows[1].append(head);
      at("at").append(new Option(`${t + 1}`));
    }
    at("at").value = `${steps}`;
    at("position").max = `${2 * steps}`;
    for (const tr of table.querySelectorAll("tbody tr:not(.part)")) {
      cells.set(tr, Array.from({ length: steps }, () => tr.insertCell()));
    }
  }

  /** A slider with its number, which writes into values[k]. */
  function slider(values, k, label, low, high) {
    const box = document.createElement("label");
    box.className = "slider";
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: low, max: high, step: 0.05, value: values[k] });
    input.setAttribute("aria-label", label);
    const shown = document.createElement("output");
    shown.textContent = written(values[k], 2);
    input.addEventListener("input", () => {
      values[k] = Number(input.value);
      shown.textContent = written(values[k], 2);
      show();
    });
    box.append(input, shown);
    return box;
  }

  function makeSliders() {
    given = { x: network.x.values.map((row) => [...row]), inputs: {} };
    for (const input of network.inputs) given.inputs[input.name] = input.values.map((v) => [...v]);
    goal = Array.from({ length: units }, (_, k) => (k % 2 === 0 ? 0.5 : -0.5));
    for (const [tr, tds] of cells) {
      const name = tr.dataset.sliders;
      if (!name || name === "goal") continue;
      const input = network.inputs.find((entry) => entry.name === name);
      const values = input ? given.inputs[name] : given.x;
      const [low, high] = input ? [0, input.most] : [-2, 2];
      tds.forEach((td, t) => {
        td.replaceChildren(...values[t].map((_, k) =>
          slider(values[t], k, `${tr.dataset.name}, number ${k + 1}, step ${t + 1}`, low, high)));
      });
    }
    makeGoal();
  }

  /** The sliders of the target, or of the gradient, in the column of the loss. */
  function makeGoal() {
    const isTarget = at("loss").value === "target";
    at("goal").textContent = isTarget ? "target" : "gradient";
    const [[, tds]] = [...cells].filter(([tr]) => tr.dataset.sliders === "goal");
    tds.forEach((td, t) => {
      td.replaceChildren(...(t === lossAt()
        ? goal.map((_, k) => slider(goal, k, `${at("goal").textContent}, unit ${k + 1}`, -1, 1))
        : []));
    });
  }

  // The numbers.

  function written(value, digits) {
    if (!Number.isFinite(value)) return `${value}`;
    const size = Math.abs(value);
    const isSmall = size !== 0 && size < 0.5 * 10 ** -digits;
    // The leading digits of a small or large number: 0.003, 2e−7, 1.0e4.
    let text = value.toFixed(digits);
    if (size >= 1e3) text = value.toExponential(digits - 1);
    else if (isSmall && size < 1e-4) text = value.toExponential(Math.max(digits - 2, 0));
    else if (isSmall) text = value.toPrecision(Math.max(digits - 1, 1));
    return text.replace("e+", "e").replaceAll("-", "−");
  }

  /** What stands in a row of the table at step t; null before it is computed. */
  function valuesOf(tr, results, t) {
    const { from, key } = tr.dataset;
    const now = results[t];
    if (from === "drawn") return network.drawn[key][t];
    if (from === "values") return isForward(t) ? now.values[key] : null;
    if (!isBackward(t)) return null;
    if (from === "loss") return now.arrived;
    return from === "gradients" ? now.back.values[key] : now.back[from][key];
  }

  function show() {
    const isTarget = at("loss").value === "target";
    const digits = Number(at("digits").value);
    const least = Math.max(units, network.x.values[0].length) * WIDTHS[digits] + 14;
    const column = Math.max(least, Math.floor((at("unfolded").clientWidth - LABELS) / steps));
    const results = unfold(step, network, given, (t, output) => {
      const arrived = output.map((v, k) => (t !== lossAt() ? 0 : isTarget ? v - goal[k] : goal[k]));
      arrivedAt[t] = arrived;
      return arrived;
    });
    results.forEach((now, t) => { now.arrived = arrivedAt[t]; });
    const passed = network.states.map((state) => ({
      values: [state.initial, ...results.map((now) => now.states[state.name])],
      gradients: results.map((now) => now.back.before[state.name]),
    }));
    const largest = Math.max(1e-300, ...results.flatMap((now) =>
      network.states.flatMap((state) =>
        [...now.back.before[state.name], ...now.back.states[state.name]].map(Math.abs))));

    table.style.setProperty("--column", `${column}px`);
    table.style.setProperty("--most", `${Math.max(units, network.x.values[0].length)}`);
    for (const [tr, tds] of cells) {
      if (tr.dataset.sliders) continue;
      const scale = tr.closest("tbody").dataset.part === "forward" ? 1 : largest;
      tds.forEach((td, t) => fill(td, valuesOf(tr, results, t), digits, scale));
    }
    const isBetween = position > 0 && position < 2 * steps;
    const current = !isBetween ? -1 : position <= steps ? position - 1 : 2 * steps - position;
    for (const tr of [...cells.keys(), table.tHead.rows[1]]) {
      [...tr.cells].slice(1).forEach((td, t) => td.classList.toggle("current", t === current));
    }
    at("figure").replaceChildren(figure(network, {
      column, largest, forward: isForward, backward: isBackward, lossAt: lossAt(),
      states: passed.map((state) => state.values),
      gradients: passed.map((state) => state.gradients),
      inputs: given.x,
    }));
    at("position").value = `${position}`;
    at("where").textContent = where(current);
    at("first").disabled = position === 0;
    at("earlier").disabled = position === 0;
    at("later").disabled = position === 2 * steps;
    at("whole").disabled = position === 2 * steps;
    const output = results[lossAt()].output;
    const loss = isTarget
      ? 0.5 * norm(output.map((v, k) => v - goal[k])) ** 2
      : output.reduce((sum, v, k) => sum + v * goal[k], 0);
    at("value").textContent = isForward(lossAt()) ? `L = ${written(loss, Math.max(digits, 4))}` : "";
  }
  const arrivedAt = [];

  function where(current) {
    if (position === 0) return "before the first step";
    if (position === 2 * steps) return "all steps, forward and backward";
    return position <= steps ? `forward, t = ${current + 1}` : `backward, t = ${current + 1}`;
  }

  function fill(td, values, digits, scale) {
    if (values === null || values === undefined) {
      td.replaceChildren();
      return;
    }
    const list = Array.isArray(values) ? values : [values];
    td.replaceChildren(...list.map((entry) => {
      const value = Number(entry);
      const chip = document.createElement("span");
      chip.className = "chip";
      chip.textContent = written(value, digits);
      chip.title = `${value}`;
      chip.style.backgroundColor = tint(value, scale, 45);
      return chip;
    }));
  }

  // The steps.

  function go(to) {
    position = Math.min(Math.max(to, 0), 2 * steps);
    if (position === 2 * steps) stop();
    show();
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    at("play").textContent = "Play";
  }
  at("play").addEventListener("click", () => {
    if (timer !== null) {
      stop();
      return;
    }
    at("play").textContent = "Pause";
    go(position === 2 * steps ? 0 : position + 1);
    timer = setInterval(() => go(position + 1), PAUSE);
  });
  for (const [id, to] of [
    ["first", () => 0], ["earlier", () => position - 1],
    ["later", () => position + 1], ["whole", () => 2 * steps],
  ]) {
    at(id).addEventListener("click", () => {
      stop();
      go(to());
    });
  }
  at("position").addEventListener("input", () => {
    stop();
    go(Number(at("position").value));
  });
  for (const id of ["loss", "at"]) {
    at(id).addEventListener("change", () => {
      makeGoal();
      show();
    });
  }
  at("digits").addEventListener("change", show);
  window.addEventListener("resize", show);
  at("reset").addEventListener("click", () => {
    makeSliders();
    show();
  });

  makeTable();
  makeSliders();
  show();
  startTheme();
}
