"""The numbers of the lecture page: its JavaScript gives the values and gradients of PyTorch."""

import json
from importlib.resources import files

import torch

import throughtime as tt
from throughtime.inspection.lecture.network import small_network
from throughtime.kernels.call import Call
from throughtime.kernels.graph.graph import OPERATIONS, Node
from throughtime.kernels.printing.equations import named_graphs
from throughtime.kernels.printing.javascript import FUNCTIONS, arithmetic
from throughtime.kernels.printing.names import STEP_INPUTS
from throughtime.kernels.reference import _run as run_and_record

from ..kernels.printing.javascript_runs import evaluated, without_exports

MODULE = files("throughtime.inspection.lecture").joinpath("unfolded.js").read_text("utf-8")


def network_of(cell):
    return small_network(*named_graphs(cell), cell)


def computed(networks, folder):
    """What the JavaScript gives for each network: the steps, with an uneven loss at all steps."""
    parts = [
        f"{json.dumps(name)}: (() => {{ {without_exports(network.code)}\n"
        f"const data = {json.dumps(network.data)};\n"
        "const inputs = Object.fromEntries(data.inputs.map((i) => [i.name, i.values]));\n"
        "return unfold(step, data, { x: data.x.values, inputs }, "
        "(t, h) => h.map((v, k) => v - 0.1 * k + 0.2 * t)); })()"
        for name, network in networks.items()
    ]
    modules = without_exports(arithmetic()) + without_exports(MODULE)
    return evaluated(f"() => {{ {modules}\nreturn {{ {', '.join(parts)} }}; }}", folder)


class Reference:
    """The network by the reference and autograd.

    Attributes:
        outputs, values: the outputs, and for each step the values that it returns.
        d: for each step, the gradients of these values.
        dx, dinputs, dinitial: the gradients of the inputs and of the initial states.
    """

    def __init__(self, network, loss_of=None):
        layer, data = network.layer, network.data
        x = rows(data["x"]["values"])
        inputs = [rows(entry["values"]) for entry in data["inputs"]]
        initial = [rows([state["initial"]])[0] for state in data["states"]]
        for tensor in (leaves := [x, *inputs, *initial]):
            tensor.requires_grad_()
        self.values = [{}] * data["steps"]
        call = Call(
            cell=layer.equations,
            x=x,
            weights=layer._weights("_l0"),
            state=tuple(initial),
            inputs=tuple(i.expand(-1, -1, data["units"]) for i in inputs),
            seed=torch.tensor(0),
        )
        self.outputs, _ = run_and_record(call, self.values)
        loss = (loss_of or uneven)(self.outputs)
        d = gradients(loss, leaves)
        self.dx, self.dinputs = d[0], d[1 : 1 + len(inputs)]
        self.dinitial = d[1 + len(inputs) :]
        self.d = []
        for values in self.values:
            values = {k: v for k, v in values.items() if v.requires_grad}
            self.d.append(dict(zip(values, gradients(loss, values.values()), strict=True)))


def uneven(outputs):
    """A loss whose gradient is that of the function in :func:`computed`."""
    T, _, H = outputs.shape
    k = torch.arange(H, dtype=torch.float64)
    t = torch.arange(T, dtype=torch.float64)[:, None, None]
    return (0.5 * outputs**2 + (0.2 * t - 0.1 * k) * outputs).sum()


def rows(values):
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def gradients(loss, tensors):
    tensors = list(tensors)
    d = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(v) if g is None else g for v, g in zip(tensors, d, strict=True)]


def close(ours, theirs):
    ours = torch.tensor(ours, dtype=torch.float64)
    theirs = theirs.detach().to(torch.float64)
    torch.testing.assert_close(ours + 0 * theirs, theirs + 0 * ours, rtol=1e-9, atol=1e-9)


