r"""The GRU whose state decays during the time between observations.

Letters: decay the fraction of h that is left since the last step; r, z the reset and update gate; n
the candidate; * is elementwise. :class:`throughtime.layers.GRUD` computes the decay.
"""

from typing import Any

from torch import sigmoid, tanh

from throughtime.cells.cell import Cell


class DecayingGRU(Cell):
    r"""The recurrent part of GRU-D: h decays before the step uses it.

        left_t = decay_t * h_{t-1}
        r_t    = sigmoid(W_r x_t + R_r left_t + b_r)
        z_t    = sigmoid(W_z x_t + R_z left_t + b_z)
        n_t    = tanh(W_n x_t + R_n (r_t * left_t) + b_n)
        h_t    = (1 - z_t) * left_t + z_t * n_t

    x is the input with its missing values filled in, concatenated with the mask of observed values.
    So W holds the matrices W and V of the paper side by side. As in the paper, a large z replaces
    the state; in ``gru`` a large z keeps it.

    Source: Che et al., "Recurrent neural networks for multivariate time series with missing
    values", Scientific Reports 8 (2018), arXiv 1606.01865, section 2.3. In the authors' code a
    large z keeps the state, and it keeps the h_{t-1} that has not decayed; only the gates and n
    read left_t.
    """

    name = "gru-d"
    gates = ("r", "z", "n")
    states = ("h",)
    inputs = ("decay",)
    chrono = {"b.z": -1}
    source, year = "Che et al., GRU-D, arXiv 1606.01865", 2018

    def step(self, x, W, R, s, p, u: Any = None):
        left = u.decay * s.h
        r = sigmoid(W.r(x) + R.r(left))
        z = sigmoid(W.z(x) + R.z(left))
        n = tanh(W.n(x) + R.n(r * left))
        h = (1 - z) * left + z * n
        return dict(h=h, left=left, r=r, z=z, n=n)
