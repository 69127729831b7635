/** The arithmetic of printed steps, in float64. A row is an array with one number for each unit. */

export const row = (length, f) => Array.from({ length }, (_, k) => f(k));
export const total = (a) => a.reduce((sum, v) => sum + v, 0);
export const largest = (a) => a.reduce((max, v) => Math.max(max, v));

/** M a, plus the bias if there is one; M is an array of rows. */
export const product = (M, a, bias) =>
  M.map((weights, i) => weights.reduce((sum, m, k) => sum + m * a[k], 0) + (bias ? bias[i] : 0));

/** The transpose of M applied to a. */
export const transposed = (M, a) =>
  M[0].map((_, k) => M.reduce((sum, weights, i) => sum + weights[k] * a[i], 0));

/** The sum of rows of equal length. */
export const sum = (...rows) => rows[0].map((_, k) => rows.reduce((s, a) => s + a[k], 0));

/** Each unit written[j] of a row of zeros gets a[read[j]] added. */
export function moved(length, written, read, a) {
  const out = new Array(length).fill(0);
  written.forEach((unit, j) => { out[unit] += a[read[j]]; });
  return out;
}

export const sigmoid = (a) => 1 / (1 + Math.exp(-a));
export const logSigmoid = (a) => Math.min(a, 0) - Math.log1p(Math.exp(-Math.abs(a)));
// Beyond 20, PyTorch takes the function for the identity.
export const softplus = (a) => (a > 20 ? a : Math.log1p(Math.exp(a)));
/** The remainder with the sign of b, as in Python; that of % has the sign of a. */
export const remainder = (a, b) => {
  const rest = a % b;
  return rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest;
};
/** The nearest whole number; of two, the even one. Math.round takes the larger of the two. */
export const roundHalfToEven = (a) => {
  const below = Math.floor(a);
  if (a - below !== 0.5) return Math.round(a);
  return below % 2 === 0 ? below : below + 1;
};
/** The error function: e^(-a²) times a series whose terms all have the sign of a. */
export function erf(a) {
  if (Math.abs(a) > 6) return Math.sign(a);
  let term = a;
  let series = a;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(series); n += 1) {
    term *= (2 * a * a) / (2 * n + 1);
    series += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-a * a) * series;
}
