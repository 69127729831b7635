"""In and out: models of other libraries become ours, and ours become theirs."""

from throughtime.interchange.torch_nn import from_torch

__all__ = ["from_torch"]
