/** How numbers and tokens are written on the page, and where tokens lie in their text. */

/** A number with its sign, with `digits` digits after the point. */
export function signed(number, digits = 4) {
  const text = Math.abs(number).toFixed(digits);
  return (number < 0 && Number(text) !== 0 ? "−" : "+") + text;
}

/** A number with `digits` digits after the point. */
export function plain(number, digits = 3) {
  return number.toFixed(digits).replace("-", "−");
}

/** A count with its noun: "1 step", "3 steps". */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

const SIGNS = new Map([
  ["\n", "↵"],
  ["\t", "⇥"],
  [" ", "␣"],
  ["\r", "␍"],
  ["\u00a0", "⍽"],
  ["", "∅"],
]);

/** A token with white space made visible. */
export function visible(token) {
  return SIGNS.get(token) ?? token.replaceAll("\n", "↵").replaceAll("\t", "⇥");
}

/** A token as a screen reader may say it. */
export function spoken(token) {
  const names = { "\n": "line end", "\t": "tab", " ": "space", "": "empty" };
  return names[token] ?? token;
}

/** Where each token lies in the text: [from, to], or null for a token that the text does not have.
 *
 * Tokens follow each other; what lies between them is white space. A token that is written
 * otherwise (an unknown word) stands for the next word; past the last word (an end symbol) it has no
 * place.
 */
export function rangesOf(text, tokens) {
  let position = 0;
  return tokens.map((token, step) => {
    let from = position;
    while (!text.startsWith(token, from) && /\s/.test(text[from] ?? "")) from += 1;
    const length = text.startsWith(token, from)
      ? token.length
      : wordLength(text, from, tokens[step + 1]);
    if (length === 0) return null;
    position = from + length;
    return [from, position];
  });
}

/** The length of the word at a position, without the next token if the word ends with it. */
function wordLength(text, from, next) {
  let to = from;
  while (to < text.length && !/\s/.test(text[to])) to += 1;
  const word = text.slice(from, to);
  return next && word.length > next.length && word.endsWith(next)
    ? word.length - next.length
    : word.length;
}

/** The number of tokens that lie within the part with which both texts begin. */
export function tokensInCommon(before, after, tokens) {
  let common = 0;
  const most = Math.min(before.length, after.length);
  while (common < most && before[common] === after[common]) common += 1;
  let number = 0;
  let position = 0;
  for (const token of tokens) {
    if (!before.startsWith(token, position) || position + token.length > common) break;
    position += token.length;
    number += 1;
  }
  return number;
}

/** What stands between tokens: nothing between characters and the tokens of a language model. */
export function separatorOf(tokens, isLanguage) {
  return isLanguage || tokens.every((token) => token.length === 1) ? "" : " ";
}
