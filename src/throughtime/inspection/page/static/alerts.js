/** The places where the page says, in a sentence, what went wrong. */
import { byId, element } from "./elements.js";
import { LensError } from "./requests.js";

/** Shows an error's sentence below the text; an error that is none of ours is also thrown again. */
export function showError(error) {
  const box = byId("alert");
  box.textContent = error.message;
  box.hidden = false;
  rethrow(error);
}

/** Takes the sentence away. */
export function clearError() {
  const box = byId("alert");
  if (!box.hidden) Object.assign(box, { hidden: true, textContent: "" });
}

/** Shows the sentence of a question's error in the place of its answer. */
export function showErrorIn(place, error) {
  place.replaceChildren(element("p", { class: "alert", role: "alert", text: error.message }));
  rethrow(error);
}

function rethrow(error) {
  if (!(error instanceof LensError)) throw error;
}
