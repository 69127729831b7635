"""A recurrent network that maps a sequence to a vector, by which persons are told apart."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.checks import whole_number
from throughtime.models.classifier import Classifier

__all__ = ["Verifier"]


class Verifier(nn.Module):
    r"""Maps a sequence to a unit vector that is near those of other sequences of the same person:

        s = pool(h_1 … h_T);   e = (W s + b) / |W s + b|
        d(e, e') = 1 - e · e'

    The distance d is 0 for equal directions and 2 for opposite ones. In training e is compared with
    a vector p_k for each person of the training: cos_k = e · p_k / |p_k|.

    Args:
        num_persons: the number of persons of the training.
        vector_size: the number of entries of e.
        options: see :class:`throughtime.models.Classifier`.

    Attributes:
        threshold: the distance up to which two sequences are taken as of the same person, as the
            last validation found it; NaN before the first.

    Shapes:
        x: (B, T, I). lengths: (B). e: (B, vector_size).

    >>> model = Verifier(3, input_size=4, hidden_size=8, vector_size=5)
    >>> model(torch.randn(2, 7, 4), torch.tensor([7, 4])).norm(dim=1).allclose(torch.ones(2))
    True
    """

    threshold: Tensor

    def __init__(self, num_persons: int, *, vector_size: int = 64, **options: Any) -> None:
        super().__init__()
        num_persons = whole_number("Verifier", "num_persons", num_persons)
        vector_size = whole_number("Verifier", "vector_size", vector_size)
        self.reader = Classifier(vector_size, **options)
        self.persons = nn.Parameter(torch.randn(num_persons, vector_size))
        self.register_buffer("threshold", torch.tensor(math.nan))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The unit vectors e of sequences."""
        return nn.functional.normalize(self.reader(x, lengths), dim=-1)

    def cosines(self, vectors: Tensor) -> Tensor:
        """The cosines (B, num_persons) of unit vectors with the vectors of the persons."""
        return vectors @ nn.functional.normalize(self.persons, dim=-1).T
