"""The compiled kernels as operators of PyTorch: derivatives, transformations, processes."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch._dynamo.testing
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, jacrev, vmap

import throughtime as tt
from throughtime.kernels import operators, reference
from throughtime.kernels.cpp import compiler, recurrence, walk
from throughtime.kernels.cpp.compile import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))

T, B, I, H = 4, 3, 2, 3
RESETS = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.bool)


@pytest.fixture(autouse=True)
def ran(monkeypatch):
    """The runs of kernels, in their order."""
    runs: list[str] = []
    for name in ("forward", "backward"):
        method = getattr(recurrence.Kernel, name)

        def noted(*args, _method=method, _name=name, **kwargs):
            runs.append(_name)
            return _method(*args, **kwargs)

        monkeypatch.setattr(recurrence.Kernel, name, noted)
    return runs


class Peephole(tt.Cell):
    """A cell of no registry."""

    gates, states, parameters = ("z", "n"), ("h",), ("p_z",)

    def step(self, x, W, R, s, p):
        z = torch.sigmoid(W.z(x) + R.z(s.h) + p.p_z * s.h)
        return dict(h=(1 - z) * torch.tanh(W.n(x) + R.n(z * s.h)) + z * s.h)


class Centred(tt.Cell):
    """No recurrent matrix, a sum over the units, and an output that is no state."""

    gates, states, parameters, recurrent_blocks = ("a",), ("c",), ("u",), ()
    output = "y"

    def step(self, x, W, R, s, p):
        a = torch.tanh(W.a(x) + p.u * s.c)
        return dict(c=a, y=a - a.mean(-1, keepdim=True))


CELLS = {"lstm": "lstm", "gru": "gru", "lstm-peephole": "lstm-peephole"}
CELLS |= {"Peephole": Peephole(), "Centred": Centred()}


def layer_of(name="lstm", dtype=torch.float64, backend="cpp", **options):
    torch.manual_seed(0)
    return tt.Recurrent(CELLS[name], I, H, dtype=dtype, backend=backend, **options)


def by_reference(layer):
    other = tt.Recurrent(
        layer.cell,
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        bidirectional=layer.bidirectional,
        backend="reference",
        dtype=layer._dtype,
    )
    other.load_state_dict(layer.state_dict())
    return other


def sequence(*leading, dtype=torch.float64):
    return torch.randn(*leading, T, B, I, dtype=dtype)


def flat(found):
    output, last = found
    return [output, *(last if isinstance(last, tuple) else (last,))]


def close(ours, theirs, **tolerance):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


# What PyTorch checks of an operator.


def arguments(name, dtype=torch.float32, lengths=None, resets=None, save="gates", requires=False):
    """Those of both operators, the second after a run of the first."""
    layer = layer_of(name, dtype)
    w, cell = layer._weights("_l0"), layer.cell
    x = sequence(dtype=dtype)
    state = [torch.randn(B, H, dtype=dtype) for _ in cell.state_specs]
    own = [p.detach() for p in w.parameters.values()]
    matrices = [w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh]
    matrices = [None if m is None else m.detach() for m in matrices]
    text = operators.identity(cell)
    first = (x, *matrices, own, state, lengths, resets, text, False, save)
    found = torch.ops.throughtime.recurrence(*first)
    count = 1 + len(state)
    output, kept = found[0], found[count:]
    d_last = [torch.randn_like(state[0]), *([None] * (len(state) - 1))]
    second = (*first[:9], output, kept, torch.randn_like(output), d_last, text, False, save, True)
    return first, second


OPCHECKS = [
    ("lstm", {}),
    ("lstm", {"lengths": torch.tensor([4, 0, 2]), "resets": RESETS, "save": "states"}),
    ("Peephole", {"dtype": torch.bfloat16, "lengths": torch.tensor([4, 1, 2])}),
    ("Centred", {"dtype": torch.float64, "resets": RESETS}),
    ("lstm-peephole", {"save": "nothing"}),
]


@pytest.mark.parametrize(("name", "options"), OPCHECKS)
def test_the_operators_pass_every_check_of_pytorch(name, options):
    if options.get("save") == "nothing":
        first, _ = arguments(name, **{**options, "save": "gates"})
        torch.library.opcheck(torch.ops.throughtime.recurrence.default, (*first[:-1], "nothing"))
        return
    first, second = arguments(name, **options)
    torch.library.opcheck(torch.ops.throughtime.recurrence.default, first)
    torch.library.opcheck(torch.ops.throughtime.recurrence_backward.default, second)


@pytest.mark.parametrize(("units", "dtype"), [(3, torch.float32), (16, torch.bfloat16)])
@pytest.mark.parametrize("save", ["gates", "states", "nothing"])
@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 0, 2])])
def test_what_is_foretold_of_the_results_is_what_comes(units, dtype, save, lengths):
    for cell in ("lstm", "gru", "lstm-fgr", Peephole(), Centred()):
        layer = tt.Recurrent(cell, I, units, dtype=dtype)
        w = layer._weights("_l0")
        state = [torch.randn(B, units, dtype=dtype) for _ in layer.cell.state_specs]
        call = (*(w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh), list(w.parameters.values()))
        call = (sequence(dtype=dtype), *call, state, lengths, None)
        call = (*call, operators.identity(layer.cell), False, save)
        with torch.no_grad():
            real = torch.ops.throughtime.recurrence(*call)
        with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
            fake = torch.ops.throughtime.recurrence(*call)
        described = [[(v.shape, v.dtype, v.stride()) for v in found] for found in (real, fake)]
        assert described[0] == described[1]


# Derivatives.


def function_and_inputs(name, **options):
    """The layer as a function of everything, with large weights so that every term weighs in."""
    given = {k: options.pop(k, None) for k in ("lengths", "resets")}
    layer = layer_of(name, **options)
    names = [k for k, _ in layer.named_parameters()]
    D = layer.num_directions
    states = [torch.randn(D, B, H).double() for _ in layer.cell.state_specs]
    weights = [0.7 * torch.randn(p.shape).double() for p in layer.parameters()]
    inputs = tuple(v.requires_grad_() for v in (sequence(), *states, *weights))

    def function(x, *rest):
        hx, values = rest[: len(states)], dict(zip(names, rest[len(states) :], strict=True))
        hx = hx if len(hx) > 1 else hx[0]
        return tuple(flat(functional_call(layer, values, (x, hx), given)))

    return function, inputs


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"save": "states"},
        {"lengths": [4, 1, 2], "resets": RESETS, "bidirectional": True},
    ],
)
@pytest.mark.parametrize("name", CELLS)
def test_first_and_second_derivatives_match_finite_differences(ran, name, options, check):
    assert check(*function_and_inputs(name, **options), fast_mode=True)
    assert ran.count("forward") > 1
    assert ran.count("backward") > 1


def test_second_derivatives_are_those_of_the_reference_and_third_ones_too():
    layer = layer_of("Peephole")
    x, found = sequence(), []
    for each in (layer, by_reference(layer)):
        leaf, orders = x.clone().requires_grad_(), []
        y = each(leaf)[0].square().sum()
        for _ in range(3):
            (y,) = torch.autograd.grad(y, leaf, create_graph=True)
            orders.append(y.detach())
            y = y.square().sum()
        found.append(orders)
    close(*found, rtol=1e-9, atol=1e-11)


def test_a_second_derivative_by_what_came_in_alone():
    """The gradient is linear in what comes in: this gives the product with the Jacobian."""
    layer, x = layer_of(), sequence().requires_grad_()
    d, found = torch.randn(T, B, H).double().requires_grad_(), []
    for each in (layer, by_reference(layer)):
        (first,) = torch.autograd.grad(each(x)[0], x, d, create_graph=True)
        found += torch.autograd.grad(first.sum(), d)
    torch.testing.assert_close(*found)


# torch.func.


@pytest.mark.parametrize("options", [{}, {"lengths": [4, 1, 2], "resets": RESETS}])
@pytest.mark.parametrize("name", CELLS)
def test_torch_func_grad_equals_autograd(ran, name, options):
    layer, x = layer_of(name), sequence()
    weights = {k: p.detach() for k, p in layer.named_parameters()}

    def loss(weights, x):
        output, last = functional_call(layer, weights, (x,), options)
        return output.square().sum() + sum(s.sum() for s in flat((output, last))[1:])

    ours, of_x = grad(loss, argnums=(0, 1))(weights, x)
    assert "backward" in ran
    leaf = x.clone().requires_grad_()
    loss(dict(layer.named_parameters()), leaf).backward()
    close([*ours.values(), of_x], [*(p.grad for p in layer.parameters()), leaf.grad])


def looped(function, *batched):
    """The function of each sample, one after another."""
    results = [flat(function(*values)) for values in zip(*batched, strict=True)]
    return [torch.stack(v) for v in zip(*results, strict=True)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("options", [{}, {"lengths": [4, 0, 2], "resets": RESETS}])
@pytest.mark.parametrize("name", CELLS)
def test_vmap_over_inputs_states_and_weights_equals_a_loop(ran, name, options, reverse):
    layer = layer_of(name, bidirectional=reverse)
    states = layer.cell.state_specs
    x = sequence(5)
    hx = tuple(torch.randn(5, layer.num_directions, B, H).double() for _ in states)
    weights = {k: torch.randn(5, *p.shape).double() for k, p in layer.named_parameters()}

    def apply(x, weights=None, *hx):
        if weights is None:
            weights = dict(layer.named_parameters())
        hx = (hx if len(hx) > 1 else hx[0]) if hx else None
        return functional_call(layer, weights, (x, hx), options)

    with torch.no_grad():
        expected = looped(apply, x)
        ran.clear()
        close(flat(vmap(apply)(x)), expected)
        # All samples are rows of one batch.
        assert ran == ["forward"] * layer.num_directions
        of_states = vmap(lambda *s: apply(x[0], None, *s))(*hx)
        close(flat(of_states), looped(lambda *s: apply(x[0], None, *s), *hx))
        close(
            flat(
                vmap(lambda x, *s: apply(x, None, *s), in_dims=(1, *(0 for _ in hx)))(
                    x.transpose(0, 1), *hx
                )
            ),
            looped(lambda x, *s: apply(x, None, *s), x, *hx),
        )
        each = [{k: w[i] for k, w in weights.items()} for i in range(5)]
        expected = looped(lambda w: apply(x[0], w), each)
        close(flat(vmap(lambda w: apply(x[0], w))(weights)), expected)
        expected = looped(lambda x, w: apply(x, w), x, each)
        close(flat(vmap(apply)(x, weights)), expected)


@pytest.mark.parametrize("save", ["gates", "states"])
@pytest.mark.parametrize("name", ["lstm", "Peephole", "Centred"])
def test_gradients_of_each_sample_equal_a_loop(ran, name, save):
    """Per-sample gradients, as private training takes them."""
    layer, x = layer_of(name, save=save), sequence(4)
    weights = {k: p.detach() for k, p in layer.named_parameters()}

    def loss(weights, x):
        output, last = functional_call(layer, weights, (x,))
        return output.square().sum() + flat((output, last))[1].sum()

    ours = vmap(grad(loss), in_dims=(None, 0))(weights, x)
    assert "backward" in ran
    for i in range(4):
        expected = grad(loss)(weights, x[i])
        close([g[i] for g in ours.values()], expected.values())


def test_autograd_through_vmap():
    layer, x = layer_of("lstm"), sequence(4)
    found = []
    for apply in (lambda x: vmap(layer)(x)[0], lambda x: torch.stack([layer(v)[0] for v in x])):
        leaf = x.clone().requires_grad_()
        layer.zero_grad()
        apply(leaf).square().sum().backward()
        found.append([leaf.grad, *(p.grad.clone() for p in layer.parameters())])
    close(*found)


@pytest.mark.parametrize("name", ["lstm", "Peephole"])
def test_jacrev_equals_that_of_the_reference(name):
    layer, x = layer_of(name), sequence()
    ours, theirs = (jacrev(lambda x, f=f: f(x)[0])(x) for f in (layer, by_reference(layer)))
    assert ours.shape == (T, B, H, T, B, I)
    torch.testing.assert_close(ours, theirs)


# torch.compile and torch.export.


# PyTorch traces an autograd function by making one, and warns of that.
quiet = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@quiet
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("lstm", {}),
        ("Peephole", {}),
        ("lstm", {"lengths": torch.tensor([4, 1, 2])}),
        ("gru", {"resets": RESETS}),
    ],
)
def test_a_layer_compiles_as_one_graph_forward_and_backward(ran, name, given):
    layer, x = layer_of(name, num_layers=2, bidirectional=True, backend="auto"), sequence()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    found = []
    for function in (layer, compiled):
        layer.zero_grad()
        leaf = x.clone().requires_grad_()
        ran.clear()
        values = flat(function(leaf, **given))
        sum(v.square().sum() for v in values).backward()
        assert ran == ["forward"] * 4 + ["backward"] * 4
        found.append([*values, leaf.grad, *(p.grad.clone() for p in layer.parameters())])
    close(*found)


@quiet
@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_layer_takes_any_length_and_batch_without_compiling_again():
    layer = layer_of("lstm", backend="auto")
    count = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, backend=count, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for steps, rows in ((4, 3), (7, 2), (9, 5)):
            x = torch.randn(steps, rows, I).double()
            close(flat(compiled(x)), flat(layer(x)))
    assert count.frame_count == 1


def test_a_layer_is_exported_with_any_length_and_batch(ran):
    layer = layer_of("lstm", backend="auto", bidirectional=True).eval()
    steps, rows = torch.export.Dim("T", min=2, max=64), torch.export.Dim("B", min=2, max=64)
    exported = torch.export.export(
        layer, (sequence(),), dynamic_shapes={"input": {0: steps, 1: rows}}
    )
    names = {str(node.target) for node in exported.graph.nodes}
    assert "throughtime.recurrence.default" in names
    for shape in ((4, 3), (9, 2), (17, 6)):
        x = torch.randn(*shape, I).double()
        ran.clear()
        ours = flat(exported.module()(x))
        assert ran == ["forward"] * 2
        close(ours, flat(layer(x)))


def python(code, **environment):
    """Runs Python in a new process, and gives back what it says."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_an_exported_layer_runs_in_another_process(tmp_path):
    """Which knows the cell by its name alone."""
    layer, x = layer_of("lstm-peephole", backend="auto"), sequence()
    exported = torch.export.export(layer.eval(), (x,))
    torch.export.save(exported, tmp_path / "layer.pt2")
    torch.save((x, flat(layer(x))), tmp_path / "values.pt")
    said = python(f"""
        import torch, throughtime
        from throughtime.kernels.cpp import recurrence
        runs = []
        forward = recurrence.Kernel.forward
        recurrence.Kernel.forward = lambda *a, **k: runs.append(1) or forward(*a, **k)
        module = torch.export.load({str(tmp_path / "layer.pt2")!r}).module()
        x, (output, h, c) = torch.load({str(tmp_path / "values.pt")!r})
        with torch.no_grad():
            ours, (our_h, our_c) = module(x)
        assert len(runs) == 1
        for a, b in ((ours, output), (our_h, h), (our_c, c)):
            torch.testing.assert_close(a, b)
        print("the same")
    """)
    assert "the same" in said


