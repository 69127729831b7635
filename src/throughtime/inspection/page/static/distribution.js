/** The likeliest outputs after a step: a table with bars. */
import { element } from "./elements.js";
import { plain, spoken, visible } from "./text.js";

export class Distribution {
  #rows = [];

  constructor(table, caption) {
    this.body = table.tBodies[0];
    this.caption = caption;
  }

  /** `shares`: [[output, probability]]; `colour(output)`: the colour of its bar. */
  show(title, shares, colour) {
    if (this.caption.textContent !== title) this.caption.textContent = title;
    while (this.#rows.length < shares.length) this.#rows.push(this.#row());
    this.#rows.forEach(({ row, name, bar, number }, index) => {
      row.hidden = index >= shares.length;
      if (row.hidden) return;
      const [output, probability] = shares[index];
      const text = visible(output);
      if (name.textContent !== text) {
        name.textContent = text;
        if (text === output) name.removeAttribute("aria-label");
        else name.setAttribute("aria-label", spoken(output));
      }
      bar.style.width = `${(100 * probability).toFixed(2)}%`;
      bar.style.backgroundColor = colour(output);
      number.textContent = plain(probability, 4);
    });
  }

  #row() {
    const name = element("th", { scope: "row" });
    const bar = element("span", { class: "bar" });
    const number = element("td", { class: "numbers" });
    const row = element(
      "tr",
      {},
      name,
      element("td", { class: "bar-cell", "aria-hidden": "true" }, bar),
      number,
    );
    this.body.append(row);
    return { row, name, bar, number };
  }
}
