/** The beam search as a tree: from left to right, a column for each token. */
import { numberIn, Question, table } from "./question.js";
import { element } from "./elements.js";
import { plain, visible } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const [COLUMN, ROW, MARGIN] = [104, 26, 18];
const MOST_CANDIDATES = 12;

/** Starts the question in its panel. */
export function startBeam(panel, lens) {
  return new Question(panel, lens, {
    name: "beam",
    request: (form) =>
      lens.input.text
        ? { text: lens.input.text, width: numberIn(form, "width") }
        : "Type a text first: the beam reads the text of the text box.",
    show: (answer) => {
      const nodes = laidOut(answer.nodes);
      return [
        element("p", {
          class: "soft",
          text:
            `Source: ${answer.source.map(visible).join(" ")}. The best candidate is bold; squares are ends. ` +
            "The number is the probability of the token after those before it.",
        }),
        element(
          "div",
          {
            class: "scroll panel",
            tabindex: "0",
            role: "region",
            "aria-label": "Tree of the beam search",
          },
          drawn(nodes),
        ),
        candidates(nodes),
      ];
    },
  });
}

/** The nodes with their depth, their row, the sum of log-probabilities, and their children. */
function laidOut(nodes) {
  const tree = nodes.map((node) => ({ ...node, children: [], depth: 0, total: 0, row: 0 }));
  // A parent stands before its children.
  tree.forEach((node, index) => {
    if (index === 0) return;
    const parent = tree[node.parent];
    parent.children.push(node);
    Object.assign(node, {
      above: parent,
      depth: parent.depth + 1,
      total: parent.total + node.log_probability,
    });
  });
  // The best child continues its parent's row; each other one begins a row below.
  let last = -1;
  const open = [tree[0]];
  while (open.length) {
    const node = open.pop();
    if (node.above?.children[0] === node) node.row = node.above.row;
    else node.row = last += 1;
    node.children.sort(
      (a, b) => Number(b.is_best) - Number(a.is_best) || b.log_probability - a.log_probability,
    );
    open.push(...node.children.toReversed());
  }
  return tree;
}

function drawn(nodes) {
  const width = 2 * MARGIN + (Math.max(...nodes.map((node) => node.depth)) + 1) * COLUMN;
  const height = 2 * MARGIN + Math.max(...nodes.map((node) => node.row)) * ROW + ROW;
  const best =
    nodes.find((node) => node.is_best && node.is_end) ?? nodes.findLast((node) => node.is_best);
  const svg = svgElement("svg", {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    class: "tree",
    role: "img",
    "aria-label": `Tree with ${nodes.length - 1} tokens; the best candidate is ${best ? written(best) : "not known"}.`,
  });
  const [x, y] = [
    (node) => MARGIN + node.depth * COLUMN,
    (node) => MARGIN + node.row * ROW + ROW / 2,
  ];
  for (const node of nodes) {
    if (!node.above) continue;
    const [from, to] = [x(node.above) + 6, x(node) - 6];
    const middle = to - 18;
    svg.append(
      svgElement("path", {
        class: node.is_best ? "edge best" : "edge",
        d: `M${from},${y(node.above)}H${middle - 8}C${middle},${y(node.above)} ${middle},${y(node)} ${to},${y(node)}`,
      }),
    );
  }
  for (const node of nodes) {
    const kind = node.is_best ? "node best" : "node";
    svg.append(
      node.is_end
        ? svgElement("rect", { class: kind, x: x(node) - 4, y: y(node) - 4, width: 8, height: 8 })
        : svgElement("circle", { class: kind, cx: x(node), cy: y(node), r: 3.5 }),
    );
    if (!node.above) continue;
    const label = svgElement("text", { class: kind, x: x(node) + 7, y: y(node) - 5 });
    label.textContent = `${shortened(visible(node.token))} ${plain(Math.exp(node.log_probability), 2)}`;
    svg.append(label);
  }
  return svg;
}

function candidates(nodes) {
  const leaves = nodes
    .filter((node) => node.above && node.children.length === 0)
    .sort(
      (a, b) =>
        Number(b.is_best) - Number(a.is_best) ||
        Number(b.is_end) - Number(a.is_end) ||
        b.total - a.total,
    );
  const caption =
    leaves.length > MOST_CANDIDATES
      ? `Candidates: ${MOST_CANDIDATES} of ${leaves.length}, first those that ended`
      : "Candidates";
  return table(
    caption,
    ["Text", "Log-probability", "Kind"],
    leaves
      .slice(0, MOST_CANDIDATES)
      .map((leaf) => [
        written(leaf),
        element("span", { class: "numbers", text: plain(leaf.total) }),
        leaf.is_best ? "best" : leaf.is_end ? "ended" : "dropped",
      ]),
  );
}

function written(node) {
  const tokens = [];
  for (let one = node; one.above; one = one.above) tokens.unshift(visible(one.token));
  return tokens.join(" ");
}

function shortened(text) {
  return text.length <= 8 ? text : `${text.slice(0, 7)}…`;
}

function svgElement(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}