def test_a_cell_with_constants_is_found_again_by_its_text():
    class Leaky(tt.Cell):
        name = "leaky-of-this-test"
        gates, states = ("h",), ("h",)

        def __init__(self, rate=0.1, kind="a(b), c"):
            self.rate, self.kind = rate, kind

        def step(self, x, W, R, s, p):
            return dict(h=(1 - self.rate) * s.h + self.rate * torch.tanh(W.h(x) + R.h(s.h)))

    from throughtime.cells import cell as registry

    registry.register(Leaky)
    try:
        texts = {operators.identity(Leaky()), operators.identity(Leaky(0.2))}
        assert len(texts) == 2
        assert operators.identity(Leaky(0.2)) in texts
        text = operators.identity(Leaky(0.25, "x=1"))
        del operators._cells[text]
        found = operators._cell(text)
        assert found.constants == {"rate": 0.25, "kind": "x=1"}
    finally:
        del registry._registry["leaky-of-this-test"]


def test_a_cell_that_only_inherits_a_name_is_not_found_under_it(monkeypatch):
    """Another process would take the original for it."""
    monkeypatch.setattr(operators, "_cells", {})

    class Halved(type(tt.cells.get("lstm"))):
        def step(self, x, W, R, s, p):
            made = super().step(x, W, R, s, p)
            return made | dict(h=made["h"] / 2)

    text = operators.identity(Halved())
    assert text != "lstm"
    assert operators.identity(tt.cells.get("lstm")) == "lstm"
    monkeypatch.setattr(operators, "_cells", {})
    with pytest.raises(ValueError, match="unknown cell"):
        operators._cell(text)


