"""Properties of every cell through time: directions, ragged rows, carried states, resets."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime as tt

from ..further_inputs import WITHOUT, bounded, fed, inputs_of

T, B, I, H = 5, 4, 2, 3
LENGTHS = [3, 5, 1, 4]
FUSED = [name for name in tt.cells.names() if tt.cells.get(name).torch_equivalent]
CASES = [(name, "reference") for name in tt.cells.names()] + [(name, "torch") for name in FUSED]

every_cell = pytest.mark.parametrize("name", tt.cells.names())
every_case = pytest.mark.parametrize(
    ("name", "backend"), CASES, ids=[f"{name}-{backend}" for name, backend in CASES]
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(name, backend="auto", input_size=I, hidden_size=H, **options):
    """A layer in float64 whose weights are large enough for every step to matter."""
    options = {"dtype": torch.float64, **options}
    layer = tt.Recurrent(name, input_size, hidden_size, backend=backend, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.8, 0.8)
    return fed(bounded(layer))


def states_of(value):
    return value if isinstance(value, tuple) else (value,)


def as_given(states):
    """The states as the layer takes them: a tuple, or the single state."""
    states = tuple(states)
    return states if len(states) > 1 else states[0]


def initial(layer, rows=B):
    shape = (layer.num_layers * layer.num_directions, rows, layer.hidden_size)
    return [torch.randn(shape, dtype=torch.float64) for _ in layer.cell.state_specs]


def sequence(*shape):
    return torch.randn(*(shape or (T, B, I)), dtype=torch.float64)


def ragged(poison=float("nan")):
    """A batch of rows of different lengths, with NaN past their ends."""
    x = sequence()
    for b, length in enumerate(LENGTHS):
        x[length:, b] = poison
    return x


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def same_states(got, expected):
    for a, b in zip(states_of(got), states_of(expected), strict=True):
        close(a, b)


# Layers and directions.

MERGED = {
    "concat": lambda f, r: torch.cat([f, r], -1),
    "sum": lambda f, r: f + r,
    "mean": lambda f, r: 0.5 * (f + r),
    "product": lambda f, r: f * r,
}
# The layer merges the directions of all cells by the same code: by default each case has one merge
# in turn.
every_case_and_merge = pytest.mark.parametrize(
    ("name", "backend", "merge"),
    [
        pytest.param(
            *case, merge, marks=[] if (place - turn) % len(MERGED) == 0 else pytest.mark.slow
        )
        for place, case in enumerate(CASES)
        for turn, merge in enumerate(MERGED)
    ],
)


@every_case_and_merge
def test_two_directions_are_two_layers_of_which_one_reads_backwards(name, backend, merge):
    layer = make(name, backend, num_layers=2, bidirectional=True, merge=merge)
    hx = initial(layer)
    x = sequence()
    # All layers read the further inputs.
    entering = inputs_of(layer, x)
    backwards = {k: v.flip(0) for k, v in entering.items()}
    output, last = layer(x, as_given(hx))
    for k in range(2):
        reads = []
        for direction, suffix in enumerate(["", "_reverse"]):
            apart = make(name, backend, input_size=x.shape[-1])
            for p, parameter in apart.named_parameters():
                own = layer.get_parameter(p.replace("_l0", f"_l{k}") + suffix)
                parameter.data.copy_(own)
            row = 2 * k + direction
            reading = x.flip(0) if direction else x
            further = backwards if direction else entering
            got, end = apart(reading, as_given(s[row : row + 1] for s in hx), inputs=further)
            reads.append(got.flip(0) if direction else got)
            same_states(tuple(s[row : row + 1] for s in states_of(last)), end)
        x = MERGED[merge](*reads)
    close(output, x)
    assert output.shape[-1] == layer.output_size == (2 * H if merge == "concat" else H)


@every_case
def test_batch_first_and_a_row_alone_are_the_same_numbers(name, backend):
    layer = make(name, backend, num_layers=2, bidirectional=True)
    turned = make(name, backend, num_layers=2, bidirectional=True, batch_first=True)
    turned.load_state_dict(layer.state_dict())
    x, hx = sequence(), initial(layer)
    output, last = layer(x, as_given(hx), lengths=LENGTHS)
    got, end = turned(x.transpose(0, 1), as_given(hx), lengths=LENGTHS)
    close(got.transpose(0, 1), output)
    same_states(end, last)
    for which in (layer, turned):
        got, end = which(x[:, 1], as_given(s[:, 1] for s in hx))
        close(got, output[:, 1])
        same_states(end, tuple(s[:, 1] for s in states_of(last)))


# Ragged rows.


@every_case
def test_each_row_of_a_ragged_batch_is_the_row_run_alone(name, backend):
    layer = make(name, backend, num_layers=2, bidirectional=True)
    x, hx = ragged(), initial(layer)
    output, last = layer(x, as_given(hx), lengths=torch.tensor(LENGTHS))
    for b, length in enumerate(LENGTHS):
        alone, end = layer(x[:length, b], as_given(s[:, b] for s in hx))
        close(output[:length, b], alone)
        same_states(tuple(s[:, b] for s in states_of(last)), end)
        assert torch.equal(output[length:, b], torch.zeros(T - length, 2 * H, dtype=torch.float64))


@every_case_and_merge
def test_padding_reaches_no_gradient_and_the_gradients_are_those_of_the_rows_alone(
    name, backend, merge
):
    layer = make(name, backend, num_layers=2, bidirectional=True, merge=merge)
    x = ragged().requires_grad_()
    upstream = sequence(T, B, layer.output_size)
    output, last = layer(x, lengths=LENGTHS)
    loss = (output * upstream).sum() + sum(s.sum() for s in states_of(last))
    got = torch.autograd.grad(loss, [x, *layer.parameters()])
    assert all(gradient.isfinite().all() for gradient in got)

    rows = [x.detach()[:n, b].clone().requires_grad_() for b, n in enumerate(LENGTHS)]
    loss = torch.zeros((), dtype=torch.float64)
    for b, row in enumerate(rows):
        output, last = layer(row)
        loss = loss + (output * upstream[: len(row), b]).sum()
        loss = loss + sum(s.sum() for s in states_of(last))
    expected = torch.autograd.grad(loss, [*rows, *layer.parameters()])
    for b, length in enumerate(LENGTHS):
        close(got[0][:length, b], expected[b])
        assert torch.equal(got[0][length:, b], torch.zeros(T - length, I, dtype=torch.float64))
    for a, e in zip(got[1:], expected[B:], strict=True):
        close(a, e)


@every_cell
def test_a_row_of_length_zero_gives_zeros_and_keeps_its_initial_state(name):
    layer = make(name, num_layers=2, bidirectional=True)
    x, hx = sequence(), [s.requires_grad_() for s in initial(layer)]
    x[:, 1] = float("nan")
    output, last = layer(x, as_given(hx), lengths=[5, 0, 3, 1])
    assert torch.equal(output[:, 1], torch.zeros(T, 2 * H, dtype=torch.float64))
    for start, end in zip(hx, states_of(last), strict=True):
        assert torch.equal(start[:, 1], end[:, 1])
    rest, _ = layer(x[:, [0, 2]], as_given(s[:, [0, 2]] for s in hx), lengths=[5, 3])
    close(output[:, [0, 2]], rest)
    total = output.sum() + sum(s.sum() for s in states_of(last))
    for gradient in torch.autograd.grad(total, hx):
        assert torch.equal(gradient[:, 1], torch.ones_like(gradient[:, 1]))


@pytest.mark.parametrize("is_sorted", [True, False])
@pytest.mark.parametrize(("name", "backend"), [case for case in CASES if case[0] in WITHOUT])
def test_lengths_and_packed_sequences_are_two_words_for_one_thing(name, backend, is_sorted):
    layer = make(name, backend, num_layers=2, bidirectional=True)
    lengths = sorted(LENGTHS, reverse=True) if is_sorted else LENGTHS
    x, hx = sequence(), initial(layer)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=is_sorted)
    output, last = layer(packed, as_given(hx))
    expected, end = layer(x, as_given(hx), lengths=lengths)
    padded, unpacked_lengths = pad_packed_sequence(output)
    close(padded, expected)
    assert unpacked_lengths.tolist() == lengths
    same_states(last, end)


@pytest.mark.parametrize("name", [name for name in tt.cells.names() if name not in WITHOUT])
def test_a_packed_sequence_has_no_place_for_further_inputs(name):
    x = sequence()
    packed = pack_padded_sequence(x, torch.tensor(LENGTHS), enforce_sorted=False)
    layer = make(name)
    defaults = {k: spec.default for k, spec in layer.cell.given_inputs.items()}
    if None in defaults.values():
        with pytest.raises(
            ValueError, match=r"expected the input \w+ of the cell as a tensor, got None"
        ):
            layer(packed)
    else:
        entering = {k: torch.full_like(x[..., 0], value) for k, value in defaults.items()}
        expected, _ = layer(x, lengths=LENGTHS, inputs=entering)
        close(pad_packed_sequence(layer(packed)[0])[0], expected)
    entering = {k: sequence(T, B, 1) for k in layer.cell.given_inputs}
    with pytest.raises(ValueError, match="inputs go with a padded tensor"):
        layer(packed, inputs=entering)


# Carried states.


@pytest.mark.parametrize("cuts", [[1] * T, [2, 3], [4, 1]], ids=str)
@every_case
def test_a_sequence_in_pieces_with_the_state_carried_is_the_sequence(name, backend, cuts):
    layer = make(name, backend, num_layers=2)
    x = sequence()
    whole, last = layer(x)
    state, pieces = None, []
    for piece in x.split(cuts):
        output, state = layer(piece, state)
        pieces.append(output)
    close(torch.cat(pieces), whole)
    same_states(state, last)


# Resets.


def segments(resets, length):
    """The segments of one row, from each reset to the next, as slices."""
    starts = [0, *(t for t in range(1, length) if resets[t])]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], length], strict=True)]


def check_segments(layer, x, hx, lengths, resets):
    """A row with resets equals its segments run separately, each from the initial state."""
    output, last = layer(x, as_given(hx), lengths=lengths, resets=resets)
    D = layer.num_directions
    for b, length in enumerate(lengths):
        own = as_given(s[:, b] for s in hx)
        apart = [layer(x[part, b], own) for part in segments(resets[:, b].tolist(), length)]
        close(output[:length, b], torch.cat([o for o, _ in apart]))
        assert not output[length:, b].any()
        first, end = states_of(apart[0][1]), states_of(apart[-1][1])
        for i, s in enumerate(states_of(last)):
            close(s[::D, b], end[i][::D])
            close(s[1::D, b], (first if D == 2 else end)[i][1::D])


@pytest.mark.parametrize("bidirectional", [False, True])
@every_cell
def test_resets_run_the_segments_apart(name, bidirectional):
    layer = make(name, num_layers=2, bidirectional=bidirectional)
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[2, 0] = resets[1, 1] = resets[3, 1] = resets[4, 2] = resets[0, 3] = True
    check_segments(layer, sequence(), initial(layer), [T] * B, resets)


@given(
    lengths=st.lists(st.integers(1, 4), min_size=3, max_size=3),
    resets=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=4, max_size=4),
    bidirectional=st.booleans(),
)
@settings(max_examples=25, deadline=None, database=None, derandomize=True)
def test_any_resets_go_with_any_lengths(lengths, resets, bidirectional):
    layer = make("lstm-peephole", num_layers=2, bidirectional=bidirectional)
    x, hx = sequence(4, 3, I), initial(layer, 3)
    check_segments(layer, x, hx, lengths, torch.tensor(resets))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_reset_past_the_end_of_a_row_changes_nothing(bidirectional):
    layer = make("gru", bidirectional=bidirectional)
    x, resets = sequence(), torch.zeros(T, B, dtype=torch.bool)
    output, last = layer(x, lengths=LENGTHS, resets=resets)
    for b, length in enumerate(LENGTHS):
        resets[length:, b] = True
    got, end = layer(x, lengths=LENGTHS, resets=resets)
    close(got, output)
    close(end, last)


def test_resets_are_read_as_the_input_is():
    layer = make("lstm-peephole")
    turned = copy.deepcopy(layer)
    turned.batch_first = True
    x, resets = sequence(), torch.rand(T, B) < 0.5
    output, _ = layer(x, resets=resets)
    close(turned(x.transpose(0, 1), resets=resets.T)[0].transpose(0, 1), output)
    close(layer(x[:, 2], resets=resets[:, 2])[0], output[:, 2])


def test_a_reset_cuts_the_gradient():
    layer = make("lstm-peephole")
    x, resets = sequence().requires_grad_(), torch.zeros(T, B, dtype=torch.bool)
    resets[3] = True
    output, _ = layer(x, resets=resets)
    (gradient,) = torch.autograd.grad(output[3:].sum(), x)
    assert not gradient[:3].any()
    assert gradient[3:].all()


# Properties that must not change the results.


@every_case
def test_the_order_of_the_rows_does_not_matter(name, backend):
    layer = make(name, backend, num_layers=2, bidirectional=True)
    order = torch.tensor([2, 0, 3, 1])
    x, hx, lengths = sequence(), initial(layer), torch.tensor(LENGTHS)
    output, last = layer(x, as_given(hx), lengths=lengths)
    got, end = layer(x[:, order], as_given(s[:, order] for s in hx), lengths=lengths[order])
    close(got, output[:, order])
    same_states(end, tuple(s[:, order] for s in states_of(last)))


@every_case
def test_input_that_is_not_contiguous_gives_the_same(name, backend):
    layer = make(name, backend, bidirectional=True)
    x, hx = sequence(), initial(layer)
    strided = torch.randn(I, 2 * T, B, dtype=torch.float64).permute(1, 2, 0)[::2]
    strided.copy_(x)
    turned = [s.transpose(0, 2).contiguous().transpose(0, 2) for s in hx]
    assert not strided.is_contiguous()
    assert not turned[0].is_contiguous()
    for options in ({}, {"lengths": LENGTHS}):
        output, last = layer(x, as_given(hx), **options)
        got, end = layer(strided, as_given(turned), **options)
        close(got, output)
        same_states(end, last)


def with_biases(layer):
    """The layer, with all biases drawn.

    Without recurrent biases, layer normalisation divides the product with a small h by its own
    norm, which amplifies rounding errors at each step beyond any tolerance.
    """
    for key, parameter in layer.named_parameters():
        if key.startswith("bias"):
            bound = layer.hidden_size**-0.5
            torch.nn.init.uniform_(parameter, -bound, bound)
    return layer


@pytest.mark.parametrize("size", [1, 3, 33])
@every_case
def test_any_size_will_do_and_float32_stays_close_to_float64(name, backend, size):
    layer = with_biases(fed(tt.Recurrent(name, size, size, 2, bidirectional=True, backend=backend)))
    x = torch.randn(size, size, size)
    lengths = torch.randint(1, size + 1, (size,))
    output, last = layer(x, lengths=lengths)
    expected, end = layer.double()(x.double(), lengths=lengths)
    assert output.dtype == torch.float32
    assert expected.dtype == torch.float64
    torch.testing.assert_close(output.double(), expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(states_of(last), states_of(end), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


@every_case
def test_bfloat16_runs_forwards_and_backwards(name, backend):
    """The mantissa has eight bits, a precision of 1/256; errors of two layers stay within a few."""
    layer = with_biases(fed(tt.Recurrent(name, I, H, 2, bidirectional=True, backend=backend)))
    x = torch.randn(T, B, I).bfloat16()
    expected, _ = layer.bfloat16().double()(x.double(), lengths=LENGTHS)
    layer = layer.bfloat16()
    output, last = layer(x, lengths=LENGTHS)
    assert all(v.dtype == torch.bfloat16 for v in (output, *states_of(last)))
    torch.testing.assert_close(output.double(), expected, rtol=0.03, atol=0.03)
    output.sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@every_cell
def test_state_dicts_copies_and_pickles_give_the_same_layer(name):
    layer = make(name, num_layers=2, bidirectional=True, merge="sum")
    x = sequence()
    expected, _ = layer(x)
    other = make(name, num_layers=2, bidirectional=True, merge="sum")
    assert not torch.equal(other(x)[0], expected)
    other.load_state_dict(layer.state_dict(), strict=True)
    for again in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(again(x)[0], expected)
        assert repr(again) == repr(layer)
    with torch.no_grad():
        copied = copy.deepcopy(layer)
        copied.weight_ih_l0.zero_()
    assert torch.equal(layer(x)[0], expected)


def test_nothing_that_was_given_is_written_to():
    layer = make("lstm", num_layers=2, bidirectional=True)
    x, hx, lengths = ragged(), initial(layer), torch.tensor(LENGTHS)
    tensors = [x, *hx, lengths]
    before = [v.clone() for v in tensors]
    layer(x, as_given(hx), lengths=lengths)
    for a, b in zip(tensors, before, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


# Transforms of functions.


@every_cell
@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_vmap_over_a_batch_of_inputs_is_a_loop_over_them(name, backend):
    layer = make(name, backend, bidirectional=True)
    xs = sequence(3, T, B, I)
    for options in ({}, {"lengths": LENGTHS}):
        got = torch.vmap(lambda x, options=options: layer(x, **options)[0])(xs)
        close(got, torch.stack([layer(x, **options)[0] for x in xs]))


@every_cell
@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_gradients_of_functions_are_those_of_autograd_and_may_be_taken_per_sample(name, backend):
    layer = make(name, backend, bidirectional=True)
    weights = {k: p.detach() for k, p in layer.named_parameters()}
    xs = sequence(3, T, I)

    def loss(weights, x):
        return torch.func.functional_call(layer, weights, (x,))[0].pow(2).sum()

    per_sample = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, xs)
    for i, x in enumerate(xs):
        expected = torch.autograd.grad(layer(x)[0].pow(2).sum(), list(layer.parameters()))
        for (k, _), gradient in zip(layer.named_parameters(), expected, strict=True):
            close(per_sample[k][i], gradient)
