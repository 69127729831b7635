"""Masks of weights, and drawn circuits: what is not connected stays so."""

import copy

import pytest
import torch
from torch.nn.utils import parametrize

import throughtime as tt
from throughtime.cells import SynapticLTC
from throughtime.layers import circuit, wire

T, B, I, H = 5, 3, 2, 6
both_backends = pytest.mark.parametrize("backend", ["reference", "cpp"])


def mask(*shape):
    """A mask with True and False in each row and column."""
    rows, columns = shape
    return (torch.arange(rows)[:, None] + torch.arange(columns)) % 2 == 0


def wired(name="gru", **options):
    return wire(
        tt.Recurrent(name, I, H, dtype=torch.float64, **options),
        weight_ih_l0=mask(H, I),
        weight_hh_l0=mask(H, H),
    )


@both_backends
@pytest.mark.parametrize("name", ["gru", "lstm-peephole", "cfc", "ltc", "rnn-jordan"])
def test_masked_weights_have_no_influence_and_no_gradient(name, backend):
    layer = wired(name, backend=backend)
    x = torch.randn(T, B, I, dtype=torch.float64)
    output, _ = layer(x)
    learned = layer.parametrizations.weight_hh_l0.original
    blocks = len(layer.cell.recurrent_block_names)
    missing = ~mask(H, H).repeat(blocks, 1)
    (gradient,) = torch.autograd.grad(output.sum(), learned)
    assert not gradient[missing].any()
    assert gradient[~missing].any()
    with torch.no_grad():
        learned[missing] = float("nan")
    assert torch.equal(layer(x)[0], output)


def test_training_keeps_the_connections():
    layer = wired()
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1, weight_decay=0.1, momentum=0.9)
    x = torch.randn(T, B, I, dtype=torch.float64)
    before = layer.weight_hh_l0.detach().clone()
    for _ in range(3):
        optimiser.zero_grad()
        layer(x)[0].square().sum().backward()
        optimiser.step()
    assert not torch.equal(layer.weight_hh_l0, before)
    assert torch.equal(layer.weight_hh_l0 != 0, mask(H, H).repeat(3, 1))
    assert torch.equal(layer.weight_ih_l0 != 0, mask(H, I).repeat(3, 1))


def test_a_mask_may_differ_between_blocks_layers_and_directions():
    layer = tt.Recurrent("gru", I, H, num_layers=2, bidirectional=True)
    of_blocks = torch.cat([mask(H, H), ~mask(H, H), torch.ones(H, H, dtype=torch.bool)])
    wire(layer, weight_hh_l1_reverse=of_blocks, weight_ih_l1=mask(H, 2 * H))
    assert torch.equal(layer.weight_hh_l1_reverse != 0, of_blocks)
    assert layer.weight_hh_l0.all()
    wire(layer, weight_hh_l1_reverse=mask(H, H))
    assert not layer.weight_hh_l1_reverse[H : 2 * H].any()


def test_masks_are_in_the_state_dict_and_in_copies():
    layer, other = wired(), wired()
    with torch.no_grad():
        for buffer in other.buffers():
            buffer.fill_(False)
    x = torch.randn(T, B, I, dtype=torch.float64)
    other.load_state_dict(layer.state_dict())
    for each in (other, copy.deepcopy(layer)):
        assert torch.equal(each(x)[0], layer(x)[0])


def test_the_masked_weight_can_be_made_a_parameter_again():
    layer = wired()
    x = torch.randn(T, B, I, dtype=torch.float64)
    output, _ = layer(x)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        parametrize.remove_parametrizations(layer, name)
    assert torch.equal(layer(x)[0], output)
    assert "weight_hh_l0" in dict(layer.named_parameters())


def test_files_have_the_masked_weights(tmp_path):
    layer = wired("cfc")
    x = torch.randn(T, B, I, dtype=torch.float64)
    tt.save_pretrained(layer, tmp_path / "a")
    torch.testing.assert_close(tt.from_pretrained(tmp_path / "a")(x)[0], layer(x)[0])


