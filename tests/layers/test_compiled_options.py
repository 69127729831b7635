"""Options that change after torch.compile has compiled the layer."""

from itertools import pairwise

import pytest
import torch

from throughtime.cells import get
from throughtime.layers import Recurrent

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_compiled_layer_follows_its_options():
    layer = Recurrent("lstm", 4, 5, zoneout=0.2)
    x = torch.randn(6, 3, 4)
    compiled = torch.compile(lambda x: layer(x)[0], fullgraph=True, backend="aot_eager")

    def check():
        torch.manual_seed(1)
        output = compiled(x)
        torch.manual_seed(1)
        torch.testing.assert_close(output, layer(x)[0])
        return output.detach()

    seen = [check()]
    layer.zoneout = 0.8
    seen.append(check())
    layer.eval()
    seen.append(check())
    layer.zoneout = {"c": 0.4}
    seen.append(check())
    assert all(not torch.equal(a, b) for a, b in pairwise(seen))


def test_another_cell_holds_from_then_on():
    class Doubled(type(get("rnn-tanh"))):
        def step(self, x, W, R, s, p):
            return {k: 2 * v for k, v in super().step(x, W, R, s, p).items()}

    layer = Recurrent("rnn-tanh", 4, 5)
    x = torch.randn(1, 3, 4)
    before, _ = layer(x)
    layer.cell = Doubled()
    torch.testing.assert_close(layer(x)[0], 2 * before)
