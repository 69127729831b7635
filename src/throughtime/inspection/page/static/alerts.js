/** The place where the page says, in a sentence, what went wrong. */
import { byId } from "./elements.js";
import { LensError } from "./requests.js";

/** Shows an error's sentence; an error that is none of ours is shown and thrown again. */
export function showError(error) {
  const box = byId("alert");
  box.textContent = error.message;
  box.hidden = false;
  if (!(error instanceof LensError)) throw error;
}

/** Takes the sentence away. */
export function clearError() {
  const box = byId("alert");
  if (!box.hidden) Object.assign(box, { hidden: true, textContent: "" });
}
