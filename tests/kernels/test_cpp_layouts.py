"""The memory layout of a kernel's arguments changes no result, and arguments and results share no
memory."""

from dataclasses import replace

import pytest
import torch

from throughtime.kernels import reference
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp.build import missing

from .cpp_calls import (
    DTYPES,
    NAN,
    make,
    ragged,
    results,
    seeds,
    tensors,
    with_tensors,
)

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


def scattered(tensor):
    """The same numbers with gaps between them, along every dimension."""
    wide = torch.full([2 * n + 1 for n in tensor.shape], NAN, dtype=tensor.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in tensor.shape)]
    view.copy_(tensor)
    assert not view.is_contiguous() or view.numel() <= 1
    return view


def turned(tensor):
    """The same numbers with the first two dimensions swapped in memory."""
    if tensor.dim() == 1:
        return scattered(tensor)
    return tensor.transpose(0, 1).contiguous().transpose(0, 1)


@pytest.mark.parametrize("layout", [scattered, turned])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["lstm-peephole", "UnitByUnit", "gru"])
def test_no_layout_in_memory_changes_a_result(name, dtype, layout):
    lengths, resets = ragged(7, 5)
    call = make(name, H=16, dtype=dtype, lengths=lengths, resets=resets)
    expected = results(cpp, call)
    arguments = {k: layout(v) for k, v in tensors(call).items()}
    call = replace(
        with_tensors(call, arguments), resets=layout(resets), lengths=lengths.repeat(2)[:5]
    )
    leaves = {k: v.requires_grad_() for k, v in arguments.items()}
    output, last = cpp.run(call)
    d = [layout(v) for v in seeds(output, last, dtype)]
    torch.autograd.backward([output, *last], d)
    assert torch.equal(output, expected["output"])
    for k, leaf in leaves.items():
        assert torch.equal(leaf.grad, expected[f"d {k}"]), k


@pytest.mark.parametrize("name", ["lstm", "OutputApart", "UnitByUnit"])
def test_states_and_gradients_may_be_one_number_seen_many_times(name):
    """An expanded state, and the gradient of a sum, have stride 0."""
    for B in (1, 5):
        call = make(name, B=B)
        call = replace(call, state=tuple(s[:1].expand(B, -1) for s in call.state))
        ours, theirs = [], []
        for backend, into in ((cpp, ours), (reference, theirs)):
            leaves = {k: v.detach().requires_grad_() for k, v in tensors(call).items()}
            output, last = backend.run(with_tensors(call, leaves))
            (output.sum() + sum(s.sum() for s in last)).backward()
            into += [v.grad for v in leaves.values()]
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_nothing_that_is_given_is_written_to():
    for save in ("gates", "states"):
        call = make("Chained", save=save, lengths=ragged(7, 5)[0], resets=ragged(7, 5)[1])
        arguments = [*tensors(call).values(), call.lengths, call.resets]
        before = [v.clone() for v in arguments]
        results(cpp, call)
        assert all(torch.equal(a, b) for a, b in zip(arguments, before, strict=True))


def test_results_share_no_memory_with_what_was_given_or_with_each_other():
    for T in (1, 3):
        call = make("Swapped", T, H=16, lengths=torch.tensor([0, T, 1, 0, T]))
        with torch.no_grad():
            output, last = cpp.run(call)
        outputs = [output, *last]
        places = {v.untyped_storage().data_ptr() for v in (*outputs, *call.state, call.x)}
        assert len(places) == len(outputs) + len(call.state) + 1