@pytest.mark.parametrize("save", ["gates", "states"])
def test_a_cell_without_any_product_has_a_kernel(save):
    class Average(tt.Cell):
        gates, states = ("h",), ("h",)

        def step(self, x, W, R, s, p):
            return dict(h=0.9 * s.h + 0.1 * x)

    layer = tt.Recurrent(Average(), 5, 5, backend="cpp", save=save, dtype=torch.float64)
    x = torch.randn(1100, 2, 5, dtype=torch.float64, requires_grad=True)
    results = []
    for backend in ("cpp", "reference"):
        layer.backend = backend
        output, _ = layer(x, lengths=[1100, 3])
        results += [output, torch.autograd.grad(output.square().sum(), x)[0]]
    torch.testing.assert_close(results[:2], results[2:])


def test_a_constant_may_change_between_forward_and_backward():
    class Scaled(tt.Cell):
        gates, states = ("h",), ("h",)
        scale = 0.5

        def step(self, x, W, R, s, p):
            return dict(h=self.scale * torch.tanh(W.h(x) + R.h(s.h)))

    cell = Scaled()
    layer, x = tt.Recurrent(cell, 3, 4, backend="cpp"), torch.randn(6, 2, 3)
    found = []
    for after in (0.5, 0.9):
        cell.scale = 0.5
        output, _ = layer(x)
        cell.scale = after
        found.append(torch.autograd.grad(output.sum(), layer.weight_hh_l0)[0])
    assert torch.equal(*found)


