r"""Cells with layer normalisation within the step.

    LN(a, …) = (a - mean) / sqrt(variance + epsilon), …

with the mean and the variance over all units of all arguments together, separately for each row of
the batch. Products with the input and with the state are normalised separately. Each unit of a
normalised block then has a gain; shifts that would be added to each other are one parameter. * is
elementwise.

The biases of a layer are added before the normalisation, as in the authors' code for the product
with the input. The authors' product with h has no bias. Here that bias exists and starts at 0,
because a random start would be as large as the product after the normalisation. With
``bias=False`` there are only the shifts, as in the paper.

Source: Ba, Kiros and Hinton, "Layer normalization", arXiv 1607.06450, supplementary material.
"""

from functools import reduce
from operator import add

import torch
from torch import sigmoid, tanh

from throughtime.cells.cell import Cell, Parameter

_SOURCE = "Ba, Kiros and Hinton, Layer normalization, arXiv 1607.06450"
_GAIN, _SHIFT = Parameter(initial=1.0), Parameter(initial=0.0)


class LayerNormLSTM(Cell):
    r"""The LSTM with layer normalisation of both products and of the cell state.

        u_i, u_f, u_g, u_o = LN(W_i x_t, W_f x_t, W_g x_t, W_o x_t)
        v_i, v_f, v_g, v_o = LN(R_i h_{t-1}, R_f h_{t-1}, R_g h_{t-1}, R_o h_{t-1})
        i_t = sigmoid(gain_x_i * u_i + gain_h_i * v_i + shift_i)
        f_t = sigmoid(gain_x_f * u_f + gain_h_f * v_f + shift_f)
        g_t = tanh(gain_x_g * u_g + gain_h_g * v_g + shift_g)
        o_t = sigmoid(gain_x_o * u_o + gain_h_o * v_o + shift_o)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(gain_c * LN(c_t) + shift_c)

    Mean and variance are those of all four blocks together, not of each gate.

    Args:
        epsilon: a constant that is added to the variances.

    Source: Ba, Kiros and Hinton, arXiv 1607.06450, equations 20 to 22. Differs: there is an
    epsilon, as in the authors' code; beta_1 + beta_2 + b is one parameter, shift.
    """

    name = "lstm-layer-norm"
    gates = ("i", "f", "g", "o")
    states = ("h", "c")
    parameters = {
        **{f"gain_x_{gate}": _GAIN for gate in gates},
        **{f"gain_h_{gate}": _GAIN for gate in gates},
        **{f"shift_{gate}": _SHIFT for gate in gates},
        **{"gain_c": _GAIN, "shift_c": _SHIFT},
    }
    initial_weights = {f"b_R.{gate}": 0.0 for gate in gates}
    chrono = {"shift_f": 1, "shift_i": -1}
    source, year = _SOURCE, 2016

    def __init__(self, epsilon: float = 1e-5):
        self.epsilon = epsilon

    def step(self, x, W, R, s, p):
        u_i, u_f, u_g, u_o = _normalised(self.epsilon, W.i(x), W.f(x), W.g(x), W.o(x))
        v_i, v_f, v_g, v_o = _normalised(self.epsilon, R.i(s.h), R.f(s.h), R.g(s.h), R.o(s.h))
        i = sigmoid(p.gain_x_i * u_i + p.gain_h_i * v_i + p.shift_i)
        f = sigmoid(p.gain_x_f * u_f + p.gain_h_f * v_f + p.shift_f)
        g = tanh(p.gain_x_g * u_g + p.gain_h_g * v_g + p.shift_g)
        o = sigmoid(p.gain_x_o * u_o + p.gain_h_o * v_o + p.shift_o)
        c = f * s.c + i * g
        (w,) = _normalised(self.epsilon, c)
        h = o * tanh(p.gain_c * w + p.shift_c)
        return dict(h=h, c=c, i=i, f=f, g=g, o=o)


class LayerNormGRU(Cell):
    r"""The GRU with layer normalisation of both gates together, and of the candidate's products.

        u_r, u_z = LN(W_r x_t, W_z x_t)
        v_r, v_z = LN(R_r h_{t-1}, R_z h_{t-1})
        r_t = sigmoid(gain_x_r * u_r + gain_h_r * v_r + shift_r)
        z_t = sigmoid(gain_x_z * u_z + gain_h_z * v_z + shift_z)
        n_t = tanh(gain_x_n * LN(W_n x_t) + shift_n
                   + r_t * (gain_h_n * LN(R_n h_{t-1}) + shift_h_n))
        h_t = (1 - z_t) * h_{t-1} + z_t * n_t

    As in the paper, a large z *replaces* the state; in ``gru`` a large z keeps it.

    Args:
        epsilon: a constant that is added to the variances.

    Source: Ba, Kiros and Hinton, arXiv 1607.06450, supplementary material, the gated recurrent
    unit. Differs: there is an epsilon, as in the authors' code (where a large z keeps the state);
    beta_1 + beta_2 is one parameter, shift.
    """

    name = "gru-layer-norm"
    gates = ("r", "z", "n")
    states = ("h",)
    parameters = {
        **{f"gain_x_{gate}": _GAIN for gate in gates},
        **{f"gain_h_{gate}": _GAIN for gate in gates},
        **{f"shift_{gate}": _SHIFT for gate in gates},
        "shift_h_n": _SHIFT,
    }
    initial_weights = {f"b_R.{gate}": 0.0 for gate in gates}
    chrono = {"shift_z": -1}
    source, year = _SOURCE, 2016

    def __init__(self, epsilon: float = 1e-5):
        self.epsilon = epsilon

    def step(self, x, W, R, s, p):
        u_r, u_z = _normalised(self.epsilon, W.r(x), W.z(x))
        v_r, v_z = _normalised(self.epsilon, R.r(s.h), R.z(s.h))
        (u_n,), (v_n,) = _normalised(self.epsilon, W.n(x)), _normalised(self.epsilon, R.n(s.h))
        r = sigmoid(p.gain_x_r * u_r + p.gain_h_r * v_r + p.shift_r)
        z = sigmoid(p.gain_x_z * u_z + p.gain_h_z * v_z + p.shift_z)
        n = tanh(p.gain_x_n * u_n + p.shift_n + r * (p.gain_h_n * v_n + p.shift_h_n))
        h = (1 - z) * s.h + z * n
        return dict(h=h, r=r, z=z, n=n)


def _normalised(epsilon, *blocks):
    """Normalises the blocks with the mean and the variance of all of them together."""
    # Adding the blocks first leaves one sum over the units, instead of one for each block.
    mean = reduce(add, blocks).mean(-1, keepdim=True) / len(blocks)
    centred = [a - mean for a in blocks]
    variance = reduce(add, [a * a for a in centred]).mean(-1, keepdim=True) / len(blocks)
    scale = torch.rsqrt(variance + epsilon)
    return [a * scale for a in centred]
