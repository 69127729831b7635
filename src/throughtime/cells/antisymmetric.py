r"""Recurrences that discretise an ordinary differential equation with stable solutions.

:meth:`Cell.transform` computes the recurrent matrix from a learned matrix M: its antisymmetric part
rotates the state without growth or decay, and -gamma I damps it slightly.
"""

import torch
from torch import sigmoid, tanh

from throughtime.cells.cell import Cell


class AntisymmetricRNN(Cell):
    r"""A step of Euler's method for an antisymmetric, slightly damped system.

        A   = M - M^T - gamma I
        h_t = h_{t-1} + epsilon * tanh(W x_t + A h_{t-1} + b)

    All eigenvalues of A have the real part -gamma, so gradients neither vanish nor explode.

    Args:
        epsilon: the size of the step.
        gamma: the damping, which compensates the growth that Euler's method adds.

    Source: Chang et al., "AntisymmetricRNN", ICLR 2019, arXiv 1902.09689, section 3.
    """

    name = "antisymmetric"
    gates = ("h",)
    states = ("h",)
    source, year = "Chang et al., AntisymmetricRNN, arXiv 1902.09689", 2019

    def __init__(self, epsilon: float = 0.1, gamma: float = 0.01):
        self.epsilon, self.gamma = epsilon, gamma

    def transform(self, R):
        return {"h": _antisymmetric(R["h"], self.gamma)}

    def step(self, x, W, R, s, p):
        h = s.h + self.epsilon * tanh(W.h(x) + R.h(s.h))
        return dict(h=h)


class GatedAntisymmetricRNN(Cell):
    r"""The antisymmetric recurrence with an input gate that uses the same recurrent matrix.

        A   = M - M^T - gamma I
        z_t = sigmoid(W_z x_t + A h_{t-1} + b_z)
        h_t = h_{t-1} + epsilon * z_t * tanh(W_h x_t + A h_{t-1} + b_h)

    Shapes: weight_hh (H, H), the single block ``a``, which has no bias.

    Args:
        epsilon: the size of the step.
        gamma: the damping.

    Source: Chang et al., "AntisymmetricRNN", ICLR 2019, arXiv 1902.09689, section 3, with
    gating.
    """

    name = "antisymmetric-gated"
    gates = ("z", "h")
    states = ("h",)
    recurrent_blocks = ("a",)
    source, year = "Chang et al., AntisymmetricRNN, arXiv 1902.09689", 2019

    def __init__(self, epsilon: float = 0.1, gamma: float = 0.01):
        self.epsilon, self.gamma = epsilon, gamma

    def transform(self, R):
        return {"a": _antisymmetric(R["a"], self.gamma)}

    def step(self, x, W, R, s, p):
        a = R.a(s.h)
        z = sigmoid(W.z(x) + a)
        h = s.h + self.epsilon * z * tanh(W.h(x) + a)
        return dict(h=h, z=z)


class LipschitzRNN(Cell):
    r"""A linear and a nonlinear part, whose matrices mix symmetric and antisymmetric matrices.

        S(M) = (1 - beta) (M + M^T) + beta (M - M^T) - gamma I
        h_t  = h_{t-1} + epsilon * (S(M_a) h_{t-1} + tanh(W x_t + S(M_h) h_{t-1} + b))

    With beta = 1/2, S(M) is M - gamma I; with beta = 1 it is antisymmetric and damped.

    Shapes: weight_hh (2 H, H): the blocks h and a; block a, the linear part, has no bias.

    Args:
        epsilon: the size of the step.
        beta: the weight of the antisymmetric part, from 1/2 to 1.
        gamma: the damping.

    Source: Erichson et al., "Lipschitz recurrent neural networks", ICLR 2021, arXiv 2006.12070, the
    recurrent unit with Euler's method; beta and gamma are the same for both matrices, as in the
    authors' code. Differs: the midpoint rule, the paper's other scheme, is not implemented.
    """

    name = "lipschitz"
    gates = ("h",)
    states = ("h",)
    recurrent_blocks = ("h", "a")
    source, year = "Erichson et al., Lipschitz recurrent neural networks, arXiv 2006.12070", 2021

    def __init__(self, epsilon: float = 0.01, beta: float = 0.8, gamma: float = 0.01):
        self.epsilon, self.beta, self.gamma = epsilon, beta, gamma

    def transform(self, R):
        return {name: self._blend(M) for name, M in R.items()}

    def _blend(self, M):
        return (1 - self.beta) * (M + M.T) + self.beta * (M - M.T) - self.gamma * _identity(M)

    def step(self, x, W, R, s, p):
        h = s.h + self.epsilon * (R.a(s.h) + tanh(W.h(x) + R.h(s.h)))
        return dict(h=h)


def _antisymmetric(M, gamma):
    return M - M.T - gamma * _identity(M)


def _identity(M):
    return torch.eye(M.shape[0], dtype=M.dtype, device=M.device)
