r"""The piecewise linear recurrent network, a model of dynamical systems that can be analysed."""

import torch

from throughtime.cells.cell import Cell, Parameter


def _diagonal(a):
    """Fills a with the diagonal of P = I + M^T M / H, M normally distributed, divided by P's norm.

    The norm is the largest eigenvalue of P.
    """
    H = len(a)
    M = torch.randn(H, H, dtype=a.dtype, device=a.device)
    matrix = torch.eye(H, dtype=a.dtype, device=a.device) + M.T @ M / H
    a.copy_(matrix.diagonal() / torch.linalg.eigvalsh(matrix).max())


class PiecewiseLinearRNN(Cell):
    r"""PLRNN: each unit decays linearly, and reads the other units above their thresholds.

        z_t = a * z_{t-1} + R max(0, z_{t-1} - theta) + W x_t + b,   diagonal of R zero

    a starts as the diagonal of a random positive definite matrix whose largest eigenvalue is 1, as
    in the authors' code (after Talathi and Vartak, arXiv 1511.03771).

    Source: Durstewitz, "A state space approach for piecewise-linear recurrent neural networks",
    PLoS Computational Biology 13 (2017), equation 1. Differs: there is no noise; the bias is that
    of Koppe et al. (2019).
    """

    name = "plrnn"
    gates = ("z",)
    states = ("z",)
    parameters = {"a": Parameter(initial=_diagonal), "theta": Parameter()}
    source, year = "Durstewitz, Piecewise-linear recurrent neural networks", 2017

    def transform(self, R):
        return {"z": R["z"] - torch.diag(torch.diag(R["z"]))}

    def step(self, x, W, R, s, p):
        z = p.a * s.z + R.z(torch.relu(s.z - p.theta)) + W.z(x)
        return dict(z=z)
