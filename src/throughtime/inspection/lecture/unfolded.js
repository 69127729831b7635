/** Runs a printed step forward through time, and its backward step back. */

/**
 * @param step the function that a printed step exports.
 * @param network the sizes, weights, states and names of the network.
 * @param given the inputs: x, [t][feature], and the further inputs by name, [t][unit].
 * @param gradientAt a function of t and the output of step t: the gradient of the loss at this
 *   output, with one number for each unit.
 * @returns for each step its `values`, `states` and `output`, and as `back` what its backward step
 *   returns.
 */
export function unfold(step, network, given, gradientAt) {
  const steps = [];
  const byName = (key, value) =>
    Object.fromEntries(network.states.map((state) => [state[key], value(state)]));

  let before = byName("before", (state) => state.initial);
  for (let t = 0; t < network.steps; t += 1) {
    const u = { ...before, [network.x.name]: given.x[t] };
    for (const input of network.inputs) {
      const values = given.inputs[input.name][t];
      u[input.name] = input.isNumber ? values[0] : values;
    }
    for (const [name, values] of Object.entries(network.drawn)) u[name] = values[t];
    const now = step(network.weights, u);
    steps.push(now);
    before = byName("before", (state) => now.states[state.name]);
  }

  // No step comes after the last one, so that no gradient arrives from there.
  let arriving = byName("arrives", () => new Array(network.units).fill(0));
  for (let t = network.steps - 1; t >= 0; t -= 1) {
    const now = steps[t];
    now.back = now.backward({ ...arriving, [network.loss]: gradientAt(t, now.output) });
    arriving = byName("arrives", (state) => now.back.before[state.name]);
  }
  return steps;
}
