"""Initial weights, the names of parameters, and refusals."""

import math

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

import throughtime as tt
from throughtime.checks import ShapeError

I, H = 2, 3
WITH_FORGET_GATE = [n for n in tt.cells.names() if "f" in tt.cells.get(n).gates]
WITHOUT = [n for n in tt.cells.names() if n not in WITH_FORGET_GATE]

WITH_RECURRENT_BLOCKS = [n for n in tt.cells.names() if tt.cells.get(n).recurrent_block_names]

every_cell = pytest.mark.parametrize("name", tt.cells.names())


def block(layer, parameter, suffix, gate, names=None):
    if names is None:
        cell = layer.cell
        names = cell.recurrent_bias_names if parameter == "bias_hh" else cell.gates
    return getattr(layer, parameter + suffix).chunk(len(names))[names.index(gate)]


# Weights.


@every_cell
def test_weights_are_named_shaped_and_ordered_as_in_torch_nn_then_come_the_cells_own(name):
    layer = tt.Recurrent(name, I, H, num_layers=2, bidirectional=True)
    cell = layer.cell
    G, biased, more = (
        len(names) for names in (cell.gates, cell.recurrent_bias_names, cell.recurrent_block_names)
    )
    expected = []
    for k, width in ((0, I), (1, 2 * H)):
        for suffix in (f"_l{k}", f"_l{k}_reverse"):
            expected += [
                (f"weight_ih{suffix}", (G * H, width)),
                *([(f"weight_hh{suffix}", (more * H, H))] if more else []),
                (f"bias_ih{suffix}", (G * H,)),
                *([(f"bias_hh{suffix}", (biased * H,))] if biased else []),
                *((f"{k}{suffix}", (p.size or H,)) for k, p in cell.parameter_specs.items()),
            ]
    assert [(k, tuple(p.shape)) for k, p in layer.named_parameters()] == expected
    bare = tt.Recurrent(name, I, H, num_layers=2, bidirectional=True, bias=False)
    assert [k for k, _ in bare.named_parameters()] == [k for k, _ in expected if "bias" not in k]


def test_peepholes_bear_their_gate_their_layer_and_their_direction():
    names = dict(tt.Recurrent("lstm-peephole", I, H, 2, bidirectional=True).named_parameters())
    assert {"p_i_l0", "p_f_l0", "p_o_l0", "p_i_l1_reverse", "p_o_l0_reverse"} <= set(names)
    assert len(names) == 4 * 7


def undeclared(layer):
    """The parts of all weights for which the cell declares no initial values."""
    cell, declared = layer.cell, layer.cell.initial_weights
    for name, weight in layer.named_parameters():
        key = name.rsplit("_l", 1)[0]
        if key in cell.parameter_specs:
            blocks = {} if cell.parameter_specs[key].initial is not None else {"": weight}
        elif key.startswith("weight"):
            letter, names = ("W", cell.gates)
            if key == "weight_hh":
                letter, names = ("R", cell.recurrent_block_names)
            blocks = dict(zip((f"{letter}.{n}" for n in names), weight.split(H), strict=True))
        else:
            letter, names = ("b_W", cell.gates)
            if key == "bias_hh":
                letter, names = ("b_R", cell.recurrent_bias_names)
            blocks = dict(zip((f"{letter}.{n}" for n in names), weight.split(H), strict=True))
            blocks = {k: v for k, v in blocks.items() if "b." + k[4:] not in declared}
        yield from (part.flatten() for k, part in blocks.items() if k not in declared)


@every_cell
def test_the_seed_decides_the_weights_and_they_lie_within_their_bound(name):
    def drawn(seed):
        torch.manual_seed(seed)
        return torch.cat([*undeclared(tt.Recurrent(name, I, H, 2))])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert drawn(1).abs().max() <= 1 / math.sqrt(H)
    assert drawn(1).abs().max() > 0.9 / math.sqrt(H)


def test_reset_parameters_draws_anew():
    torch.manual_seed(1)
    layer = tt.Recurrent("lstm-peephole", I, H, forget_bias=1.0)
    first = [p.detach().clone() for p in layer.parameters()]
    layer.reset_parameters()
    assert not any(torch.equal(a, b) for a, b in zip(layer.parameters(), first, strict=True))
    torch.manual_seed(1)
    layer.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), first, strict=True))
    assert all(p.requires_grad and p.is_leaf for p in layer.parameters())


# Options of the initial weights.


@pytest.mark.parametrize("name", WITH_FORGET_GATE)
def test_forget_bias_is_where_the_forget_gate_starts_and_touches_nothing_else(name):
    options = {"num_layers": 2, "bidirectional": True}
    torch.manual_seed(0)
    plain = tt.Recurrent(name, I, H, **options)
    torch.manual_seed(0)
    layer = tt.Recurrent(name, I, H, forget_bias=1.5, **options)
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        assert block(layer, "bias_ih", suffix, "f").tolist() == [1.5] * H
        if "f" in layer.cell.recurrent_bias_names:
            assert block(layer, "bias_hh", suffix, "f").tolist() == [0.0] * H
        blocks = {"bias_ih": layer.cell.gates, "bias_hh": layer.cell.recurrent_bias_names}
        for bias, gates in blocks.items():
            for gate in set(gates) - {"f"}:
                assert torch.equal(
                    block(layer, bias, suffix, gate), block(plain, bias, suffix, gate)
                )
        others = {k: v for k, v in plain.state_dict().items() if "bias" not in k}
        assert all(torch.equal(layer.state_dict()[k], v) for k, v in others.items())


