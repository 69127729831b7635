/** Draws the unfolded network: a box for each step, with the states and gradients between them. */

const SVG = "http://www.w3.org/2000/svg";
const LANE = 17;
const SIDE = 34;
const INPUT = 46;
const LETTER = 22;

function element(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

/** A number between 0 (one colour of the scale), ½ (zero) and 1 (the other), as a CSS colour. */
export function tint(value, largest, strength = 100) {
  const share = largest > 0 ? Math.min(Math.abs(value) / largest, 1) : 0;
  const end = value < 0 ? "var(--below)" : "var(--above)";
  return `color-mix(in oklab, ${end} ${(share * strength).toFixed(1)}%, var(--zero))`;
}

/** The Euclidean norm of a row. */
export const norm = (a) => Math.hypot(...a);

/**
 * @param network the sizes and names.
 * @param view `column`, the width of a step in pixels; `forward` and `backward`, functions of t
 *   that tell whether a step is computed; `states` and `gradients`, for each state its values at
 *   t = 0 … T, as they pass from step t to step t + 1; `inputs`, the rows x_t; `lossAt`, a step.
 */
export function figure(network, view) {
  const { states, steps, units } = network;
  const { column } = view;
  const lanes = 2 * states.length;
  const top = 46;
  const height = Math.max(lanes * LANE + 14, 54);
  const width = steps * column;
  const svg = element("svg", {
    class: "unfolded", role: "img", width, height: top + height + INPUT,
    "aria-label": `${network.title}, unfolded: states pass to the right, gradients to the left`,
  });
  for (let t = 0; t < steps; t += 1) {
    svg.append(...box(t));
    for (let k = 0; k < states.length; k += 1) svg.append(...lane(t, k));
  }
  for (let k = 0; k < states.length; k += 1) svg.append(...lane(steps, k));
  return svg;

  /** The cell of step t, its input below, and the loss above. */
  function box(t) {
    const x = t * column + SIDE;
    const middle = t * column + column / 2;
    const parts = [element("rect", {
      class: view.forward(t) ? "cell" : "cell waiting",
      x, y: top, width: column - 2 * SIDE, height, rx: 6,
    })];
    const room = column - 2 * SIDE - 2 * LETTER;
    if (network.title.length * 7.5 < room) {
      parts.push(element("text", { class: "title", x: middle, y: top + height / 2 + 5 },
        network.title));
    }
    states.forEach((state, k) => {
      parts.push(element("text", { class: "letter", x: x + LETTER / 2 + 2, y: laneOf(k) + 4 },
        network.labels[state.name]));
    });
    parts.push(arrow(middle, top + height + INPUT - 18, middle, top + height + 2, "input"));
    parts.push(...squares(view.inputs[t], middle, top + height + INPUT - 10, 2));
    if (t === view.lossAt) {
      const isBack = view.backward(t);
      parts.push(arrow(middle - 8, top - 2, middle - 8, 24, view.forward(t) ? "on" : "waiting"));
      if (isBack) parts.push(arrow(middle + 8, 24, middle + 8, top - 2, "back"));
      parts.push(element("text", { class: "loss", x: middle, y: 17 }, "L"));
    }
    return parts;
  }

  function laneOf(k) {
    return top + height / 2 + (2 * k - states.length + 0.5) * LANE;
  }

  /** State k between the steps t - 1 and t, and below it its gradient. */
  function lane(t, k) {
    const y = laneOf(k);
    const from = t * column - SIDE + 3;
    const to = t * column + SIDE - 3;
    const start = Math.max(from, 2);
    const end = Math.min(to, width - 2);
    const middle = (start + end) / 2;
    const parts = [];
    const known = t === 0 || view.forward(t - 1);
    // Before the first box and after the last there is room for the values only.
    const isBetween = t > 0 && t < steps;
    if (isBetween) parts.push(arrow(start, y, end, y, known ? "on" : "waiting"));
    if (known) parts.push(...squares(view.states[k][t], middle - 2, y, 1));
    const back = y + LANE;
    const isBack = t < steps && view.backward(t);
    if (isBetween) parts.push(arrow(end, back, start, back, isBack ? "back" : "waiting"));
    if (isBack) parts.push(...squares(view.gradients[k][t], middle + 2, back, view.largest));
    return parts;
  }

  function arrow(x1, y1, x2, y2, kind) {
    const size = 4.5;
    const [dx, dy] = [Math.sign(x2 - x1), Math.sign(y2 - y1)];
    const head = [[x2, y2], [x2 - dx * size - dy * 3, y2 - dy * size - dx * 3],
      [x2 - dx * size + dy * 3, y2 - dy * size + dx * 3]];
    const group = element("g", { class: `arrow ${kind}` });
    group.append(element("line", { x1, y1, x2: x2 - dx * size, y2: y2 - dy * size }));
    group.append(element("polygon", { points: head.map((p) => p.join()).join(" ") }));
    return group;
  }

  /** A row of values as small squares around a point. */
  function squares(values, x, y, largest) {
    const size = Math.min(9, 30 / Math.max(values.length, units));
    return values.map((value, k) => {
      const square = element("rect", {
        class: "square", x: x + (k - values.length / 2) * size, y: y - size / 2,
        width: size, height: size,
      });
      square.style.fill = tint(value, largest);
      return square;
    });
  }
}
