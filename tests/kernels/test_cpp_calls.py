"""The variants of a call of a compiled kernel: gradients, chunks, lengths, resets, ``save``,
padding and NaN."""

from dataclasses import replace

import pytest
import torch

from throughtime.kernels import reference
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp.build import missing

from .cpp_calls import (
    CELLS,
    DTYPES,
    MANY,
    NAN,
    SOME,
    check_close,
    chosen,
    make,
    parity,
    ragged,
    results,
    seeds,
    tensors,
    with_tensors,
)

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


# What is asked for.


@pytest.mark.parametrize("of", ["output", "last", "both"])
@pytest.mark.parametrize("is_ragged", [False, True])
@pytest.mark.parametrize("name", MANY)
def test_gradients_come_from_the_outputs_the_last_states_or_both(name, is_ragged, of):
    lengths = ragged(4, 5)[0] if is_ragged else None
    parity(make(name, 4, lengths=lengths, reverse=is_ragged and of == "last"), of)


@pytest.mark.parametrize("save", ["gates", "states"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("varying", ["lengths", "resets", "both", "neither"])
@pytest.mark.parametrize("name", chosen(MANY))
def test_a_sequence_of_several_chunks(short_chunks, name, varying, reverse, save):
    lengths, resets = ragged(9, 5)
    options = {"reverse": reverse, "save": save}
    if varying in ("lengths", "both"):
        options["lengths"] = lengths
    if varying in ("resets", "both"):
        options["resets"] = resets
    parity(make(name, 9, **options))


@pytest.mark.parametrize("rows", [8, 20, 40])
@pytest.mark.parametrize("save", ["gates", "states"])
def test_chunks_of_every_length(chunks_of, rows, save):
    chunks_of(rows)
    lengths, resets = ragged(11, 3)
    for reverse in (False, True):
        parity(make("lstm", 11, 3, 17, reverse=reverse, save=save))
        parity(make("lstm", 11, 3, lengths=lengths, resets=resets, reverse=reverse, save=save))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["lstm", "gru", "OutputApart", "Chained"])
def test_what_is_kept_changes_no_result(short_chunks, name, dtype):
    """With ``save="states"`` the gates are computed again, to the same bits."""
    kept, again = (
        results(cpp, make(name, 8, dtype=dtype, save=save)) for save in ("gates", "states")
    )
    # Intermediate sums may be rounded elsewhere, states may not.
    for key in ("output", *CELLS[name].state_specs):
        assert torch.equal(kept[key], again[key]), key
    check_close(again, kept, dtype)


@pytest.mark.parametrize("name", SOME)
def test_without_a_gradient_nothing_is_kept_and_the_results_are_the_same(short_chunks, ran, name):
    call = make(name, 9)
    expected = results(cpp, call)
    ran.clear()
    with torch.no_grad():
        output, last = cpp.run(call)
    assert ran == ["forward"]
    assert torch.equal(output, expected["output"])
    for k, s in zip(call.cell.state_specs, last, strict=True):
        assert torch.equal(s, expected[k])
    assert output.grad_fn is None


@pytest.mark.parametrize("lengths", [[0, 0, 0], [4, 4, 4], [1, 1, 1], [0, 4, 0]])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_that_are_all_the_same_or_all_none(lengths, reverse):
    for save in ("gates", "states"):
        options = {"lengths": torch.tensor(lengths), "reverse": reverse, "save": save}
        parity(make("lstm", 4, 3, **options))
        parity(make("Chained", 4, 3, **options))


@pytest.mark.parametrize("resets", ["all", "first", "last"])
@pytest.mark.parametrize("reverse", [False, True])
def test_resets_at_the_ends_of_a_sequence(resets, reverse):
    where = torch.zeros(4, 3, dtype=torch.bool)
    where[{"all": slice(None), "first": 0, "last": -1}[resets]] = True
    for lengths in (None, torch.tensor([4, 2, 0])):
        parity(make("lstm", 4, 3, lengths=lengths, resets=where, reverse=reverse))
        parity(make("gru-reset-before", 4, 3, lengths=lengths, resets=where, reverse=reverse))


@pytest.mark.parametrize(
    "name", ["lstm", "gru", "lstm-fgr", "LayerNormRNN", "Chained", "UnitByUnit"]
)
def test_a_layer_without_biases(name):
    parity(make(name, bias=False))


@pytest.mark.parametrize("name", ["lstm", "PeepholeGRU", "UnitByUnit"])
@pytest.mark.parametrize("frozen", ["x", "weight_ih", "weight_hh", "bias_ih", "weights", "states"])
def test_what_is_frozen_has_no_gradient_and_the_rest_the_same(name, frozen):
    call = make(name)
    expected = results(cpp, call)
    leaves = {k: v.clone().requires_grad_() for k, v in tensors(call).items()}
    states = [k for k in leaves if k.startswith("initial")]
    weights = [k for k in leaves if k != "x" and k not in states]
    still = {"weights": weights, "states": states}.get(frozen, [frozen])
    for k in set(still) & set(leaves):
        leaves[k].requires_grad_(False)
    output, last = cpp.run(with_tensors(call, leaves))
    torch.autograd.backward([output, *last], seeds(output, last, torch.float64))
    for k, leaf in leaves.items():
        if k in still:
            assert leaf.grad is None
        else:
            torch.testing.assert_close(leaf.grad, expected[f"d {k}"], rtol=1e-12, atol=1e-12)


# Padding and NaN.


@pytest.mark.parametrize("save", ["gates", "states"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", chosen(MANY))
def test_what_lies_past_the_end_of_a_row_changes_nothing(name, reverse, save):
    lengths, resets = ragged(6, 5)
    past = torch.arange(6).unsqueeze(1) >= lengths
    call = make(name, 6, lengths=lengths, resets=resets, reverse=reverse, save=save)
    expected = results(cpp, call)
    garbage = torch.where(past.unsqueeze(-1), NAN, call.x)
    leaves = {k: v.detach().requires_grad_() for k, v in tensors(call).items()}
    leaves["x"] = garbage.requires_grad_()
    output, last = cpp.run(with_tensors(replace(call, resets=resets | past), leaves))
    d, *d_last = seeds(output, last, torch.float64)
    d = torch.where(past.unsqueeze(-1), NAN, d)
    pairs = [(v, g) for v, g in zip((output, *last), (d, *d_last), strict=True) if v.requires_grad]
    torch.autograd.backward([v for v, _ in pairs], [g for _, g in pairs])
    assert torch.equal(output, expected["output"])
    assert not output[past].any()
    for k, s in zip(call.cell.state_specs, last, strict=True):
        assert torch.equal(s, expected[k])
    for k, leaf in leaves.items():
        gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        assert torch.equal(gradient, expected[f"d {k}"]), k
    assert not leaves["x"].grad[past].any()


@pytest.mark.parametrize(
    "name", ["lstm", "rnn-relu", "gru", "Kinked", "SoftmaxRNN", "LayerNormRNN"]
)
def test_nan_in_a_valid_step_is_not_lost(name):
    """NaN must reach the results, so that a diverging training is noticed, but no other row."""
    call = make(name, 5, 4, 18)
    call.x[2, 1, 0] = NAN
    with torch.no_grad():
        (ours, our_last), (theirs, their_last) = cpp.run(call), reference.run(call)
    for a, b in zip((ours, *our_last), (theirs, *their_last), strict=True):
        assert torch.equal(a.isnan(), b.isnan())
    assert ours[2:, 1].isnan().any()
    assert not ours[:, [0, 2, 3]].isnan().any()


@pytest.mark.parametrize("scale", [30.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", chosen(["lstm", "gru", "SoftmaxRNN", "PeepholeGRU"]))
def test_large_inputs_saturate_and_are_not_infinite(name, dtype, scale):
    """The functions of the equations are tested with arguments for which exp overflows."""
    call = make(name, 3, 4, 18, dtype=dtype)
    call = replace(call, x=call.x * scale)
    ours = results(cpp, call)
    theirs = results(reference, call, dtype=torch.float64)
    for key in ("output", *call.cell.state_specs):
        check_close({key: ours[key]}, {key: theirs[key]}, dtype)
    assert all(v.isfinite().all() for v in ours.values())
