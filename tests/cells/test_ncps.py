"""The liquid cells against those of ncps, with the weights moved over: another implementation."""

import pytest
import torch

import throughtime as tt
from throughtime.cells import SynapticLTC
from throughtime.layers import circuit, wire

theirs = pytest.importorskip("ncps.torch", reason="ncps is not installed")
wirings = pytest.importorskip("ncps.wirings", reason="ncps is not installed")

T, B, I, H = 6, 3, 2, 12


ORIGINAL = "parametrizations.{}_l0.original"


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def compared(ours, their_cell, copied):
    """Asserts that outputs and gradients are equal.

    Args:
        ours: our layer.
        their_cell: the cell of ncps.
        copied: for each weight of ours by name, a function that computes it from a dict of the
            weights of theirs. The same function maps their gradients to ours.
    """
    theirs_by_name = {n: w for n, w in their_cell.named_parameters() if w.requires_grad}
    learned = dict(ours.named_parameters())
    learned = {n: learned.get(f"{n}_l0", learned.get(ORIGINAL.format(n))) for n in copied}
    assert len(learned) == len(list(ours.parameters()))
    with torch.no_grad():
        for name, weight_of in copied.items():
            learned[name].copy_(weight_of(theirs_by_name))
    x, h = drawn(T, B, I), drawn(1, B, H)
    gap = (0.2 + torch.rand(T, B, 1, dtype=torch.float64)).requires_grad_()
    output, _ = ours(x, h, inputs={"gap": gap})
    state, outputs = h[0], []
    for t in range(T):
        _, state = their_cell(x[t], state, gap[t])
        outputs.append(state)
    expected = torch.stack(outputs)
    close(output, expected)

    seed = torch.randn_like(output)
    gradients = torch.autograd.grad(output, [x, h, gap, *learned.values()], seed)
    wanted = torch.autograd.grad(expected, [x, h, gap, *theirs_by_name.values()], seed)
    for a, b in zip(gradients[:3], wanted[:3], strict=True):
        close(a, b)
    of_theirs = dict(zip(theirs_by_name, wanted[3:], strict=True))
    for weight_of, gradient in zip(copied.values(), gradients[3:], strict=True):
        close(gradient, weight_of(of_theirs))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def freeze(layer, name, value):
    """Makes a weight a buffer with this value, because the other implementation has no such one."""
    del layer._parameters[name]
    layer.register_buffer(name, value)


# The closed form.


def heads_of(mode):
    return (
        {"g": "ff1", "n": "ff2", "a": "time_a", "b": "time_b"} if mode != "pure" else {"f": "ff1"}
    )


@pytest.mark.parametrize("backbone", [0, 1, 3])
@pytest.mark.parametrize("backend", ["reference", "cpp"])
@pytest.mark.parametrize(
    ("name", "mode"), [("cfc", "default"), ("cfc-no-gate", "no_gate"), ("cfc-pure", "pure")]
)
def test_the_closed_form_is_that_of_ncps(name, mode, backend, backbone):
    torch.manual_seed(0)
    their_cell = theirs.CfCCell(I, H, mode, backbone_units=H, backbone_layers=backbone).double()
    cell = tt.cells.get(name, backbone=backbone)
    ours = tt.Recurrent(cell, I, H, backend=backend, dtype=torch.float64)
    freeze(ours, "bias_hh_l0", torch.zeros_like(ours.bias_hh_l0).detach())
    heads = heads_of(mode)

    first = list(heads.values()) if backbone == 0 else ["backbone.0"]
    more = [f"backbone.{2 * k}" for k in range(1, backbone)]
    behind = [] if backbone == 0 else [*more, *heads.values()]
    copied = {
        "weight_ih": lambda w: torch.cat([w[f"{n}.weight"][:, :I] for n in first]),
        "bias_ih": lambda w: torch.cat([w[f"{n}.bias"] for n in first]),
        "weight_hh": lambda w: torch.cat(
            [w[f"{n}.weight"][:, I:] for n in first] + [w[f"{n}.weight"] for n in behind]
        ),
    }
    blocks = [*(f"z{k + 1}" for k in range(1, backbone)), *heads] if backbone else []
    for block, their_name in zip(blocks, behind, strict=True):
        copied[f"b_{block}"] = lambda w, n=their_name: w[f"{n}.bias"]
    if mode == "pure":
        copied |= {"A": lambda w: w["A"][0], "w_tau": lambda w: w["w_tau"][0]}
    compared(ours, their_cell, copied)


# Synapses.


@pytest.mark.parametrize("kind", ["full", "sparse"])
def test_synapses_are_those_of_ncps(kind):
    torch.manual_seed(0)
    wiring = wirings.FullyConnected(H) if kind == "full" else wirings.AutoNCP(H, 3, 0.5)
    their_cell = theirs.LTCCell(wiring, I, input_mapping=None, output_mapping=None).double()
    ours = tt.Recurrent(SynapticLTC(), I, H, bias=False, backend="reference", dtype=torch.float64)
    masks = {
        "w_l0": torch.as_tensor(wiring.adjacency_matrix.T != 0),
        "w_in_l0": torch.zeros(H, H, dtype=torch.bool),
    }
    masks["w_in_l0"][:, :I] = torch.as_tensor(wiring.sensory_adjacency_matrix.T != 0)
    wire(ours, **masks)
    # The input map passes on the features to the first sensory neurons, unchanged.
    freeze(ours, "weight_ih_l0", torch.eye(H, I, dtype=torch.float64))

    def wide(v):
        return torch.cat([v, torch.zeros(H - I, H, dtype=v.dtype)]).T

    copied = {
        **{k: lambda w, k=k: w[k].T for k in ("w", "sigma", "mu")},
        **{f"{k}_in": lambda w, k=k: wide(w[f"sensory_{k}"]) for k in ("w", "sigma", "mu")},
        "E": lambda w: w["erev"].T,
        "E_in": lambda w: wide(w["sensory_erev"]),
        **{k: lambda w, n=n: w[n] for k, n in (("c", "cm"), ("g", "gleak"), ("e", "vleak"))},
    }
    compared(ours, their_cell, copied)


def test_a_circuit_is_as_sparse_as_theirs():
    """The numbers of neurons of each kind, and the number of their connections."""
    for sparsity in (0.2, 0.5, 0.8):
        ours = circuit(I, 30, 4, sparsity=sparsity)
        wiring = wirings.AutoNCP(30, 4, sparsity)
        wiring.build(I)
        adjacency = torch.as_tensor(wiring.adjacency_matrix.T != 0)
        sensory = torch.as_tensor(wiring.sensory_adjacency_matrix.T != 0)
        assert ours.motors == wiring.output_dim
        # Both draw, so the numbers differ by the connections that are drawn twice, or added.
        assert abs(int(ours.units.sum()) - int(adjacency.sum())) <= 0.2 * int(adjacency.sum())
        # The kinds of the connections: which kind of unit reaches which.
        commands = wiring._num_command_neurons
        bounds = [0, 4, 4 + commands, 30]
        for a in range(3):
            for b in range(3):
                part = slice(*bounds[a : a + 2]), slice(*bounds[b : b + 2])
                assert bool(ours.units[part].any()) == bool(adjacency[part].any())
            rows = slice(*bounds[a : a + 2])
            assert bool(ours.inputs[rows].any()) == bool(sensory[rows].any())