class Reordered(tt.Cell):
    """A cell whose recurrent blocks have another order than its gates."""

    gates, states, recurrent_blocks = ("f", "g"), ("h",), ("g", "f")

    def step(self, x, W, R, s, p):
        f, g = torch.sigmoid(W.f(x) + R.f(s.h)), torch.tanh(W.g(x) + R.g(s.h))
        return dict(h=f * s.h + (1 - f) * g)


class InputsAlone(tt.Cell):
    """A cell whose forget gate reads the input only."""

    gates, states, recurrent_blocks = ("f", "g"), ("h",), ()

    def step(self, x, W, R, s, p):
        f = torch.sigmoid(W.f(x))
        return dict(h=f * s.h + (1 - f) * W.g(x))


def test_forget_bias_finds_its_block_where_the_recurrent_blocks_are_in_another_order():
    layer = tt.Recurrent(Reordered(), I, H, forget_bias=1.0)
    assert block(layer, "bias_ih", "_l0", "f").tolist() == [1.0] * H
    assert block(layer, "bias_hh", "_l0", "f", ("g", "f")).tolist() == [0.0] * H
    assert block(layer, "bias_hh", "_l0", "g", ("g", "f")).all()


def test_forget_bias_does_without_a_recurrent_forget_block():
    layer = tt.Recurrent(InputsAlone(), I, H, forget_bias=1.0)
    assert block(layer, "bias_ih", "_l0", "f").tolist() == [1.0] * H
    with pytest.raises(ValueError, match="no recurrent block to be orthogonal"):
        tt.Recurrent(InputsAlone(), I, H, recurrent_init="orthogonal")


@pytest.mark.parametrize("name", WITHOUT)
def test_forget_bias_is_refused_where_there_is_no_forget_gate(name):
    with pytest.raises(ValueError, match=rf'"{name}".*forget_bias is the bias of block f'):
        tt.Recurrent(name, I, H, forget_bias=1.0)


def test_forget_bias_is_refused_without_biases():
    with pytest.raises(ValueError, match="LSTM: forget_bias needs bias=True"):
        tt.LSTM(I, H, bias=False, forget_bias=1.0)


@pytest.mark.parametrize("name", WITH_RECURRENT_BLOCKS)
def test_orthogonal_makes_every_recurrent_block_a_rotation(name):
    layer = tt.Recurrent(name, I, H, 2, bidirectional=True, recurrent_init="orthogonal")
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        blocks = getattr(layer, f"weight_hh{suffix}").split(H)
        assert len(blocks) == len(layer.cell.recurrent_block_names)
        for R in blocks:
            torch.testing.assert_close(R @ R.T, torch.eye(H), rtol=0, atol=1e-5)
    bound = 1 / math.sqrt(H)
    assert layer.weight_ih_l0.abs().max() <= bound


def test_orthogonal_is_drawn_in_half_precision_too():
    layer = tt.LSTM(I, H, recurrent_init="orthogonal", dtype=torch.bfloat16)
    R = layer.weight_hh_l0[:H].float()
    torch.testing.assert_close(R @ R.T, torch.eye(H), rtol=0, atol=0.02)


def test_uniform_recurrent_blocks_are_no_rotations():
    R = tt.LSTM(I, H).weight_hh_l0[:H]
    assert not torch.allclose(R @ R.T, torch.eye(H), atol=0.1)