def test_a_stream_of_a_masked_layer_is_the_sequence():
    layer = wired("cfc")
    x = torch.randn(T, B, I, dtype=torch.float64)
    stream = layer.stream()
    torch.testing.assert_close(torch.stack([stream.step(x_t) for x_t in x]), layer(x)[0])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"weight_hh": mask(H, H)}, 'unknown weight of .*"weight_hh"; did you mean "weight_hh_l0"'),
        ({"weight_hh_l1": mask(H, H)}, "unknown weight"),
        ({"weight_hh_l0": mask(H, H).double()}, "mask of weight_hh_l0 as .*bool, .*float64"),
        ({"weight_hh_l0": [[True] * H] * H}, "mask of weight_hh_l0 as a tensor of torch.bool"),
        ({"weight_hh_l0": mask(H, I)}, r"the mask of weight_hh_l0"),
        ({"weight_hh_l0": mask(H + 1, H)}, r"the mask of weight_hh_l0"),
        ({"weight_hh_l0": torch.tensor(True)}, r"the mask of weight_hh_l0"),
        ({"weight_ih_l0": mask(H, I), "weight_hh_l0": mask(1, H)}, "the mask of weight_hh_l0"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_and_leaves_the_layer_as_it_is(masks, message):
    layer = tt.Recurrent("gru", I, H)
    with pytest.raises(ValueError, match=message):
        wire(layer, **masks)
    assert not parametrize.is_parametrized(layer)


@pytest.mark.parametrize("name", ["antisymmetric", "lstm-mass-conserving", "plrnn"])
def test_a_recurrent_matrix_that_is_computed_from_another_cannot_be_masked(name):
    layer = tt.Recurrent(name, I, H)
    with pytest.raises(ValueError, match="zeros do not stay zeros"):
        wire(layer, weight_hh_l0=mask(H, H))
    wire(layer, weight_ih_l0=mask(H, I))


# Circuits.


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [(1, 4, 1), (3, 20, 2), (8, 64, 5)])
def test_every_neuron_of_a_circuit_is_on_a_path_from_an_input_to_a_motor(size, sparsity):
    I, H, motors = size
    drawn = circuit(I, H, motors, sparsity=sparsity)
    assert drawn.inputs.shape == (H, I)
    assert drawn.units.shape == (H, H)
    assert not drawn.inputs[:motors].any()
    assert not drawn.units[:, :motors].any()
    assert not drawn.units[:motors, :motors].any()
    assert drawn.inputs.any(0).all()
    reached = drawn.inputs.any(1)
    for _ in range(2):
        reached = reached | drawn.units[:, reached].any(1)
    assert reached.all()
    reaches = torch.zeros(H, dtype=torch.bool)
    reaches[:motors] = True
    for _ in range(2):
        reaches = reaches | drawn.units[reaches].any(0)
    assert reaches.all()


def test_a_circuit_follows_from_its_seed_and_not_from_the_generator_of_torch():
    torch.manual_seed(0)
    one, before = circuit(3, 20, 2, seed=4), torch.get_rng_state()
    other = circuit(3, 20, 2, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.units, other.units)
    assert torch.equal(one.inputs, other.inputs)
    assert not torch.equal(one.units, circuit(3, 20, 2, seed=5).units)
    counts = [int(circuit(3, 20, 2, sparsity=s).units.sum()) for s in (0.1, 0.5, 0.9)]
    assert counts == sorted(set(counts), reverse=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 20, 2), "input_size of at least 1, got 0"),
        ((3, 4, 2), "hidden_size of at least 5, got 4"),
        ((3, 20, 0), "motors of at least 1, got 0"),
    ],
)
def test_impossible_sizes_of_a_circuit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        circuit(*arguments)


@pytest.mark.parametrize("sparsity", [0.0, 1.0, float("nan")])
def test_an_impossible_sparsity_is_refused(sparsity):
    with pytest.raises(ValueError, match=r"sparsity from 0\.1 to 0\.9"):
        circuit(3, 20, 2, sparsity=sparsity)


def test_a_circuit_of_synapses_learns():
    torch.manual_seed(0)
    I, H = 1, 16
    drawn = circuit(I, H, 1, sparsity=0.3)
    layer = tt.Recurrent(SynapticLTC(), I, H, backend="reference")
    sensory = torch.zeros(H, H, dtype=torch.bool)
    sensory[:, :I] = drawn.inputs
    wire(layer, weight_ih_l0=torch.eye(H, I) > 0, w_in_l0=sensory, w_l0=drawn.units)
    x = torch.sin(torch.arange(20.0) / 2).reshape(20, 1, 1)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = (layer(x)[0][..., : drawn.motors] - x / 2).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
