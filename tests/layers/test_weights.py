"""Weights that differ from those of the construction, and weights that change later."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrize

import throughtime as tt
from throughtime.checks import ShapeError
from throughtime.kernels.cpp import backend as cpp
from throughtime.layers import time_gaps

from ..further_inputs import fed

T, B, I, H = 5, 2, 3, 4
needs_compiler = pytest.mark.skipif(bool(cpp.missing()), reason="no compiler")
every_backend = pytest.mark.parametrize(
    "backend", ["reference", "torch", pytest.param("cpp", marks=needs_compiler)]
)
CELLS = tt.cells.names()

# The replaced weight, and the part of the message that describes it.
REFUSED = {
    "float64": (lambda w: w.double(), r"torch\.float64"),
    "bfloat16": (lambda w: w.bfloat16(), r"torch\.bfloat16"),
    "int64": (lambda w: w.long(), r"torch\.int64"),
    "bool": (lambda w: w.bool(), r"torch\.bool"),
    "ones": (lambda w: w.new_ones((1,) * w.dim()), r"got \(1,"),
    "no columns": (lambda w: w.new_ones(*w.shape[:-1], 0), r"got \(.*0,?\)"),
    "no rows": (lambda w: w[:0], r"got \(0,"),
    "too few rows": (lambda w: w[:-1], r"got \("),
    "too many rows": (lambda w: torch.cat([w, w[:1]]), r"got \("),
    "transposed": (lambda w: w.T if w.dim() == 2 else w.unsqueeze(-1), r"got \("),
    "scalar": (lambda w: w.sum(), r"got \(\)"),
    "meta": (lambda w: w.to("meta"), "not at the same device"),
}

# Equal numbers in another memory layout.
LAYOUTS = {
    "transposed": lambda w: w.T.contiguous().T if w.dim() == 2 else w,
    "strided": lambda w: _spread(w),
    "negated": lambda w: torch._neg_view(-w),
    "part of a vector": lambda w: torch.cat([w.flatten(), w.new_ones(3)])[:-3].view(w.shape),
}


def _spread(w):
    """A tensor with NaN between its elements in memory."""
    wide = w.new_full([2 * n + 1 for n in w.shape], float("nan"))
    part = wide[tuple(slice(1, None, 2) for _ in w.shape)]
    return part.copy_(w)


def layer_of(cell="gru", dtype=torch.float32, **options):
    torch.manual_seed(0)
    return fed(tt.Recurrent(cell, H, H, dtype=dtype, **options))


def sequence(steps=T, dtype=torch.float32):
    return torch.randn(steps, B, H, dtype=dtype)


def with_weight(layer, name, value, x, **options):
    with torch.no_grad():
        return functional_call(layer, {name: value}, (x,), options)


# Refusals.


@pytest.mark.parametrize("cell", CELLS)
def test_no_cell_reads_a_weight_of_another_type_shape_or_device(cell):
    layer = layer_of(cell)
    # The reference runs a step or two, kernels run more.
    for x in (sequence(1), sequence()):
        for name, weight in layer.named_parameters():
            for became, (changed, message) in REFUSED.items():
                value = changed(weight.detach())
                if value.shape == weight.shape and value.dtype == weight.dtype != torch.bool:
                    if value.device == weight.device:
                        continue
                with pytest.raises(ValueError, match=message) as refusal:
                    with_weight(layer, name, value, x)
                # The dtype of weight_ih_l0 is that of the layer, which x must have.
                is_type = name == "weight_ih_l0" and "expected x of" in str(refusal.value)
                assert name in str(refusal.value) or is_type, (name, became)


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2, "bidirectional": True},
        {"proj_size": 3},
        {"learned_state": True},
        {"weight_drop": 0.3, "zoneout": 0.1},
        {"backend": "torch"},
        {"backend": "reference"},
    ],
)
def test_every_weight_of_every_option_is_checked(options):
    layer = layer_of("lstm" if "zoneout" not in options else "lstm-peephole", **options)
    for name, weight in layer.named_parameters():
        for changed, message in REFUSED.values():
            with pytest.raises(ValueError, match=message):
                with_weight(layer, name, changed(weight.detach()), sequence())


def test_a_weight_that_is_gone_is_named():
    layer = layer_of()
    layer.bias_hh_l0 = None
    with pytest.raises(ValueError, match=r"expected bias_hh_l0 as a tensor of \(12,\), got None"):
        layer(sequence())
    layer = layer_of()
    layer.weight_ih_l0 = None
    with pytest.raises(ValueError, match="expected weight_ih_l0 as a tensor"):
        layer(sequence())


@pytest.mark.parametrize("steps", [1, T])
def test_weights_of_another_cell_or_size_are_not_read(steps):
    layer = tt.Recurrent("lstm", H, H)
    layer.cell = tt.cells.get("gru")
    with pytest.raises(ShapeError, match=r"expected weight_ih_l0 of shape \(12, 4\), .* got \(16,"):
        layer(sequence(steps))
    layer = tt.Recurrent("lstm", H, H)
    layer.hidden_size = 2
    with pytest.raises(ShapeError, match=r"expected weight_ih_l0 of shape \(8, 4\), .* got \(16,"):
        layer(sequence(steps))
    layer = tt.Recurrent("lstm", H, H)
    layer.proj_size = 2
    with pytest.raises(ValueError, match=r"expected weight_h[hr]_l0"):
        layer(sequence(steps))


def test_the_trace_and_the_explanation_are_refused_too():
    layer, x = layer_of(), sequence()
    with pytest.raises(ShapeError, match=r"expected weight_hh_l0 of shape \(12, 4\), .* got \(1,"):
        with_weight(layer, "weight_hh_l0", torch.ones(1, 1), x, return_trace=True)
    layer.weight_hh_l0 = nn.Parameter(torch.ones(1, 1))
    with pytest.raises(ShapeError, match="expected weight_hh_l0"):
        layer.explain(x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_loading_by_assignment_does_not_bring_another_type(dtype):
    layer = layer_of()
    state = {k: v.to(dtype) if "hh" in k else v for k, v in layer.state_dict().items()}
    layer.load_state_dict(state, assign=True)
    with pytest.raises(ValueError, match=f"weight_hh_l0 of torch.float32 as x is, got {dtype}"):
        layer(sequence())


class _Cast(nn.Module):
    def forward(self, weight):
        return weight.double()


class _Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_a_parametrization_is_read_for_what_it_returns():
    layer, x = layer_of(), sequence()
    plain = layer_of()
    with torch.no_grad():
        plain.weight_hh_l0.mul_(2)
    parametrize.register_parametrization(layer, "weight_hh_l0", _Doubled())
    torch.testing.assert_close(layer(x), plain(x))
    parametrize.register_parametrization(layer, "weight_hh_l0", _Cast(), unsafe=True)
    with pytest.raises(ValueError, match=r"weight_hh_l0 of torch\.float32 as x is"):
        layer(x)


@needs_compiler
@pytest.mark.parametrize("save", ["gates", "states"])
@pytest.mark.parametrize("became", ["float64", "bfloat16", "ones", "transposed"])
def test_a_weight_replaced_before_the_backward_pass_is_refused(save, became):
    layer = layer_of(save=save)
    output, _ = layer(sequence())
    layer.weight_hh_l0.data = REFUSED[became][0](layer.weight_hh_l0.data)
    with pytest.raises(ValueError, match="expected weight_hh of"):
        output.sum().backward()


def grud_and_its_input():
    layer = tt.GRUD(I, H)
    mask = torch.rand(T, B, I) < 0.5
    gaps = time_gaps(torch.rand(T, B).cumsum(0), mask)
    return layer, (torch.randn(T, B, I), mask, gaps)


@pytest.mark.parametrize(
    "make",
    [
        grud_and_its_input,
        lambda: (tt.MatrixLSTM(I, H, num_heads=2), (torch.randn(T, B, I),)),
        lambda: (tt.MatrixLSTM(I, H, chunk_length=None), (torch.randn(T, B, I),)),
    ],
)
def test_the_other_layers_check_theirs(make):
    layer, inputs = make()
    tensors = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    for name, weight in tensors.items():
        for changed, message in REFUSED.values():
            with pytest.raises(ValueError, match=message):
                functional_call(layer, {name: changed(weight.detach())}, inputs)


# Accepted weights.


@every_backend
@pytest.mark.parametrize("units", [H, 16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_a_weight_changes_no_number(layout, units, backend):
    cell = "gru" if backend == "torch" else "lstm-peephole"
    layer = tt.Recurrent(cell, units, units, bidirectional=True, backend=backend).double()
    x = torch.randn(T, B, units, dtype=torch.float64)
    plain = {k: p.detach().requires_grad_() for k, p in layer.named_parameters()}
    other = {k: LAYOUTS[layout](p.detach()).requires_grad_() for k, p in plain.items()}
    results = []
    for weights, sequence in ((plain, x), (other, LAYOUTS[layout](x))):
        options = {"lengths": [T, 3], "return_trace": True}
        output, state, seen = functional_call(layer, weights, (sequence,), options)
        gradients = torch.autograd.grad(output.square().sum(), list(weights.values()))
        results.append([output, state, seen, *gradients])
    torch.testing.assert_close(*results)


def _in_place(layer, theirs):
    with torch.no_grad():
        for ours, value in zip(layer.parameters(), theirs.parameters(), strict=True):
            ours.copy_(value)


def _data(layer, theirs):
    for ours, value in zip(layer.parameters(), theirs.parameters(), strict=True):
        ours.data = value.detach().clone()


def _parameter(layer, theirs):
    for name, value in theirs.named_parameters():
        setattr(layer, name, nn.Parameter(value.detach().clone()))


def _copied_state(layer, theirs):
    layer.load_state_dict(theirs.state_dict())


def _assigned_state(layer, theirs):
    layer.load_state_dict({k: v.clone() for k, v in theirs.state_dict().items()}, assign=True)


def _optimised(layer, theirs):
    """One step whose gradient is the difference."""
    for ours, value in zip(layer.parameters(), theirs.parameters(), strict=True):
        ours.grad = (ours - value).detach()
    torch.optim.SGD(layer.parameters(), lr=1.0).step()


@every_backend
@pytest.mark.parametrize(
    "change", [_in_place, _data, _parameter, _copied_state, _assigned_state, _optimised]
)
def test_weights_changed_after_construction_are_those_that_run(change, backend):
    cell = "gru" if backend == "torch" else "lstm-peephole"
    options = dict(num_layers=2, backend=backend, dtype=torch.float64)
    layer = tt.Recurrent(cell, H, H, **options)
    torch.manual_seed(1)
    theirs = tt.Recurrent(cell, H, H, **options)
    x = sequence(dtype=torch.float64)
    # By now the layer has stored whatever it stores of its weights.
    layer(x)[0].sum().backward()
    with torch.no_grad():
        layer(x)
    layer.zero_grad()
    change(layer, theirs)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(layer(x), theirs(x))
    stream = layer.stream()
    steps = torch.stack([stream.step(v) for v in x])
    torch.testing.assert_close(steps, theirs(x)[0])


@needs_compiler
def test_a_compiled_layer_runs_the_weights_of_now():
    layer, x = layer_of(dtype=torch.float64), sequence(dtype=torch.float64)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        before = compiled(x)[0]
        layer.weight_hh_l0.mul_(2)
        layer.weight_ih_l0.data = layer.weight_ih_l0.data + 1
        after = compiled(x)[0]
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, layer(x)[0].detach())
    torch._dynamo.reset()
