"""Every cell with every option: the compiled kernel equals the reference, or the layer refuses.

The refusals and their reasons are read from docs/layers.md.

By default each cell runs once with all options that change its kernel, which is one kernel to
compile, and once with each of the others. ``-m slow`` runs each option alone.
"""

import inspect
import re
from pathlib import Path

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp
from throughtime.layers.spec import OPTIONS

from ..few import one_of
from ..kernels.noted import noted_runs

I, H, T, B = 4, 4, 6, 5
LENGTHS = [6, 3, 1, 0, 5]
CELLS = tt.cells.names()
PAGE = Path(__file__).parents[2] / "docs" / "layers.md"
every_cell = pytest.mark.parametrize("name", CELLS)
needs_compiler = pytest.mark.skipif(bool(cpp.missing()), reason="no compiler")

CHANGING = {
    "zoneout": {"zoneout": 0.3},
    "recurrent_dropout": {"recurrent_dropout": 0.4},
    "proj_size": {"proj_size": 2},
    "clip": {"clip": 0.5},
    "activations tanh": {"activations": {"tanh": "softsign"}},
    # Not hardsigmoid, whose slope 1 / 6 PyTorch computes in float32.
    "activations sigmoid": {"activations": {"sigmoid": "softsign"}},
}
"""Options that change the equations, and so the kernel."""

NEUTRAL = {
    "weight_drop": {"weight_drop": 0.4},
    "locked_dropout": {"num_layers": 2, "dropout": 0.4, "locked_dropout": True},
    "learned_state": {"learned_state": True, "bidirectional": True},
    "residual": {"num_layers": 2, "residual": True},
    "independent": {"num_layers": 2, "bidirectional": True, "independent": True},
    "save": {"save": "states"},
}
"""Options that run the kernel of the cell itself."""

GIVEN = {"lengths": {"lengths": LENGTHS}, "resets": {"resets": True}, "trace": {}}
"""The arguments of the call; all three are valid for every cell."""


ELSEWHERE = {
    *("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"),
    *("bidirectional", "merge", "backend", "strict"),
    *("forget_bias", "chrono_steps", "recurrent_init"),
}
"""Options with tests of their own: the sizes and layouts of torch.nn, the backend, and how
weights start (test_starting_options.py)."""


def test_every_option_of_the_layers_is_in_the_matrix():
    """Every option must be in CHANGING, in NEUTRAL, or among those tested elsewhere."""
    used = {name for options in (CHANGING | NEUTRAL).values() for name in options}
    assert used | ELSEWHERE == set(OPTIONS)
    assert not {option.partition(" ")[0] for option in CHANGING | NEUTRAL} & ELSEWHERE


# Refusals.


def refusal(name, options):
    """The layer's error message without its name; None if it accepts the options."""
    try:
        tt.Recurrent(name, I, H, **options)
    except ValueError as error:
        return str(error).removeprefix(f'Recurrent("{name}"): ')
    return None


def refused_on_the_page():
    """The refusals in the table of docs/layers.md: the reason by option and cell."""
    table = PAGE.read_text().partition("| refused | the cells | because |")[2].partition("\n\n")[0]
    reasons_by_pair = {}
    for line in table.splitlines()[2:]:
        options, cells, why = (cell.strip() for cell in line.split("|")[1:-1])
        for option in re.findall(r"`(\w+)`", options):
            for cell in re.findall(r"`([a-z0-9-]+)`", cells):
                reasons_by_pair[option, cell] = why
    return reasons_by_pair


def refused():
    """The refusals of the layers, without activations, which differ for each cell."""
    options = {**CHANGING, **NEUTRAL}
    reasons = {(o, n): refusal(n, options[o]) for o in options if " " not in o for n in CELLS}
    return {key: why for key, why in reasons.items() if why is not None}


def test_the_page_lists_what_is_refused_and_nothing_else():
    """A new cell that refuses an option must be in the table of docs/layers.md."""
    page, real = refused_on_the_page(), refused()
    assert len(page) > 50
    assert page.keys() - real.keys() == set()
    assert real.keys() - page.keys() == set()
    for key, words in page.items():
        # The dots in the table stand for a name.
        assert all(part.strip() in real[key] for part in words.split("…")), key


@every_cell
@pytest.mark.parametrize("function", ["tanh", "sigmoid"])
def test_a_function_is_refused_where_the_equations_do_not_call_it(name, function):
    source = inspect.getsource(type(tt.cells.get(name)))
    why = refusal(name, CHANGING[f"activations {function}"])
    if why is None:
        assert re.search(rf"\b{function}\b", source)
    else:
        words = f"activations['{function}'] would have no effect: the equations call no such"
        assert why.startswith(words)


# Accepted options.


def combined(name):
    """All options at once that change the kernel and that the cell accepts."""
    combination = {}
    for option in ("zoneout", "recurrent_dropout", "clip", "proj_size"):
        if refusal(name, CHANGING[option]) is None:
            combination |= CHANGING[option]
    return combination


