"""Functions that split, slice, reorder or join rows: their graphs have autograd's gradients."""

import pytest
import torch

from .test_differentiate import check_close, randn, step_gradients
from .test_trace import EXPRESSIONS, B, H

PARTS = [
    *("layer_norm", "mish", "shape", "chunk", "split", "split in halves", "split_with_sizes"),
    *(
        "narrow",
        "narrow from the end",
        "index_select",
        "a slice",
        "a slice with a step",
        "a list of units",
    ),
    *("a mask of units", "a part of a parameter", "cumsum", "flip", "roll", "glu"),
    *("a mean of a part", "a column in a row"),
]


@pytest.mark.parametrize("name", PARTS)
def test_the_gradients_of_functions_of_parts_equal_those_of_autograd(name):
    function = EXPRESSIONS[name]
    a, b, q = randn(B, H), randn(B, H), randn(H)
    d = torch.randn(function(a, b, q).shape, dtype=torch.float64)
    check_close(*step_gradients(function, a, b, q, d))
