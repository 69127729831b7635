"""The option activations replaces a function in whichever form the step calls it."""

import pytest
import torch
import torch.nn.functional as F

from throughtime.cells.cell import Cell
from throughtime.layers import Recurrent


def _cell(function):
    class Own(Cell):
        gates, states = ("h",), ("h",)

        def step(self, x, W, R, s, p):
            return dict(h=function(W.h(x) + R.h(s.h)))

    return Own()


def _in_place(function):
    def changed(a):
        # The result of the in-place function is ignored.
        function(a)
        return a

    return changed


FORMS = {
    "by name": lambda a: torch.relu(input=a),
    "inside torch.where": lambda a: torch.where(a > -9.0, torch.relu(a), a),
    "in place": _in_place(torch.relu_),
    "in place, a method": _in_place(lambda a: a.relu_()),
    "in place, an option": _in_place(lambda a: F.relu(a, inplace=True)),
}


@pytest.mark.parametrize("options", [{"clip": 0.2}, {"activations": {"relu": "tanh"}}], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_call_is_changed(form, options):
    results = []
    for function in (torch.relu, FORMS[form]):
        torch.manual_seed(0)
        layer = Recurrent(_cell(function), 4, 5, **options, dtype=torch.float64)
        x = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
        output, _ = layer(x)
        results.append((output, *torch.autograd.grad(output.square().sum(), x)))
    torch.testing.assert_close(results[1], results[0])
