r"""The network that feeds back its output, and not its hidden layer."""

from torch import tanh

from throughtime.cells.cell import Cell, Parameter


class JordanRNN(Cell):
    r"""The Jordan network: the hidden layer reads a trace of past outputs.

        h_t = tanh(W_h x_t + R_h c_{t-1} + b_h)
        y_t = tanh(R_y h_t + b_y)
        c_t = memory * c_{t-1} + y_t

    The output is y; c are the context units, and with memory 0 they are the last output. b_y is a
    per-unit parameter that starts at 0; it exists with ``bias=False``, too.

    Shapes: weight_hh (2 H, H): the blocks h and y, of which y has no bias.

    Args:
        memory: the weight of a context unit's connection to itself, from 0 to below 1.

    Source: Jordan, "Attractor dynamics and parallelism in a connectionist sequential machine",
    CogSci 1986. Differs: the units are tanh, not logistic; there are as
    many output units as hidden ones.
    """

    name = "rnn-jordan"
    gates = ("h",)
    states = ("y", "c")
    recurrent_blocks = ("h", "y")
    parameters = {"b_y": Parameter(initial=0.0)}
    source, year = "Jordan, Attractor dynamics and parallelism", 1986

    def __init__(self, memory: float = 0.0) -> None:
        if not 0 <= memory < 1:
            raise ValueError(f"JordanRNN: expected memory from 0 to below 1, got {memory}.")
        self.memory = memory

    def step(self, x, W, R, s, p):
        h = tanh(W.h(x) + R.h(s.c))
        y = tanh(R.y(h) + p.b_y)
        c = self.memory * s.c + y
        return dict(y=y, c=c, h=h)
