"""The operators find a cell by its identity: similar cells have different ones, and another process
finds a registered cell. Cells with unusual equations, or whose constants change, run too."""

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp import identity
from throughtime.kernels.cpp.build import missing
from throughtime.kernels.cpp.identity import cell_of

from .operator_layers import H, I, by_reference, close, flat, sequence

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


def test_a_cell_with_constants_is_found_again_by_its_text():
    class Leaky(tt.Cell):
        name = "leaky-of-this-test"
        gates, states = ("h",), ("h",)

        def __init__(self, rate=0.1, kind="a(b), c"):
            self.rate, self.kind = rate, kind

        def step(self, x, W, R, s, p):
            return dict(h=(1 - self.rate) * s.h + self.rate * torch.tanh(W.h(x) + R.h(s.h)))

    from throughtime.cells import cell as registry

    registry.register(Leaky)
    try:
        texts = {cpp.identity(Leaky()), cpp.identity(Leaky(0.2))}
        assert len(texts) == 2
        assert cpp.identity(Leaky(0.2)) in texts
        text = cpp.identity(Leaky(0.25, "x=1"))
        del identity._cells[text]
        restored = cell_of(text)
        assert restored.constants == {"rate": 0.25, "kind": "x=1"}
    finally:
        del registry._registry["leaky-of-this-test"]


def test_a_cell_that_only_inherits_a_name_is_not_found_under_it(monkeypatch):
    """In another process the identity would name the original cell."""
    monkeypatch.setattr(identity, "_cells", {})

    class Halved(type(tt.cells.get("lstm"))):
        def step(self, x, W, R, s, p):
            returned = super().step(x, W, R, s, p)
            return returned | dict(h=returned["h"] / 2)

    text = cpp.identity(Halved())
    assert text != "lstm"
    assert cpp.identity(tt.cells.get("lstm")) == "lstm"
    monkeypatch.setattr(identity, "_cells", {})
    with pytest.raises(ValueError, match="unknown cell"):
        cell_of(text)


@pytest.mark.parametrize("save", ["gates", "states"])
def test_a_cell_without_any_product_has_a_kernel(save):
    class Average(tt.Cell):
        gates, states = ("h",), ("h",)

        def step(self, x, W, R, s, p):
            return dict(h=0.9 * s.h + 0.1 * x)

    layer = tt.Recurrent(Average(), 5, 5, backend="cpp", save=save, dtype=torch.float64)
    x = torch.randn(1100, 2, 5, dtype=torch.float64, requires_grad=True)
    results = []
    for backend in ("cpp", "reference"):
        layer.backend = backend
        output, _ = layer(x, lengths=[1100, 3])
        results += [output, torch.autograd.grad(output.square().sum(), x)[0]]
    torch.testing.assert_close(results[:2], results[2:])


def test_a_constant_may_change_between_forward_and_backward():
    class Scaled(tt.Cell):
        gates, states = ("h",), ("h",)
        scale = 0.5

        def step(self, x, W, R, s, p):
            return dict(h=self.scale * torch.tanh(W.h(x) + R.h(s.h)))

    cell = Scaled()
    layer, x = tt.Recurrent(cell, 3, 4, backend="cpp"), torch.randn(6, 2, 3)
    outcomes = []
    for after in (0.5, 0.9):
        cell.scale = 0.5
        output, _ = layer(x)
        cell.scale = after
        outcomes.append(torch.autograd.grad(output.sum(), layer.weight_hh_l0)[0])
    assert torch.equal(*outcomes)


def test_two_cells_of_one_name_are_told_apart():
    def cell_of(function):
        class Same(tt.Cell):
            gates, states = ("h",), ("h",)

            def step(self, x, W, R, s, p):
                return dict(h=function(W.h(x) + R.h(s.h)))

        return Same()

    cells = [cell_of(torch.tanh), cell_of(torch.sigmoid)]
    assert len({cpp.identity(cell) for cell in cells}) == 2
    x = sequence()
    for cell in cells:
        layer = tt.Recurrent(cell, I, H, dtype=torch.float64, backend="cpp")
        close(flat(layer(x)), flat(by_reference(layer)(x)))
