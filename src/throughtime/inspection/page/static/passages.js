/** Passages of held-out or written text, in the colours of a unit. */
import { element } from "./elements.js";
import { visible } from "./text.js";

/** A paragraph of tokens.
 *
 * Args: tokens. options: isLanguage (no spaces between the tokens); tint(step): a background, or "";
 * isMarked(step): whether the token has a frame; keepsLines: line ends end the line.
 */
export function passage(tokens, { isLanguage, tint = () => "", isMarked = () => false, keepsLines = false }) {
  const paragraph = element("p", { class: "passage" });
  tokens.forEach((token, step) => {
    const text = keepsLines || token === " " ? token : visible(token);
    const span = element(isMarked(step) ? "mark" : "span", { text });
    const colour = tint(step);
    if (colour) span.style.backgroundColor = colour;
    if (step > 0 && !isLanguage) paragraph.append(" ");
    paragraph.append(span);
  });
  return paragraph;
}
