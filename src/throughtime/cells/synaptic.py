r"""The liquid network whose synapses are those of the nervous system of a worm.

The cell is not in the registry, because a synapse applies a sigmoid of its own to each pair of
units: there is no matrix product, and no kernel.
"""

from typing import Any

import torch
from torch import Tensor

from throughtime.cells.cell import Cell, Input, Parameter
from throughtime.checks import whole_number


def _polarities(E: Tensor) -> None:
    """Fills E with -1 for a third of the synapses, which inhibit, and 1 for the others."""
    E.copy_(torch.where(torch.rand_like(E) < 1 / 3, -1.0, 1.0))


def _pairs(low: float, high: float) -> Parameter:
    return Parameter(size=(None, None), initial=(low, high))


_POLARITIES = Parameter(size=(None, None), initial=_polarities)


class SynapticLTC(Cell):
    r"""LTC with a sigmoid for each synapse, as in the package ncps.

        s_t = W_i x_t + b_i
        a   = |w_ji| * sigmoid(sigma_ji * (v_i - mu_ji))              from unit i to unit j
        a_t = |w_in_ji| * sigmoid(sigma_in_ji * (s_t_i - mu_in_ji))   from input i to unit j

    With v = h_{t-1} and k = |c| * unfolds / gap_t, a substep of the fused solver is

        v'_j = (k v_j + |g| * e + sum_i (a_ji E_ji + a_t_ji E_in_ji))
               / (k + |g| + sum_i (a_ji + a_t_ji) + epsilon)

    and h_t is v after the last substep. c is the capacity of a unit, g and e are the conductance
    and the level of its leak. The linear map W_i has as many sensory neurons s as there are units.

    The reference runs the cell, since a synapse is a function of two units: it takes memory and
    time for B * H * H numbers in each substep. :func:`throughtime.layers.wire` masks ``w_l0`` and
    ``w_in_l0``, so that only some units have synapses.

    Args:
        unfolds: the number of substeps of each step, at least 1.
        epsilon: a constant that is added to the denominator.

    Shapes: w, sigma, mu, E (H, H), with a row for each unit that is reached; likewise w_in,
    sigma_in, mu_in, E_in, with a column for each sensory neuron. c, g, e (H).

    Source: Lechner et al., "Neural circuit policies enabling auditable autonomy", Nature Machine
    Intelligence 2 (2020), with the solver of Hasani et al., arXiv 2006.04439; the initial values
    are those of ncps. Differs: the input map is a matrix, in ncps one weight for each feature;
    there is no map of the output; w, c and g are absolute values instead of being clipped.

    >>> from throughtime.layers import Recurrent
    >>> layer = Recurrent(SynapticLTC(), 2, 5, backend="reference")
    >>> layer(torch.zeros(7, 3, 2))[0].shape
    torch.Size([7, 3, 5])
    """

    gates = ("i",)
    states = ("h",)
    recurrent_blocks = ()
    inputs = {"gap": Input(size=1, default=1.0)}
    parameters = {
        "w": _pairs(0.001, 1.0),
        "sigma": _pairs(3.0, 8.0),
        "mu": _pairs(0.3, 0.8),
        "E": _POLARITIES,
        "w_in": _pairs(0.001, 1.0),
        "sigma_in": _pairs(3.0, 8.0),
        "mu_in": _pairs(0.3, 0.8),
        "E_in": _POLARITIES,
        "c": Parameter(initial=(0.4, 0.6)),
        "g": Parameter(initial=(0.001, 1.0)),
        "e": Parameter(initial=(-0.2, 0.2)),
    }
    source, year = "Lechner et al., Neural circuit policies, Nature Machine Intelligence", 2020

    def __init__(self, unfolds: int = 6, epsilon: float = 1e-8) -> None:
        if not epsilon >= 0:
            raise ValueError(f"SynapticLTC: expected epsilon of at least 0, got {epsilon!r}.")
        self.unfolds, self.epsilon = whole_number("SynapticLTC", "unfolds", unfolds), epsilon

    def step(self, x, W, R, s, p, u: Any = None):
        k = torch.abs(p.c) * self.unfolds / u.gap
        leak = torch.abs(p.g)
        of_inputs = _synapses(p.w_in, p.sigma_in, p.mu_in, p.E_in)
        of_units = _synapses(p.w, p.sigma, p.mu, p.E)
        pull, total = of_inputs(W.i(x))
        pull, total = pull + leak * p.e, total + leak + k + self.epsilon
        v = s.h
        for _ in range(self.unfolds):
            numerator, denominator = of_units(v)
            v = (k * v + pull + numerator) / (total + denominator)
        return dict(h=v)


def _synapses(w, sigma, mu, E):
    """Returns a function of the values v (B, H) of the units from which the synapses come.

    It computes for each unit that is reached the sums of its conductances times E, and alone. What
    does not depend on v is computed here, once for all substeps.
    """
    w, sigma, mu, E = (a.T.contiguous() for a in (torch.abs(w), sigma, mu, E))
    offset, pull = -sigma * mu, w * E

    def currents(v):
        a = torch.sigmoid(torch.addcmul(offset, sigma, v.unsqueeze(-1)))  # (B, H, H)
        return (a * pull).sum(1), (a * w).sum(1)

    return currents
