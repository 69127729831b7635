r"""Discretised networks of oscillators, and of units with learned time scales.

Letters: y the hidden state, z its velocity (in LEM: a second state), dt the size of the step; * is
elementwise.
"""

from torch import sigmoid, tanh

from throughtime.cells.cell import Cell, Parameter


class CoupledOscillators(Cell):
    r"""coRNN: each unit is a damped, driven oscillator, coupled to all others.

        z_t = z_{t-1} + dt * (tanh(W x_t + R_y y_{t-1} + R_z z_{t-1} + b)
                              - gamma * y_{t-1} - epsilon * z_{t-1})
        y_t = y_{t-1} + dt * z_t

    Shapes: weight_hh (2 H, H): the blocks y and z, which have no bias.

    Args:
        dt: the size of the step.
        gamma: the square of the frequency, to be chosen for each task.
        epsilon: the damping, to be chosen for each task.

    Source: Rusch and Mishra, "Coupled oscillatory recurrent neural network", ICLR 2021, arXiv
    2010.00951, equation 3. The paper allows the damping of z_{t-1} or of z_t; here, as in the
    authors' code, it is that of z_{t-1}.
    """

    name = "co-rnn"
    gates = ("a",)
    states = ("y", "z")
    recurrent_blocks = ("y", "z")
    source, year = "Rusch and Mishra, coRNN, arXiv 2010.00951", 2021

    def __init__(self, dt: float = 0.1, gamma: float = 1.0, epsilon: float = 1.0):
        self.dt, self.gamma, self.epsilon = dt, gamma, epsilon

    def step(self, x, W, R, s, p):
        drive = tanh(W.a(x) + R.y(s.y) + R.z(s.z))
        z = s.z + self.dt * (drive - self.gamma * s.y - self.epsilon * s.z)
        y = s.y + self.dt * z
        return dict(y=y, z=z)


class IndependentOscillators(Cell):
    r"""UnICORNN: undamped, uncoupled oscillators, each with a learned step size.

        z_t = z_{t-1} - dt * sigmoid(c) * (tanh(W x_t + w * y_{t-1} + b) + alpha * y_{t-1})
        y_t = y_{t-1} + dt * sigmoid(c) * z_t

    Args:
        dt: the largest step size; that of a unit is dt * sigmoid(c).
        alpha: the strength of the restoring force, to be chosen for each task.

    w starts between 0 and 1, and c between -0.1 and 0.1, as in the authors' code.

    Source: Rusch and Mishra, "UnICORNN", ICML 2021, arXiv 2103.05487, section 2, one layer without
    the residual connections between layers.
    """

    name = "unicornn"
    gates = ("a",)
    states = ("y", "z")
    parameters = {"w": Parameter(initial=(0.0, 1.0)), "c": Parameter(initial=(-0.1, 0.1))}
    recurrent_blocks = ()
    source, year = "Rusch and Mishra, UnICORNN, arXiv 2103.05487", 2021

    def __init__(self, dt: float = 0.1, alpha: float = 1.0):
        self.dt, self.alpha = dt, alpha

    def step(self, x, W, R, s, p):
        pace = self.dt * sigmoid(p.c)
        z = s.z - pace * (tanh(W.a(x) + p.w * s.y) + self.alpha * s.y)
        y = s.y + pace * z
        return dict(y=y, z=z)


class LongExpressiveMemory(Cell):
    r"""LEM: two states whose step sizes depend on input and state.

        dt_t     = dt * sigmoid(W_dt x_t + R_dt y_{t-1} + b_dt)
        dt_bar_t = dt * sigmoid(W_dt_bar x_t + R_dt_bar y_{t-1} + b_dt_bar)
        z_t = (1 - dt_t) * z_{t-1} + dt_t * tanh(W_z x_t + R_z y_{t-1} + b_z)
        y_t = (1 - dt_bar_t) * y_{t-1} + dt_bar_t * tanh(W_y x_t + R_y z_t + b_y)

    y reads the z of the same step.

    Args:
        dt: the largest step size.

    Source: Rusch et al., "Long expressive memory for sequence modeling", ICLR 2022, arXiv
    2110.04744, equation 3.
    """

    name = "lem"
    gates = ("dt", "dt_bar", "z", "y")
    states = ("y", "z")
    chrono = {"b.dt": -1, "b.dt_bar": -1}
    source, year = "Rusch et al., Long expressive memory, arXiv 2110.04744", 2022

    def __init__(self, dt: float = 1.0):
        self.dt = dt

    def step(self, x, W, R, s, p):
        dt = self.dt * sigmoid(W.dt(x) + R.dt(s.y))
        dt_bar = self.dt * sigmoid(W.dt_bar(x) + R.dt_bar(s.y))
        z = (1 - dt) * s.z + dt * tanh(W.z(x) + R.z(s.y))
        y = (1 - dt_bar) * s.y + dt_bar * tanh(W.y(x) + R.y(z))
        return dict(y=y, z=z, dt=dt, dt_bar=dt_bar)
