r"""Liquid networks: units whose time constants depend on the input and on the other units.

Letters: gap the time since the last step; f a conductance; A the level that it pulls a unit to; z
the backbone, a hidden layer within the step; g and n two candidates, k the gate between them; h the
state; * is elementwise.
"""

from typing import Any, ClassVar

import torch
from torch import sigmoid, tanh

from throughtime.cells.cell import Cell, Input, Parameter
from throughtime.checks import whole_number

_CLOSED_FORM = "Hasani et al., Closed-form continuous-time neural networks, arXiv 2106.13898"
_GAP = Input(size=1, default=1.0)


class LiquidTimeConstant(Cell):
    r"""LTC: a differential equation, solved in ``unfolds`` substeps of each step.

        d h / d time = -(1 / exp(log_tau) + f) * h + f * A,   f = sigmoid(W_f x_t + R_f h + b_f)

    With v = h_{t-1} and d = gap_t / unfolds, a substep of the fused solver is

        f  = sigmoid(W_f x_t + R_f v + b_f)
        v' = (v + d * f * A) / (1 + d * (1 / exp(log_tau) + f))

    and h_t is v after the last substep. A state between the smallest of 0 and A and the largest of
    both stays there, whatever the gap is.

    Args:
        unfolds: the number of substeps of each step, at least 1.

    Source: Hasani et al., "Liquid time-constant networks", AAAI 2021, arXiv 2006.04439, the fused
    solver of algorithm 1 with the logistic sigmoid as f. The logarithm of the time constant tau is
    learned, so that tau is positive. Differs: the synapses of the package ncps each have a sigmoid
    of their own; that cell is :class:`throughtime.cells.SynapticLTC`.
    """

    name = "ltc"
    gates = ("f",)
    states = ("h",)
    inputs = {"gap": _GAP}
    parameters = {"log_tau": Parameter(initial=0.0), "A": Parameter(initial=(-1.0, 1.0))}
    source, year = "Hasani et al., Liquid time-constant networks, arXiv 2006.04439", 2021

    def __init__(self, unfolds: int = 6) -> None:
        self.unfolds = whole_number("LiquidTimeConstant", "unfolds", unfolds)

    def step(self, x, W, R, s, p, u: Any = None):
        d = u.gap / self.unfolds
        leak = torch.exp(-p.log_tau)
        f = v = s.h
        for _ in range(self.unfolds):
            f = sigmoid(W.f(x) + R.f(v))
            v = (v + d * f * p.A) / (1 + d * (leak + f))
        return dict(h=v, f=f)


class _ClosedForm(Cell):
    """The base of the closed-form cells: the backbone, and the values that its heads give.

    Args:
        backbone: the number of hidden layers within a step. With 0 the heads read x and h.
    """

    heads: ClassVar[tuple[str, ...]]
    own: ClassVar[dict[str, Parameter]] = {}

    states = ("h",)
    inputs = {"gap": _GAP}
    source, year = _CLOSED_FORM, 2022

    def __init__(self, backbone: int = 1) -> None:
        self.backbone = backbone = whole_number(type(self).__name__, "backbone", backbone, least=0)
        layers = [f"z{k + 1}" for k in range(backbone)]
        self.gates = (layers[0],) if layers else self.heads
        self.recurrent_blocks = (*layers, *self.heads) if layers else self.heads
        # Blocks without the name of a gate have no bias.
        unbiased = [block for block in self.recurrent_blocks if block not in self.gates]
        self.parameters = {**self.own, **{f"b_{k}": Parameter(initial=0.0) for k in unbiased}}

    def read(self, x: Any, W: Any, R: Any, s: Any, p: Any) -> list[Any]:
        """The value of each head before its activation."""
        if not self.backbone:
            return [getattr(W, k)(x) + getattr(R, k)(s.h) for k in self.heads]
        z = _backbone(W.z1(x) + R.z1(s.h))
        for k in self.recurrent_block_names[1 : self.backbone]:
            z = _backbone(getattr(R, k)(z) + getattr(p, f"b_{k}"))
        return [getattr(R, k)(z) + getattr(p, f"b_{k}") for k in self.heads]


