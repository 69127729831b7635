"""Runs the equations of any cell through time; takes tensors and returns tensors.

The package knows the contract of a cell, and no cell by its name.
"""

from throughtime.kernels.call import Call, Weights
from throughtime.kernels.dispatch import BACKENDS, Explanation, explain, run

__all__ = ["BACKENDS", "Call", "Explanation", "Weights", "explain", "run"]
