/** Tabs: one question is open at a time. Arrow keys, Home and End go from tab to tab. */
import { element } from "./elements.js";

export class Tabs {
  #tabs = [];

  /** Makes a tab for each panel, titled by its data-title; the first is open. */
  constructor(list, panels) {
    this.list = list;
    for (const panel of panels) {
      const tab = element("button", {
        type: "button",
        role: "tab",
        id: `tab-${panel.id}`,
        "aria-controls": panel.id,
        text: panel.dataset.title,
        on: { click: () => this.open(panel.id) },
      });
      panel.setAttribute("aria-labelledby", tab.id);
      list.append(tab);
      this.#tabs.push({ tab, panel });
    }
    list.addEventListener("keydown", (event) => this.#onKey(event));
    this.open(panels[0].id);
  }

  /** Opens a panel. */
  open(id) {
    for (const { tab, panel } of this.#tabs) {
      const isOpen = panel.id === id;
      tab.setAttribute("aria-selected", String(isOpen));
      tab.tabIndex = isOpen ? 0 : -1;
      panel.hidden = !isOpen;
      if (isOpen) this.#reveal(tab);
    }
    this.isOpen = id;
  }

  /** Scrolls the list, which is wider than a small screen, to a tab. */
  #reveal(tab) {
    const { list } = this;
    const end = tab.offsetLeft + tab.offsetWidth - list.offsetLeft;
    if (end > list.scrollLeft + list.clientWidth) list.scrollLeft = end - list.clientWidth;
    list.scrollLeft = Math.min(list.scrollLeft, tab.offsetLeft - list.offsetLeft);
  }

  /** Shows the tabs of these panels only; without any, no panel is open. */
  offer(ids) {
    for (const { tab, panel } of this.#tabs) tab.hidden = !ids.includes(panel.id);
    if (!ids.includes(this.isOpen)) this.open(ids[0]);
  }

  #onKey(event) {
    const shown = this.#tabs.filter(({ tab }) => !tab.hidden);
    const at = shown.findIndex(({ panel }) => panel.id === this.isOpen);
    const places = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: shown.length - 1 };
    if (!(event.key in places)) return;
    const { tab, panel } = shown[(places[event.key] + shown.length) % shown.length];
    this.open(panel.id);
    tab.focus();
    event.preventDefault();
  }
}
