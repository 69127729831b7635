r"""The LSTM that conserves a quantity: all mass that enters is either stored or leaves.

Letters: mass the conserved input; x further inputs; i the distribution of the incoming mass over
the units; R_r the redistribution of the stored mass between units; o the fraction that leaves; c
the stored mass; h the mass that leaves; * is elementwise.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn, sigmoid

from throughtime.cells.cell import Cell, Input


class MassConservingLSTM(Cell):
    r"""MC-LSTM: at each step sum(c_t) + sum(h_t) = sum(c_{t-1}) + mass_t.

        share_t = c_{t-1} / sum |c_{t-1}|
        i_t     = softmax(W_i x_t + R_i share_t + b_i)
        o_t     = sigmoid(W_o x_t + R_o share_t + b_o)
        m_t     = R_r c_{t-1} + i_t * mass_t
        c_t     = (1 - o_t) * m_t
        h_t     = o_t * m_t

    The softmax is over the units. R_r is a softmax of the learned block r over each column, so a
    column sums to 1 and redistribution conserves the mass. ``mass`` and initial states must not be
    negative. If no mass is stored, share is 0.

    As in the authors' code, b_o starts at -3, so that little mass leaves, and block r starts as the
    identity.

    Shapes: weight_hh (3 H, H): the blocks i, o, r, of which r has no bias.

    Args:
        epsilon: the threshold below which the sum of the stored mass counts as zero.

    Source: Hoedt et al., "MC-LSTM: mass-conserving LSTM", ICML 2021, arXiv 2101.05186, section 2.
    Differs: R_r is constant over the steps; in the paper it may also depend on the inputs and the
    stored mass. There is one mass input, not several.
    """

    name = "lstm-mass-conserving"
    gates = ("i", "o")
    states = ("c",)
    inputs = {"mass": Input(size=1)}
    recurrent_blocks = ("i", "o", "r")
    output = "h"
    initial_weights = {"b.o": -3.0, "R.r": nn.init.eye_}
    chrono = {"b.o": -1}
    source, year = "Hoedt et al., MC-LSTM, arXiv 2101.05186", 2021

    def __init__(self, epsilon: float = 1e-30) -> None:
        if not epsilon > 0:
            raise ValueError(f"MassConservingLSTM: expected epsilon above 0, got {epsilon!r}.")
        self.epsilon = epsilon

    def transform(self, R: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {**R, "r": torch.softmax(R["r"], 0)}

    def step(self, x, W, R, s, p, u: Any = None):
        total = torch.abs(s.c).sum(-1, keepdim=True)
        is_stored = total > self.epsilon
        # Both operands are replaced, because the gradient of a quotient 0 / 0 would be NaN even if
        # torch.where discarded its value.
        share = torch.where(is_stored, s.c, 0.0) / torch.where(is_stored, total, 1.0)
        i = torch.softmax(W.i(x) + R.i(share), -1)
        o = sigmoid(W.o(x) + R.o(share))
        m = R.r(s.c) + i * u.mass
        c = (1 - o) * m
        h = o * m
        return dict(c=c, h=h, share=share, i=i, o=o, m=m)
