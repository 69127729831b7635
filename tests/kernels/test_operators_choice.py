"""When the operators are chosen, the dtype in which they run, and the reasons if they are not."""

from dataclasses import replace

import pytest
import torch

import throughtime as tt
from throughtime.kernels import reference
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp import compiler, library, recurrence
from throughtime.kernels.cpp.build import missing

from .operator_layers import (
    B,
    H,
    I,
    Peephole,
    T,
    by_reference,
    close,
    flat,
    layer_of,
    python,
    sequence,
)

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


# Autocast.


@pytest.mark.parametrize("name", ["lstm", "Peephole"])
def test_autocast_runs_the_kernel_in_bfloat16(ran, name):
    layer, x = layer_of(name, torch.float32), sequence(dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = layer(x)
    assert output.dtype is torch.bfloat16
    output.float().square().sum().backward()
    assert ran == ["forward", "backward"]
    assert x.grad.dtype is torch.float32
    assert all(p.grad.dtype is torch.float32 for p in layer.parameters())
    low = layer_of(name, torch.bfloat16)
    low.load_state_dict(layer.state_dict())
    expected, _ = low(x.detach().bfloat16())
    assert torch.equal(output, expected)


def test_autocast_takes_what_another_operator_has_cast_and_leaves_float64_alone():
    layer, x = layer_of("lstm", torch.float32), sequence(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        expected, _ = layer(x)
        output, _ = layer(x.bfloat16())
        assert torch.equal(output, expected)
        double, _ = layer_of("lstm", torch.float64)(x.double())
        with pytest.raises(ValueError, match=r"expected x of torch\.float32 .* got torch\.int64"):
            layer(x.long())
    assert double.dtype is torch.float64


# The choice, and its reasons.


def test_auto_takes_the_kernel_for_a_cell_that_no_one_else_has(ran):
    layer, x = layer_of("Peephole", backend="auto"), sequence()
    assert layer.explain(x) == tt.kernels.Explanation("cpp", {})
    layer(x)
    assert ran == ["forward"]


class Mish(tt.Cell):
    gates, states = ("h",), ("h",)

    def step(self, x, W, R, s, p):
        return dict(h=torch.nn.functional.celu(W.h(x) + R.h(s.h)))


def test_a_cell_without_a_kernel_falls_back_with_the_reason(ran):
    layer, x = tt.Recurrent(Mish(), I, H), torch.randn(T, B, I)
    why = layer.explain(x)
    assert why.backend == "reference"
    assert why.reasons["cpp"] == ["celu has no kernel"]
    layer(x)
    assert ran == []
    with pytest.raises(
        ValueError, match=r'backend="cpp" cannot run this: celu has no kernel\. Use'
    ):
        tt.Recurrent(Mish(), I, H, backend="cpp")(x)
    with pytest.raises(ValueError, match=r"strict=True, and no kernel .* cpp cannot: celu has no"):
        tt.Recurrent(Mish(), I, H, strict=True)(x)


def test_strict_is_content_where_a_kernel_runs(ran):
    tt.Recurrent(Peephole(), I, H, strict=True)(torch.randn(T, B, I))
    assert ran == ["forward"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: (layer_of(dtype=torch.float16), sequence(dtype=torch.float16)), "x is of float16"),
        (
            lambda: (layer_of().to("meta"), sequence().to("meta")),
            r"x is on meta \(needs cpu\)",
        ),
        (lambda: (layer_of(), sequence()[:, :0]), "the batch is empty"),
    ],
)
def test_a_call_that_is_not_for_the_kernel_is_refused_with_the_reason(make, reason):
    layer, x = make()
    with pytest.raises(ValueError, match=f'backend="cpp" cannot run this: {reason}'):
        layer(x)


def test_an_input_used_unit_by_unit_must_be_as_wide_as_the_layer():
    class Adding(tt.Cell):
        gates, states = ("h",), ("h",)

        def step(self, x, W, R, s, p):
            return dict(h=torch.tanh(W.h(x) + R.h(s.h)) + x)

    tt.Recurrent(Adding(), H, H, backend="cpp")(torch.randn(T, B, H))
    with pytest.raises(ValueError, match="uses x elementwise, so x must have H features"):
        tt.Recurrent(Adding(), 1, H, backend="cpp")(torch.randn(T, B, 1))
    # One feature spreads over all units, which the reference knows.
    assert tt.Recurrent(Adding(), 1, H)(torch.randn(T, B, 1))[0].shape == (T, B, H)


def test_an_unknown_thing_to_keep_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match='unknown save "state"; did you mean "states"'):
        tt.Recurrent("lstm", I, H, save="state")


class Refused(tt.Cell):
    """A cell for this test alone, because a process remembers whether a cell compiles."""

    gates, states = ("h",), ("h",)

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.h(x) + R.h(s.h)) * 0.123)


def test_a_kernel_that_does_not_compile_is_a_reason_and_not_an_error(monkeypatch, ran):
    def refuse(*args):
        raise compiler.CompileError("the compiler refused generated code\nand said why")

    monkeypatch.setattr(library, "load", refuse)
    monkeypatch.setattr(recurrence, "prebuild", refuse)
    layer, x = tt.Recurrent(Refused(), I, H), torch.randn(T, B, I)
    why = layer.explain(x)
    assert why.backend == "reference"
    (reason,) = why.reasons["cpp"]
    assert reason == "its C++ does not compile (the compiler refused generated code)"
    with pytest.warns(UserWarning, match=r"Refused runs step by step .*refused generated code"):
        close(flat(layer(x)), flat(by_reference(layer)(x)))
    layer(x)
    assert ran == []
    with pytest.raises(ValueError, match=r"its C\+\+ does not compile"):
        tt.Recurrent(Refused(), I, H, backend="cpp")(x)


def test_without_a_compiler_the_reference_runs_with_one_warning():
    printed = python(
        """
        import warnings, torch, throughtime as tt
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            layer = tt.Recurrent("lstm-peephole", 3, 4)
            for _ in range(3):
                layer(torch.randn(5, 2, 3))
        messages = [str(w.message) for w in caught]
        assert len(messages) == 1, messages
        print(messages[0])
        print(caught[0].filename)
        print(layer.explain(torch.randn(5, 2, 3)).backend)
        try:
            tt.Recurrent("lstm-peephole", 3, 4, backend="cpp")(torch.randn(5, 2, 3))
        except ValueError as error:
            print(error)
        """,
        CXX="/nowhere/g++",
    )
    warning, where, backend, error = printed.strip().splitlines()
    assert warning.startswith("lstm-peephole runs step by step in Python")
    assert "/nowhere/g++" in warning
    assert "CXX" in warning
    # The warning points at the user's line.
    assert where == "<string>"
    assert backend == "reference"
    assert error.startswith('backend="cpp" cannot run this:')


def test_tensors_that_are_no_leaves_and_calls_without_gradients(ran):
    """A call changes none of its arguments, and records no autograd graph without need."""
    layer, x = layer_of(), sequence()
    call = tt.kernels.Call(
        layer.cell, x, layer._weights("_l0"), tuple(torch.zeros(2, B, H).double())
    )
    with torch.inference_mode():
        output, _ = cpp.run(call)
    with torch.no_grad():
        close([output.clone()], [reference.run(replace(call))[0]])
    assert not output.requires_grad
    assert ran == ["forward"]
