r"""The rate network of neuroscience: a differential equation in steps of Euler's method."""

from math import pi, sqrt
from typing import Any

import torch

from throughtime.cells.cell import Cell, Input


class ContinuousTimeRNN(Cell):
    r"""CTRNN: the rates of leaky units, with noise.

        tau d h / d time = -h + max(0, W x + R h + b + noise)

    in steps of length dt, with alpha = dt / tau:

        a_t = W_h x_t + R_h h_{t-1} + b_h + sqrt(2 / alpha) * noise * xi_t
        h_t = (1 - alpha) * h_{t-1} + alpha * max(0, a_t)

    xi_t is normally distributed, drawn anew for each step, row and unit, in training and in
    evaluation: the transform of Box and Muller, sqrt(-2 log(1 - q_t)) cos(2 pi r_t), of two
    uniformly distributed inputs q and r. With noise 0 nothing is drawn. To evaluate without noise,
    create a layer with ``noise=0`` and the same weights. The layers' option
    ``activations={"relu": "softplus"}`` chooses another function of the rates.

    Args:
        dt: the length of a step, in the unit of tau; at most tau.
        tau: the time constant.
        noise: the standard deviation of the recurrent noise.

    Source: Yang et al., "Task representations in neural networks trained to perform many cognitive
    tasks", Nature Neuroscience 22 (2019), the methods' equations of the network, with the ReLU; dt
    and tau, in milliseconds, are theirs, and so is a noise of 0.05.
    """

    name = "ctrnn"
    gates = ("h",)
    states = ("h",)
    source, year = "Yang et al., Task representations in neural networks", 2019

    def __init__(self, dt: float = 20.0, tau: float = 100.0, noise: float = 0.0) -> None:
        if not 0 < dt <= tau:
            raise ValueError(
                f"ContinuousTimeRNN: expected dt above 0 and at most tau, got dt={dt}, tau={tau}."
            )
        if not noise >= 0:
            raise ValueError(f"ContinuousTimeRNN: expected noise of at least 0, got {noise}.")
        self.dt, self.tau, self.noise = dt, tau, noise
        drawn = Input(drawn="step")
        self.inputs = {"q": drawn, "r": drawn} if noise else {}

    def step(self, x, W, R, s, p, u: Any = None):
        alpha = self.dt / self.tau
        a = W.h(x) + R.h(s.h)
        if self.noise:
            xi = torch.sqrt(-2 * torch.log(1 - u.q)) * torch.cos(2 * pi * u.r)
            a = a + sqrt(2 / alpha) * self.noise * xi
        h = (1 - alpha) * s.h + alpha * torch.relu(a)
        return dict(h=h, a=a)
