"""Which backend runs a call, the reasons of the others, and that the chosen one really ran."""

import logging
from types import SimpleNamespace

import pytest
import torch

import throughtime as tt
from throughtime.kernels import BACKENDS, dispatch, torch_native
from throughtime.kernels.cpp import backend as cpp

from ..further_inputs import fed, inputs_of

FUSED = {"rnn-tanh": "rnn_tanh", "rnn-relu": "rnn_relu", "gru": "gru", "lstm": "lstm"}
ACROSS = [name for name in tt.cells.names() if name not in FUSED]


@pytest.fixture
def calls(monkeypatch):
    """The calls of PyTorch's own operators, by name."""
    counted = []

    def counting(name):
        operator = getattr(torch._VF, name)

        def count(*args):
            counted.append(name)
            return operator(*args)

        return count

    operators = SimpleNamespace(**{name: counting(name) for name in FUSED.values()})
    monkeypatch.setattr(torch_native, "_VF", operators)
    return counted


class Halving(tt.Cell):
    gates, states = ("h",), ("h",)

    def step(self, x, W, R, s, p):
        h = W.h(x) + R.h(s.h)
        return dict(h=h.chunk(2, -1)[0].repeat(1, 2))


@pytest.fixture
def log(caplog, monkeypatch):
    """The messages that dispatch logs, starting as if nothing had run before."""
    monkeypatch.setattr(dispatch, "_logged", set())
    caplog.set_level(logging.INFO, logger="throughtime")
    return caplog


def sequence(rows=2):
    return torch.randn(5, rows, 3)


@pytest.mark.parametrize("name", FUSED)
def test_the_fused_operator_runs_once_for_each_layer_and_direction(calls, name):
    layer = tt.Recurrent(name, 3, 4, num_layers=2, bidirectional=True, backend="torch")
    layer(sequence())
    assert calls == [FUSED[name]] * 4
    layer(sequence(), lengths=[5, 2])
    assert calls == [FUSED[name]] * 8
    assert layer.explain(sequence()).backend == "torch"


@pytest.mark.parametrize("name", FUSED)
def test_the_reference_does_without_the_fused_operator(calls, name):
    layer = tt.Recurrent(name, 3, 4, backend="reference")
    layer(sequence())
    assert calls == []
    assert layer.explain(sequence()) == dispatch.Explanation("reference", {})


@pytest.mark.parametrize("name", tt.cells.names())
def test_auto_takes_the_compiled_kernel_for_every_cell(calls, ran, name):
    # In float64, for which the tests of the cells compile the kernels.
    layer = fed(tt.Recurrent(name, 3, 4, num_layers=2, dtype=torch.float64))
    x = sequence().double()
    layer(x)
    assert calls == []
    assert ran == ["forward"] * 2
    assert layer.explain(x, inputs=inputs_of(layer, x)) == dispatch.Explanation("cpp", {})


@pytest.mark.parametrize("name", tt.cells.names())
def test_auto_takes_no_compiled_kernel_for_a_step_alone_and_says_so(calls, ran, name):
    layer, x = fed(tt.Recurrent(name, 3, 4)), sequence()[:1]
    layer(x)
    assert ran == []
    assert calls == ([FUSED[name]] if name in FUSED else [])
    why = layer.explain(x, inputs=inputs_of(layer, x))
    assert why.backend == ("torch" if name in FUSED else "reference")
    assert "cpp could, but so few steps are done sooner without" in str(why)


def test_where_nothing_can_be_compiled_the_reference_runs_and_one_warning_says_so(monkeypatch, log):
    monkeypatch.setattr(cpp, "missing", lambda: ["no C++ compiler was found"])
    layer = tt.Recurrent("lstm-peephole", 3, 4)
    with pytest.warns(UserWarning, match=r"lstm-peephole runs step by step .* no C\+\+ compiler"):
        layer(sequence())
    layer(sequence())
    assert layer.explain(sequence()).backend == "reference"
    with pytest.raises(ValueError, match=r'backend="cpp" cannot run this: no C\+\+ compiler'):
        tt.Recurrent("lstm-peephole", 3, 4, backend="cpp")(sequence())


def test_strict_refuses_what_no_kernel_runs():
    layer = tt.Recurrent(Halving(), 3, 4, strict=True)
    with pytest.raises(
        ValueError, match=r"strict=True, and no kernel runs this: cpp cannot: .*repeat"
    ):
        layer(sequence())
    layer.strict = False
    layer(sequence())
    why = layer.explain(sequence())
    assert why.backend == "reference"
    assert "repeat" in why.reasons["cpp"][0]


@pytest.mark.parametrize("options", [{"strict": True}, {"backend": "cpp"}])
def test_what_no_kernel_runs_is_refused_inside_torch_compile_too(options):
    torch.compiler.reset()
    layer = tt.Recurrent(Halving(), 3, 4, **options)
    with pytest.raises(ValueError, match="repeat"):
        torch.compile(layer, backend="eager")(sequence())


def test_strict_refuses_a_step_alone_too_where_there_is_no_kernel():
    with pytest.raises(ValueError, match="strict=True, and no kernel runs this: cpp cannot"):
        tt.Recurrent(Halving(), 3, 4, strict=True)(sequence()[:1])


def test_strict_takes_what_is_fastest_all_the_same():
    layer = tt.Recurrent("lstm-peephole", 3, 4, strict=True)
    layer(sequence())
    layer(sequence()[:1])