def run(name, backend, options, arguments, is_traced=False):
    """All results of a layer: outputs, last states, all gradients, the recording."""
    torch.manual_seed(0)
    recurrent = tt.Recurrent(name, I, H, backend=backend, dtype=torch.float64, **options)
    rows = recurrent.num_layers * recurrent.num_directions
    with torch.no_grad():
        for p in recurrent.parameters():
            # Weights large enough to matter, but too small to amplify rounding errors.
            p.copy_(p + 0.2 * torch.randn_like(p))
    x = torch.randn(T, B, I, dtype=torch.float64).requires_grad_()
    hx = [
        (0.5 * torch.randn(rows, B, n).double()).requires_grad_()
        for n in recurrent.state_sizes.values()
    ]
    inputs = {
        k: torch.rand(T, B, spec.size or H, dtype=torch.float64).requires_grad_()
        for k, spec in recurrent.cell.given_inputs.items()
    }
    if inputs:
        arguments = {**arguments, "inputs": inputs}
    torch.manual_seed(1)
    state = None if recurrent.learned_state else tuple(hx) if len(hx) > 1 else hx[0]
    output, last, *seen = recurrent(x, state, **arguments, return_trace=is_traced)
    last = last if isinstance(last, tuple) else (last,)
    results = {"output": output, **dict(zip(recurrent.cell.state_specs, last, strict=True))}
    # All weights of the sum differ, so that exchanged elements change it.
    loss = (output * torch.linspace(1, 2, output.numel()).view(output.shape).double()).sum()
    loss = loss + sum((s * torch.linspace(1, 3, s.numel()).view(s.shape)).sum() for s in last)
    leaves = {"x": x, **dict(recurrent.named_parameters())}
    leaves |= {f"input {k}": v for k, v in inputs.items()}
    if not recurrent.learned_state:
        leaves |= {f"initial {k}": v for k, v in zip(recurrent.cell.state_specs, hx, strict=True)}
    gradients = torch.autograd.grad(loss, [*leaves.values()], allow_unused=True)
    results |= {
        f"d {k}": torch.zeros_like(leaf) if d is None else d
        for (k, leaf), d in zip(leaves.items(), gradients, strict=True)
    }
    return results | (seen[0] if seen else {})


def parity(name, options, arguments, is_traced=False):
    with noted_runs() as ran:
        ours = run(name, "cpp", options, arguments, is_traced)
        assert ran
        ran.clear()
        theirs = run(name, "reference", options, arguments, is_traced)
        assert not ran
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        scale = expected.abs().max().item() + 1e-3
        error = (ours[key] - expected).abs().max().item()
        # The tolerance of test_cpp.py; written so that NaN fails.
        assert error <= 1e-11 * scale, f"{key}: off by {error:.2e} of {scale:.2e}"


def arguments(name="both"):
    torch.manual_seed(2)
    return {"lengths": LENGTHS, "resets": torch.rand(T, B) < 0.3} if name == "both" else {}


@needs_compiler
@pytest.mark.parametrize("name", one_of(4, CELLS))
def test_every_cell_runs_with_all_options_that_change_its_kernel(name):
    """In training, with ragged rows and resets, together with options that keep the kernel."""
    options = combined(name)
    assert "zoneout" in options
    parity(name, options, {})
    parity(name, {**options, "save": "states", "bidirectional": True}, arguments())


@needs_compiler
@every_cell
@pytest.mark.parametrize("option", NEUTRAL)
def test_every_cell_runs_with_each_option_that_leaves_its_kernel_alone(name, option):
    why = refusal(name, NEUTRAL[option])
    if why is None:
        parity(name, NEUTRAL[option], arguments())
    else:
        assert (option, name) in refused_on_the_page()


@needs_compiler
@pytest.mark.slow
@every_cell
@pytest.mark.parametrize("option", CHANGING)
def test_every_cell_runs_with_each_option_alone(name, option):
    if refusal(name, CHANGING[option]) is not None:
        pytest.skip(refusal(name, CHANGING[option]))
    parity(name, CHANGING[option], {})
    parity(name, CHANGING[option], arguments(), is_traced=True)
    more = {"save": "states", "num_layers": 2, "bidirectional": True}
    parity(name, {**CHANGING[option], **more}, arguments())


@needs_compiler
@pytest.mark.slow
@every_cell
def test_every_cell_is_traced_alone_and_with_all_options(name):
    parity(name, {}, arguments(), is_traced=True)
    more = {"num_layers": 2, "bidirectional": True}
    parity(name, {**combined(name), **more}, arguments(), is_traced=True)


@needs_compiler
@pytest.mark.slow
@every_cell
def test_every_cell_runs_with_all_options_in_evaluation(name):
    """Zoneout in evaluation mode is a kernel of its own."""
    results = []
    for backend in ("cpp", "reference"):
        torch.manual_seed(0)
        recurrent = tt.Recurrent(name, I, H, backend=backend, dtype=torch.float64, **combined(name))
        x = torch.randn(T, B, I, dtype=torch.float64)
        specs = recurrent.cell.given_inputs
        inputs = {k: torch.rand(T, B, s.size or H).double() for k, s in specs.items()}
        with torch.no_grad():
            output, last = recurrent.eval()(x, inputs=inputs or None, **arguments())
        results.append([output, *(last if isinstance(last, tuple) else (last,))])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