def test_two_cells_of_one_name_are_told_apart():
    def cell_of(function):
        class Same(tt.Cell):
            gates, states = ("h",), ("h",)

            def step(self, x, W, R, s, p):
                return dict(h=function(W.h(x) + R.h(s.h)))

        return Same()

    cells = [cell_of(torch.tanh), cell_of(torch.sigmoid)]
    assert len({operators.identity(cell) for cell in cells}) == 2
    x = sequence()
    for cell in cells:
        layer = tt.Recurrent(cell, I, H, dtype=torch.float64, backend="cpp")
        close(flat(layer(x)), flat(by_reference(layer)(x)))


# Threads and processes.


class _Rows(torch.utils.data.Dataset):
    """A data set whose items are run through a layer by the worker that reads them."""

    def __init__(self, layer, xs):
        self.layer, self.xs = layer, xs

    def __len__(self):
        return len(self.xs)

    def __getitem__(self, i):
        with torch.no_grad():
            return self.layer(self.xs[i])[0]


def test_a_worker_of_a_data_loader_may_call_a_layer():
    """It is forked from a process whose threads have run."""
    layer, xs = layer_of("Peephole"), sequence(3)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = [layer(x)[0].detach() for x in xs]
        loader = torch.utils.data.DataLoader(
            *(_Rows(layer, xs), None), num_workers=1, multiprocessing_context="fork", timeout=60
        )
        close(list(loader), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_may_use_several_threads():
    """A process whose threads have run leaves them behind; a child that waits for them hangs.

    So small that no function of PyTorch itself takes several threads: PyTorch would hang.
    """
    said = python("""
        import os, signal, torch, throughtime as tt
        torch.manual_seed(0)
        torch.set_num_threads(2)
        layer = tt.Recurrent("lstm", 8, 64, backend="cpp")
        x = torch.randn(3, 8, 8)
        expected, _ = layer(x)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            torch.set_num_threads(2)
            leaf = x.clone().requires_grad_()
            output, _ = layer(leaf)
            output.sum().backward()
            same = torch.allclose(output, expected) and bool(leaf.grad.isfinite().all())
            os._exit(0 if same else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        again, _ = layer(x)
        assert torch.equal(again, expected)
        print("both ran")
    """)
    assert "both ran" in said


def test_other_python_threads_run_meanwhile():
    """The kernel holds no lock of the interpreter."""
    layer = tt.Recurrent("lstm", 64, 512, backend="cpp")
    x = torch.randn(300, 16, 64)
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(1e-4)

    with torch.no_grad():
        layer(x[:1])
        thread = threading.Thread(target=count)
        thread.start()
        try:
            before = counted[0]
            start = time.perf_counter()
            layer(x)
            took, during = time.perf_counter() - start, counted[0] - before
        finally:
            stop.set()
            thread.join()
    # A thread that had to wait for the end would have counted next to nothing.
    assert took > 0.02
    assert during > 0.1 * took / 1e-3


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_the_number_of_threads_is_that_of_pytorch():
    """Counted in a process of its own, which has started no others before."""
    said = python(
        """
        import os, torch, throughtime as tt
        from throughtime.kernels.cpp import recurrence
        def threads():
            return len(os.listdir("/proc/self/task"))
        layer = tt.Recurrent("lstm", 16, 256, backend="cpp")
        x = torch.randn(4, 32, 16)
        with torch.no_grad():
            torch.set_num_threads(1)
            layer(x)
            one = threads()
            layer(x)
            assert threads() == one
            torch.set_num_threads(3)
            layer(x)
            three = threads()
            torch.set_num_threads(1)
            layer(x)
        print("grew by", three - one)
        """,
        OMP_NUM_THREADS="1",
    )
    assert "grew by 2" in said


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
        return dict(h=torch.nn.functional.mish(W.h(x) + R.h(s.h)))


def test_a_cell_without_a_kernel_falls_back_with_the_reason(ran):
    layer, x = tt.Recurrent(Mish(), I, H), torch.randn(T, B, I)
    why = layer.explain(x)
    assert why.backend == "reference"
    assert why.reasons["cpp"] == ["mish has no kernel"]
    layer(x)
    assert ran == []
    with pytest.raises(
        ValueError, match=r'backend="cpp" cannot run this: mish has no kernel\. Use'
    ):
        tt.Recurrent(Mish(), I, H, backend="cpp")(x)
    with pytest.raises(ValueError, match=r"strict=True, and no kernel .* cpp cannot: mish has no"):
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
    with pytest.raises(ValueError, match="uses x unit by unit, and it has not H features"):
        tt.Recurrent(Adding(), 1, H, backend="cpp")(torch.randn(T, B, 1))
    # One feature spreads over all units, which the reference knows.
    assert tt.Recurrent(Adding(), 1, H)(torch.randn(T, B, 1))[0].shape == (T, B, H)


def test_an_unknown_thing_to_keep_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match='unknown save "state"; did you mean "states"'):
        tt.Recurrent("lstm", I, H, save="state")


