/** Elements of the page, built without HTML text: data enters only as text. */

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element; `properties` are attributes, except `text`, and `on` (listeners by event). */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") node.textContent = value;
    else if (name === "on")
      for (const [event, f] of Object.entries(value)) node.addEventListener(event, f);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Fills a <select> with options: texts, or [value, text] pairs. */
export function fill(select, options) {
  const nodes = options.map((option) => {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    return element("option", { value, text });
  });
  select.replaceChildren(...nodes);
}

/** Shows the number of each slider beside it. */
export function showSliders(form) {
  for (const slider of form.querySelectorAll(".slider")) {
    const [input, output] = [slider.querySelector("input"), slider.querySelector("output")];
    const show = () => {
      output.textContent = input.value;
    };
    input.addEventListener("input", show);
    show();
  }
}
