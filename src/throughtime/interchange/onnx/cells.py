r"""The recurrent operators of ONNX as cells, with any of ONNX's activations and with clipping.

The cells are not registered, because only a loaded file creates them. Their blocks have the order
of the node, so that its weights are used without conversion. ``clip`` bounds the arguments of the
activations f and g to [-clip, clip]; None is no bound.

Source: the ONNX operators RNN, GRU and LSTM, version 22. Differs: the specification clips the
arguments of all activations; here, as in ONNX Runtime, the argument of h, the cell state, is not
clipped.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.cells.cell import Cell

__all__ = ["ACTIVATIONS", "OnnxCoupledLSTM", "OnnxGRU", "OnnxLSTM", "OnnxRNN", "OnnxResetBeforeGRU"]

ACTIVATIONS: dict[str, tuple[float | None, float | None]] = {
    "Tanh": (None, None),
    "Sigmoid": (None, None),
    "Relu": (None, None),
    "Affine": (1.0, 0.0),
    "LeakyRelu": (0.01, None),
    "ThresholdedRelu": (1.0, None),
    "ScaledTanh": (math.nan, math.nan),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0, None),
    "Softsign": (None, None),
    "Softplus": (None, None),
}
"""The activations, each with the default values of alpha and beta, which are those of the operators
of the same names. None: the activation takes no such number. NaN: the number is required."""


class _Activation:
    """An activation with its alpha and beta, and the clip of its argument."""

    def __init__(self, name: str, alpha: float, beta: float, clip: float | None) -> None:
        self.name, self.alpha, self.beta, self.clip = name, alpha, beta, clip

    def __call__(self, v: Tensor) -> Tensor:
        a, b = self.alpha, self.beta
        if self.clip is not None:
            v = torch.clamp(v, -self.clip, self.clip)
        match self.name:
            case "Tanh":
                return torch.tanh(v)
            case "Sigmoid":
                return torch.sigmoid(v)
            case "Relu":
                return torch.relu(v)
            case "Affine":
                return a * v + b
            case "LeakyRelu":
                return torch.where(v < 0, a * v, v)
            case "ThresholdedRelu":
                return torch.where(v > a, v, 0.0)
            case "ScaledTanh":
                return a * torch.tanh(b * v)
            case "HardSigmoid":
                return torch.clamp(a * v + b, 0.0, 1.0)
            case "Elu":
                return F.elu(v, a)
            case "Softsign":
                return v / (1 + torch.abs(v))
            case "Softplus":
                return F.softplus(v)
        raise AssertionError(self.name)


class OnnxRNN(Cell):
    """h_t = f(W x_t + R h_{t-1} + b)"""

    gates = ("h",)
    states = ("h",)
    source = "ONNX operator RNN"

    def __init__(
        self, f: str = "Tanh", f_alpha: float = 1.0, f_beta: float = 0.0, clip: float | None = None
    ) -> None:
        self.f, self.f_alpha, self.f_beta, self.clip = f, f_alpha, f_beta, clip

    def step(self, x, W, R, s, p):
        f = _Activation(self.f, self.f_alpha, self.f_beta, self.clip)
        return dict(h=f(W.h(x) + R.h(s.h)))


class _GatedUnit(Cell):
    gates = ("z", "r", "n")
    states = ("h",)
    source = "ONNX operator GRU"

    def __init__(
        self,
        f: str = "Sigmoid",
        f_alpha: float = 1.0,
        f_beta: float = 0.0,
        g: str = "Tanh",
        g_alpha: float = 1.0,
        g_beta: float = 0.0,
        clip: float | None = None,
    ) -> None:
        self.f, self.f_alpha, self.f_beta = f, f_alpha, f_beta
        self.g, self.g_alpha, self.g_beta = g, g_alpha, g_beta
        self.clip = clip

    def _activations(self) -> tuple[_Activation, _Activation]:
        return (
            _Activation(self.f, self.f_alpha, self.f_beta, self.clip),
            _Activation(self.g, self.g_alpha, self.g_beta, self.clip),
        )


class OnnxGRU(_GatedUnit):
    r"""The GRU with linear_before_reset=1.

    z_t = f(W_z x_t + R_z h_{t-1} + b_z)
    r_t = f(W_r x_t + R_r h_{t-1} + b_r)
    n_t = g(W_n x_t + b_Wn + r_t * (R_n h_{t-1} + b_Rn))
    h_t = (1 - z_t) * n_t + z_t * h_{t-1}
    """

    def step(self, x, W, R, s, p):
        f, g = self._activations()
        z = f(W.z(x) + R.z(s.h))
        r = f(W.r(x) + R.r(s.h))
        n = g(W.n(x) + r * R.n(s.h))
        h = (1 - z) * n + z * s.h
        return dict(h=h, z=z, r=r, n=n)


class OnnxResetBeforeGRU(_GatedUnit):
    r"""The GRU with linear_before_reset=0: n_t = g(W_n x_t + R_n (r_t * h_{t-1}) + b_n)."""

    def step(self, x, W, R, s, p):
        f, g = self._activations()
        z = f(W.z(x) + R.z(s.h))
        r = f(W.r(x) + R.r(s.h))
        n = g(W.n(x) + R.n(r * s.h))
        h = (1 - z) * n + z * s.h
        return dict(h=h, z=z, r=r, n=n)


class _LongShortTermMemory(Cell):
    states = ("h", "c")
    source = "ONNX operator LSTM"

    def __init__(
        self,
        f: str = "Sigmoid",
        f_alpha: float = 1.0,
        f_beta: float = 0.0,
        g: str = "Tanh",
        g_alpha: float = 1.0,
        g_beta: float = 0.0,
        h: str = "Tanh",
        h_alpha: float = 1.0,
        h_beta: float = 0.0,
        clip: float | None = None,
    ) -> None:
        self.f, self.f_alpha, self.f_beta = f, f_alpha, f_beta
        self.g, self.g_alpha, self.g_beta = g, g_alpha, g_beta
        self.h, self.h_alpha, self.h_beta = h, h_alpha, h_beta
        self.clip = clip

    def _activations(self) -> tuple[_Activation, _Activation, _Activation]:
        return (
            _Activation(self.f, self.f_alpha, self.f_beta, self.clip),
            _Activation(self.g, self.g_alpha, self.g_beta, self.clip),
            _Activation(self.h, self.h_alpha, self.h_beta, None),
        )


class OnnxLSTM(_LongShortTermMemory):
    r"""The LSTM with peepholes; p is zero for a node without them.

    i_t = f(W_i x_t + R_i h_{t-1} + p_i * c_{t-1} + b_i)
    f_t = f(W_f x_t + R_f h_{t-1} + p_f * c_{t-1} + b_f)
    g_t = g(W_g x_t + R_g h_{t-1} + b_g)
    c_t = f_t * c_{t-1} + i_t * g_t
    o_t = f(W_o x_t + R_o h_{t-1} + p_o * c_t + b_o)
    h_t = o_t * h(c_t)
    """

    gates = ("i", "o", "f", "g")
    parameters = ("p_i", "p_o", "p_f")

    def step(self, x, W, R, s, p):
        f, g, h = self._activations()
        i = f(W.i(x) + R.i(s.h) + p.p_i * s.c)
        forget = f(W.f(x) + R.f(s.h) + p.p_f * s.c)
        c = forget * s.c + i * g(W.g(x) + R.g(s.h))
        o = f(W.o(x) + R.o(s.h) + p.p_o * c)
        return dict(h=o * h(c), c=c, i=i, f=forget, o=o)


class OnnxCoupledLSTM(_LongShortTermMemory):
    r"""The LSTM with input_forget=1: f_t = 1 - i_t; its blocks have no f."""

    gates = ("i", "o", "g")
    parameters = ("p_i", "p_o")

    def step(self, x, W, R, s, p):
        f, g, h = self._activations()
        i = f(W.i(x) + R.i(s.h) + p.p_i * s.c)
        c = (1 - i) * s.c + i * g(W.g(x) + R.g(s.h))
        o = f(W.o(x) + R.o(s.h) + p.p_o * c)
        return dict(h=o * h(c), c=c, i=i, o=o)
