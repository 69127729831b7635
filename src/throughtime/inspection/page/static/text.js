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

const SIGNS = new Map([["\n", "↵"], ["\t", "⇥"], [" ", "␣"], ["\r", "␍"], ["\u00a0", "⍽"], ["", "∅"]]);

/** A token with white space made visible. */
export function visible(token) {
  return SIGNS.get(token) ?? token.replaceAll("\n", "↵").replaceAll("\t", "⇥");
}

/** A token as a screen reader may say it. */
export function spoken(token) {
  const names = { "\n": "line end", "\t": "tab", " ": "space", "": "empty" };
  return names[token] ?? token;
}

/** Where each token lies in the text: [from, to], or null for a token that the text has not
 *
 * (an unknown word, an end symbol). Tokens follow each other; what lies between them is white space.
 */
export function rangesOf(text, tokens) {
  let position = 0;
  return tokens.map((token) => {
    let from = position;
    while (!text.startsWith(token, from) && /\s/.test(text[from] ?? "")) from += 1;
    if (!token || !text.startsWith(token, from)) return null;
    position = from + token.length;
    return [from, position];
  });
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

/** A text that joins tokens: characters stand without a space between them, words with one. */
export function joined(tokens, isLanguage) {
  return tokens.join(isLanguage ? "" : " ");
}