# Refusals.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"merge": "summ"}, r'unknown merge "summ"; did you mean "sum"'),
        ({"merge": "sum"}, r'merge="sum" merges two directions; set bidirectional=True'),
        ({"recurrent_init": "ortogonal"}, r'did you mean "orthogonal"'),
        ({"dropout": 1.5}, r"expected dropout as a probability from 0 to 1, got 1\.5"),
        ({"dropout": -0.1}, "expected dropout as a probability"),
        ({"dropout": float("nan")}, "expected dropout as a probability"),
        ({"dropout": True}, "expected dropout as a probability"),
        ({"num_layers": 0}, "expected num_layers of at least 1, got 0"),
        ({"hidden_size": 0}, "expected hidden_size of at least 1, got 0"),
        ({"input_size": -1}, "expected input_size of at least 1, got -1"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tt.LSTM(**{"input_size": I, "hidden_size": H, **options})


@pytest.mark.parametrize("option", ["input_size", "hidden_size", "num_layers"])
def test_a_size_that_is_no_whole_number_is_refused(option):
    for value in (2.0, "2", True, None):
        with pytest.raises(TypeError, match=f"LSTM: expected {option} as a whole number"):
            tt.LSTM(**{"input_size": I, "hidden_size": H, option: value})


def zeros(*shape, **options):
    return torch.zeros(*shape, **options)


STATE = zeros(1, 2, H)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            (zeros(4, 2, 5),),
            {},
            r"LSTM: expected x of shape \(T, B, 2\) because input_size=2, got \(4, 2, 5\)\.",
        ),
        ((zeros(4, 5),), {}, r"expected x of shape \(T, 2\) .*got \(4, 5\)"),
        ((zeros(2),), {}, r"expected x of shape \(T, B, 2\)"),
        ((zeros(4, 2, 2, 2),), {}, r"expected x of shape \(T, B, 2\)"),
        ((zeros(0, 2, I),), {}, "expected at least one time step"),
        (
            (zeros(4, 2, I), (STATE, zeros(1, 3, H))),
            {},
            r"expected the initial state c of shape \(1, 2, 3\) because num_layers=1.*"
            r"got \(1, 3, 3\)",
        ),
        ((zeros(4, I), (STATE, STATE)), {}, r"expected the initial state h of shape \(1, 3\)"),
        (
            (zeros(4, 2, I),),
            {"lengths": [4]},
            r"expected lengths of shape \(2\) because x has 2 rows",
        ),
        (
            (zeros(4, 2, I),),
            {"resets": zeros(2, 4, dtype=torch.bool)},
            r"expected resets of shape \(4, 2\)",
        ),
    ],
)
def test_a_wrong_shape_is_told_what_was_expected(arguments, options, message):
    with pytest.raises(ShapeError, match=message):
        tt.LSTM(I, H)(*arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((zeros(4, 2, I).double(),), {}, r"expected x of torch\.float32 .*got torch\.float64"),
        ((zeros(4, 2, I).long(),), {}, r"expected x of torch\.float32 .*got torch\.int64"),
        ((zeros(4, 2, I), STATE), {}, r"expected 2 initial state\(s\) \(h, c\), a tuple, got a"),
        ((zeros(4, 2, I), (STATE,)), {}, r"expected 2 initial state\(s\).*got a tuple of 1"),
        (
            (zeros(4, 2, I), (STATE, STATE.double())),
            {},
            r"expected the initial state c of torch\.float32.*got torch\.float64",
        ),
        ((zeros(4, 2, I),), {"lengths": [4, 5]}, "expected lengths from 0 to 4.*got 4 to 5"),
        ((zeros(4, 2, I),), {"lengths": [4, -1]}, "expected lengths from 0 to 4.*got -1 to 4"),
        ((zeros(4, 2, I),), {"lengths": [4.0, 1.0]}, "expected whole numbers in lengths"),
        ((zeros(4, 2, I),), {"lengths": [True, True]}, "expected whole numbers in lengths"),
        ((zeros(4, 2, I),), {"resets": zeros(4, 2)}, r"expected resets of torch\.bool"),
        ((pack_sequence([zeros(4, I)]),), {"lengths": [4]}, "a PackedSequence brings its own"),
        (
            (pack_sequence([zeros(4, I)]),),
            {"resets": zeros(4, 1, dtype=torch.bool)},
            "a PackedSequence brings its own",
        ),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_wrong_value_is_told_what_was_expected(backend, arguments, options, message):
    with pytest.raises(ValueError, match=f"LSTM: .*{message}"):
        tt.LSTM(I, H, backend=backend)(*arguments, **options)


def test_one_state_may_come_alone_or_in_a_tuple_of_one_but_not_of_two():
    layer, x = tt.GRU(I, H), torch.randn(4, 2, I)
    h = torch.randn(1, 2, H)
    assert torch.equal(layer(x, h)[0], layer(x, (h,))[0])
    with pytest.raises(ValueError, match=r"expected 1 initial state\(s\) \(h\), a tensor, got a"):
        layer(x, (h, h))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input": [1.0]}, r"expected x as a tensor, got \[1.0\]"),
        ({"resets": [[True]]}, r"expected resets as a tensor, got \[\[True\]\]"),
        ({"hx": 3}, "expected hx as a tensor or a tuple, got 3"),
    ],
)
def test_what_is_no_tensor_is_told_so(arguments, message):
    with pytest.raises(TypeError, match=message):
        tt.LSTM(I, H)(**({"input": torch.zeros(4, 2, I)} | arguments))


def test_a_batch_without_rows_has_an_output_without_rows():
    for backend in ("torch", "reference"):
        output, (h, c) = tt.LSTM(I, H, backend=backend)(torch.zeros(4, 0, I))
        assert output.shape == (4, 0, H)
        assert h.shape == c.shape == (1, 0, H)
    output, _ = tt.LSTM(I, H)(torch.zeros(4, 0, I), lengths=[])
    assert output.shape == (4, 0, H)


def test_the_layer_shows_what_is_not_the_default():
    layer = tt.Recurrent("lstm-peephole", I, H, 2, bidirectional=True, merge="sum", dropout=0.5)
    assert repr(layer) == (
        "Recurrent(PeepholeLSTM(), 2, 3, num_layers=2, dropout=0.5, bidirectional=True, "
        "merge='sum')"
    )
