"""From equations to speed: raw tensors in, raw tensors out. Knows the contract, no cell by name."""

from throughtime.kernels.call import Call, Weights
from throughtime.kernels.dispatch import BACKENDS, Explanation, explain, run

__all__ = ["BACKENDS", "Call", "Explanation", "Weights", "explain", "run"]
