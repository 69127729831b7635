/** The theme of a page, which page_style.css colours: light, dark, or what the browser prefers. */

const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is dark at the moment. */
export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : prefersDark.matches;
}

/** The colour of a variable of page_style.css in this theme, like "rgb(29, 95, 168)".
 *
 * A canvas needs it: the variables hold light-dark(), which a canvas does not read.
 */
export function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** Makes the button [data-theme-switch] change the theme; calls `redraw` after each change. */
export function startTheme(redraw = () => {}) {
  const button = document.querySelector("[data-theme-switch]");
  const show = () => {
    button.textContent = isDark() ? "☀" : "☾";
    button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
    redraw();
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  prefersDark.addEventListener("change", show);
  show();
}