def check(network, steps):
    """Compares all numbers, and returns how many gradients of values were among them."""
    expected, (named, _) = Reference(network), named_graphs(network.layer.cell)
    # A next state that is an argument of the step is one tensor with it, and so has the gradient
    # of both. Two values that are equal are one tensor too.
    nodes = [v for v in named.values.values() if isinstance(v, Node)]
    apart = {
        name
        for name, value in named.values.items()
        if isinstance(value, Node) and value.op not in STEP_INPUTS and nodes.count(value) == 1
    }
    count = 0
    for t, step in enumerate(steps):
        back = step["back"]
        close(step["output"], expected.outputs[t, 0])
        for name, value in expected.values[t].items():
            close(step["values"][f"{name}_t"], value.expand(1, value.shape[-1])[0])
        for name in apart & set(expected.d[t]):
            d = expected.d[t][name][0]
            if name in back["states"]:
                close(back["states"][name], d)
                count += 1
            if f"d{name}_t" in back["values"]:
                close(back["values"][f"d{name}_t"], d)
                count += 1
        close(back["inputs"]["x"], expected.dx[t, 0])
        for name, d in zip(network.layer.cell.given_inputs, expected.dinputs, strict=True):
            close(back["inputs"][name], d[t, 0])
    for state, d in zip(network.data["states"], expected.dinitial, strict=True):
        close(steps[0]["back"]["before"][state["name"]], d[0])
    return count


def test_the_numbers_of_every_cell_are_those_of_pytorch(tmp_path):
    networks = {name: network_of(tt.cells.get(name)) for name in tt.cells.names()}
    results = computed(networks, tmp_path)
    assert set(results) == set(tt.cells.names())
    counts = [check(network, results[name]) for name, network in networks.items()]
    assert sum(map(bool, counts)) > 0.9 * len(counts)


class Functions(tt.Cell):
    """Every function of PyTorch that the cells of the package do not use."""

    gates, states, parameters = ("h",), ("h",), ("p",)

    def step(self, x, W, R, s, p):
        a = W.h(x) + R.h(s.h)
        var = p.p * 2 - 0.5
        smooth = torch.erf(3 * a) + torch.expm1(a) * torch.log1p(a * a) - torch.cos(a) ** 3
        smooth = smooth / torch.rsqrt(1 + a * a) + torch.log(1.5 + torch.sin(a)) + var
        steps = torch.round(4 * a) + torch.floor(a) - torch.ceil(3 * a) + torch.trunc(2 * a)
        signs = torch.sign(a) + torch.fmod(5 * a, 1.5) + torch.remainder(5 * a, -1.5)
        large = torch.maximum(a, smooth) - torch.minimum(a, 0.2 * smooth)
        mask = ((a > 0) & ~(smooth < 0.1)) | (a == 0)
        h = torch.where(mask, torch.reciprocal(2 + torch.exp(a)), torch.sqrt(0.1 + a * a))
        h = h + torch.nn.functional.softplus(a) - torch.nn.functional.logsigmoid(a) - abs(a)
        h = torch.tanh(h + 0.1 * steps + 0.1 * signs + torch.relu(large) - 1e-3 * large.detach())
        return dict(h=h, smooth=smooth, steps=steps, signs=signs, large=large, mask=mask)


class Parts(tt.Cell):
    """Parts of rows, sums over rows, and a product of a value of the step."""

    gates, recurrent_blocks = ("a",), ("a", "b")

    def __init__(self):
        self.states = {"h": tt.State(initial=0.5), "e": tt.State()}
        self.inputs = {"noise": tt.Input(drawn="step"), "shared": tt.Input(drawn="sequence")}
        self.A = torch.nn.Parameter(torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(4, 4))

    def step(self, x, W, R, s, p, u=None):
        a = torch.sigmoid(W.a(x) + R.a(s.h)) * u.noise + u.shared
        halves = torch.cat([a[:, 2:].flip(-1), a[:, :2] * s.e[:, 1:3]], -1)
        moved = torch.roll(halves, 1, -1).cumsum(-1) + R.b(halves) + x @ self.A
        share = torch.softmax(moved, -1)
        mean = moved.mean(-1, keepdim=True)
        centred = (moved - mean) * torch.rsqrt(moved.var(-1, keepdim=True) + 1e-5)
        h = share + 0.3 * centred + a[:, [3, 0, 0, -1]]
        return dict(h=h, e=0.5 * (share.sum(-1, keepdim=True) + a), mean=mean, moved=moved)


def test_the_numbers_of_every_operation_are_those_of_pytorch(tmp_path):
    networks = {kind.__name__: network_of(kind()) for kind in (Functions, Parts)}
    results = computed(networks, tmp_path)
    for name, network in networks.items():
        assert check(network, results[name])


def test_every_operation_of_the_graph_can_be_printed():
    assert set(OPERATIONS) == FUNCTIONS