class ClosedForm(_ClosedForm):
    r"""CfC: a gate that moves from one candidate to the other as time passes.

        z_t = 1.7159 tanh(0.666 (W_z1 x_t + R_z1 h_{t-1} + b_z1))
        g_t = tanh(R_g z_t + b_g)
        n_t = tanh(R_n z_t + b_n)
        k_t = sigmoid((R_a z_t + b_a) * gap_t + R_b z_t + b_b)
        h_t = (1 - k_t) * g_t + k_t * n_t

    No solver is needed: the cell computes the state after any gap in one step. With a backbone of
    two or more layers, z_t passes through further layers of the form 1.7159 tanh(0.666 (R_z2 z_t +
    b_z2)). Without a backbone g, n, a and b are gates, W_g x_t + R_g h_{t-1} + b_g and so on.

    With a backbone, b_g, b_n, b_a, b_b and b_z2 are per-unit parameters; they start at 0, and
    exist with ``bias=False``, too.

    Args:
        backbone: the number of hidden layers of the backbone.

    Shapes: weight_hh (5 H, H) with one layer: the blocks z1, g, n, a, b; only z1 has a bias.

    Source: Hasani et al., "Closed-form continuous-time neural networks", Nature Machine
    Intelligence 4 (2022), arXiv 2106.13898, with the backbone's activation of the package ncps.
    Differs: the backbone has as many units as the state.
    """

    name = "cfc"
    heads = ("g", "n", "a", "b")

    def step(self, x, W, R, s, p, u: Any = None):
        g, n, a, b = self.read(x, W, R, s, p)
        g, n, k = tanh(g), tanh(n), sigmoid(a * u.gap + b)
        h = (1 - k) * g + k * n
        return dict(h=h, g=g, n=n, k=k)


class UngatedClosedForm(_ClosedForm):
    r"""CfC without the second gate: one candidate is kept, the other is added as time passes.

        h_t = g_t + k_t * n_t

    with g_t, n_t and k_t of ``cfc``.

    Args:
        backbone: the number of hidden layers of the backbone.

    Source: see ``cfc``; the variant ``no_gate`` of the package ncps.
    """

    name = "cfc-no-gate"
    heads = ("g", "n", "a", "b")

    def step(self, x, W, R, s, p, u: Any = None):
        g, n, a, b = self.read(x, W, R, s, p)
        g, n, k = tanh(g), tanh(n), sigmoid(a * u.gap + b)
        h = g + k * n
        return dict(h=h, g=g, n=n, k=k)


class PureClosedForm(_ClosedForm):
    r"""The approximate solution of the LTC's equation, without learned gates.

        z_t = 1.7159 tanh(0.666 (W_z1 x_t + R_z1 h_{t-1} + b_z1))
        f_t = R_f z_t + b_f
        h_t = A - A * exp(-gap_t * (|w_tau| + |f_t|)) * f_t

    A starts at 1 and w_tau at 0. The backbone is that of ``cfc``.

    Args:
        backbone: the number of hidden layers of the backbone.

    Source: see ``cfc``; the variant ``pure`` of the package ncps.
    """

    name = "cfc-pure"
    heads = ("f",)
    own = {"A": Parameter(initial=1.0), "w_tau": Parameter(initial=0.0)}

    def step(self, x, W, R, s, p, u: Any = None):
        (f,) = self.read(x, W, R, s, p)
        h = p.A - p.A * torch.exp(-u.gap * (torch.abs(p.w_tau) + torch.abs(f))) * f
        return dict(h=h, f=f)


def _backbone(a):
    return 1.7159 * tanh(0.666 * a)
