/** Passages of held-out or written text, in the colours of a unit. */
import { element } from "./elements.js";
import { separatorOf, visible } from "./text.js";

/** A paragraph of tokens.
 *
 * Args: tokens. options: isLanguage (no spaces between the tokens); tint(step): a background, or
 * ""; isMarked(step): whether the token is in a frame; keepsLines: line ends end the line.
 */
export function passage(
  tokens,
  { isLanguage, tint = () => "", isMarked = () => false, keepsLines = false },
) {
  const separator = separatorOf(tokens, isLanguage);
  const paragraph = element("p", { class: "passage" });
  let mark = null;
  tokens.forEach((token, step) => {
    const text = keepsLines || token === " " ? token : visible(token);
    const span = element("span", { text, "data-step": step });
    const colour = tint(step);
    if (colour) span.style.backgroundColor = colour;
    const isInside = isMarked(step);
    if (step > 0 && separator) (isInside && mark ? mark : paragraph).append(separator);
    if (!isInside) mark = null;
    else if (!mark) paragraph.append((mark = element("mark")));
    (mark ?? paragraph).append(span);
  });
  return paragraph;
}
