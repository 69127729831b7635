"""The number by which a write is noticed: every change of bytes changes it."""

import pytest
import torch

from throughtime.kernels.cpp.build import missing
from throughtime.kernels.cpp.fingerprint import Fingerprint

# Without a compiler there are no kernels to test.
pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


def test_every_single_byte_counts():
    memory = torch.zeros(1237, dtype=torch.uint8)
    number = Fingerprint([memory[:600], memory[600:]])
    for place in range(len(memory)):
        for value in (1, 128):
            memory[place] = value
            assert not number.is_equal()
            memory[place] = 0
    assert number.is_equal()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "change",
    [
        torch.neg,
        lambda v: v * 2,
        lambda v: v.flip(0),
        lambda v: v.flip(1),
        lambda v: v.roll(1, 0),
        lambda v: v.roll(64, 0),
        torch.zeros_like,
        lambda v: torch.where(torch.arange(len(v)).unsqueeze(1) % 64 == 0, -v, v),
    ],
)
def test_regular_changes_do_not_cancel(change, dtype):
    values = torch.randn(512, 7).to(dtype)
    number = Fingerprint([values])
    values.copy_(change(values.clone()))
    assert not number.is_equal()


def test_tensors_with_gaps_and_without_elements():
    whole = torch.zeros(6, 8)
    number = Fingerprint([whole[1:4, 2:5], torch.empty(0), whole[0, :1].expand(4)])
    whole[5] = 1
    whole[3, 5:] = 1
    assert number.is_equal()
    whole[3, 4] = 1
    assert not number.is_equal()
    whole[3, 4] = 0
    whole[0, 0] = 1
    assert not number.is_equal()
    assert Fingerprint([]).is_equal()