@pytest.mark.parametrize("name", ACROSS)
def test_a_forced_backend_that_cannot_run_raises_with_its_reason(name):
    layer, x = fed(tt.Recurrent(name, 3, 4, backend="torch")), sequence()
    message = (
        rf'backend="torch" cannot run this: the cell {name} is none that PyTorch has fused '
        r'\(.*LSTM.*\)\. Use backend="auto"\.'
    )
    with pytest.raises(ValueError, match=message):
        layer(x)
    with pytest.raises(ValueError, match=message):
        layer.explain(x, inputs=inputs_of(layer, x))


def cut(options):
    """Two steps run without a compiled kernel, and give the same results."""
    resets, lengths = options.get("resets"), options.get("lengths")
    return dict(
        resets=None if resets is None else resets[:2],
        lengths=None if lengths is None else [min(n, 2) for n in lengths],
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"resets": torch.zeros(5, 2, dtype=torch.bool)}, "resets are given"),
        ({"lengths": [5, 0]}, "a row has length 0"),
    ],
)
def test_a_call_that_the_fused_operator_does_not_know_goes_to_the_reference(calls, options, reason):
    layer = tt.LSTM(3, 4)
    layer(sequence()[:2], **cut(options))
    assert calls == []
    why = layer.explain(sequence()[:2], **cut(options))
    assert why.backend == "reference"
    assert reason in "; ".join(why.reasons["torch"])
    with pytest.raises(ValueError, match=reason):
        tt.LSTM(3, 4, backend="torch")(sequence(), **options)


@pytest.mark.parametrize("make", [tt.LSTM, lambda *a, **k: tt.Recurrent("lstm-fgr", *a, **k)])
def test_an_unknown_backend_is_refused_with_the_nearest(make):
    with pytest.raises(ValueError, match=r'unknown backend "referense"; did you mean "reference"'):
        make(3, 4, backend="referense")
    with pytest.raises(ValueError, match=r'unknown backend "cuda"\. Known: auto, .*torch'):
        make(3, 4, backend="cuda")


def test_every_cell_that_says_it_equals_one_of_pytorch_runs_on_its_operator():
    claimed = {n for n in tt.cells.names() if tt.cells.get(n).torch_equivalent is not None}
    assert claimed == set(FUSED)


def test_a_subclass_with_equations_of_its_own_is_not_taken_for_the_original(calls):
    """Its inherited ``torch_equivalent`` is "LSTM", but its step computes something else."""

    class Halved(type(tt.cells.get("lstm"))):
        def step(self, x, W, R, s, p):
            returned = super().step(x, W, R, s, p)
            return returned | dict(h=returned["h"] / 2)

    layer = tt.Recurrent(Halved(), 3, 4)
    plain = tt.LSTM(3, 4, backend="torch")
    plain.load_state_dict(layer.state_dict())
    x = sequence()[:1]
    torch.testing.assert_close(layer(x)[0], plain(x)[0] / 2)
    assert calls == ["lstm"]
    assert layer.explain(x).backend == "reference"


def test_a_subclass_with_other_constants_alone_still_runs_on_the_operator(calls):
    class Renamed(type(tt.cells.get("lstm"))):
        source = "a thesis"

    tt.Recurrent(Renamed(), 3, 4, backend="torch")(sequence())
    assert calls == ["lstm"]


def test_a_choice_is_logged_once(log):
    layer = tt.Recurrent("lstm-peephole", 3, 4, num_layers=2)
    for _ in range(3):
        layer(sequence())
    (record,) = log.records
    assert record.getMessage() == "lstm-peephole: cpp runs this call."
    tt.LSTM(3, 4)(sequence()[:1])
    tt.LSTM(3, 4)(sequence()[:1])
    assert [r.getMessage().split("\n")[0] for r in log.records[1:]] == [
        "lstm: torch runs this call."
    ]


def test_a_choice_that_changes_is_logged_again(log):
    layer = tt.LSTM(3, 4)
    layer(sequence()[:1])
    layer(sequence()[:1], resets=torch.zeros(1, 2, dtype=torch.bool))
    layer(sequence())
    backends = [r.getMessage().split(" ")[1] for r in log.records]
    assert backends == ["torch", "reference", "cpp"]


def test_a_backend_that_lacks_something_on_this_machine_is_passed_over(monkeypatch, calls):
    monkeypatch.setattr(torch_native, "missing", lambda: ["no such library"])
    layer = tt.LSTM(3, 4)
    layer(sequence()[:1])
    assert calls == []
    assert layer.explain(sequence()[:1]).reasons == {"torch": ["no such library"]}


def test_the_reference_is_the_last_resort_and_never_refuses():
    assert list(BACKENDS)[-1] == "reference"


def test_explain_takes_what_forward_takes():
    layer = tt.LSTM(3, 4)
    packed = torch.nn.utils.rnn.pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
    assert layer.explain(packed).backend == "cpp"
    assert layer.explain(torch.randn(4, 3)).backend == "cpp"
    assert layer.explain(torch.randn(1, 3)).backend == "torch"


def test_where_there_is_amx_pytorch_multiplies_bfloat16(monkeypatch):
    monkeypatch.setattr(cpp, "has_amx", lambda: True)
    layer, x = tt.LSTM(3, 4, dtype=torch.bfloat16), sequence().bfloat16()
    assert layer.explain(x).backend == "torch"
    assert "AMX" in str(layer.explain(x))
    assert layer.explain(x, resets=torch.zeros(5, 2, dtype=torch.bool)).backend == "cpp"
    assert tt.GRU(3, 4, dtype=torch.bfloat16).explain(x).backend == "cpp"
    assert tt.LSTM(3, 4).explain(sequence()).backend == "cpp"