class Refused(tt.Cell):
    """Of this test alone: whether it compiles is remembered."""

    gates, states = ("h",), ("h",)

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.h(x) + R.h(s.h)) * 0.123)


def test_a_kernel_that_does_not_compile_is_a_reason_and_not_an_error(monkeypatch, ran):
    def refuse(*args):
        raise compiler.CompileError("the compiler refused generated code\nand said why")

    monkeypatch.setattr(walk, "load", refuse)
    monkeypatch.setattr(recurrence, "prebuild", refuse)
    layer, x = tt.Recurrent(Refused(), I, H), torch.randn(T, B, I)
    why = layer.explain(x)
    assert why.backend == "reference"
    (reason,) = why.reasons["cpp"]
    assert reason == "its C++ does not compile (the compiler refused generated code)"
    close(flat(layer(x)), flat(by_reference(layer)(x)))
    assert ran == []
    with pytest.raises(ValueError, match=r"its C\+\+ does not compile"):
        tt.Recurrent(Refused(), I, H, backend="cpp")(x)


def test_without_a_compiler_the_reference_runs_with_one_warning():
    said = python(
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
    warning, where, backend, error = said.strip().splitlines()
    assert warning.startswith("lstm-peephole runs step by step in Python")
    assert "/nowhere/g++" in warning
    assert "CXX" in warning
    # The warning points at the user's line.
    assert where == "<string>"
    assert backend == "reference"
    assert error.startswith('backend="cpp" cannot run this:')


def test_nothing_is_compiled_or_loaded_by_the_import(tmp_path):
    said = python(
        """
        import subprocess, ctypes
        def refuse(*args, **kwargs):
            raise SystemExit(f"started {args}")
        import torch
        subprocess.Popen = refuse
        import throughtime
        print("imported")
        """,
        THROUGHTIME_CACHE=str(tmp_path / "cache"),
    )
    assert "imported" in said
    assert not Path(tmp_path / "cache").exists()


def test_tensors_that_are_no_leaves_and_calls_without_gradients(ran):
    """A call is run as it is given: nothing is written to, and no graph is made without need."""
    layer, x = layer_of(), sequence()
    call = tt.kernels.Call(
        layer.cell, x, layer._weights("_l0"), tuple(torch.zeros(2, B, H).double())
    )
    with torch.inference_mode():
        output, _ = operators.run(call)
    with torch.no_grad():
        close([output.clone()], [reference.run(replace(call))[0]])
    assert not output.requires_grad
    assert ran == ["forward"]
