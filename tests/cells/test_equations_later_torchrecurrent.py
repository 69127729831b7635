"""The cells of test_equations_later.py and test_equations_inputs.py against torchrecurrent, with
the weights moved over.

Not compared: lipschitz, plrnn, slstm, the cells with layer normalisation and those with further
inputs, which torchrecurrent lacks, and rhn, which it has as a file that cannot be imported.
"""

import pytest
import torch

import throughtime as tt

theirs = pytest.importorskip("torchrecurrent")

T, B, H = 6, 3, 4


def blocks(layer, parameter, *numbers):
    parts = getattr(layer, f"{parameter}_l0").split(H)
    return torch.cat([parts[i] for i in numbers])


def silence(layer, parameter, *numbers):
    for i in numbers:
        getattr(layer, f"{parameter}_l0")[i * H : (i + 1) * H] = 0


def same(layer):
    weights = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return {k: getattr(layer, f"{k}_l0") for k in weights if hasattr(layer, f"{k}_l0")}


def antisymmetric_gated(layer):
    return same(layer) | {"bias_hh": torch.zeros(H)}


def co_rnn(layer):
    moved = same(layer) | {"weight_hh": blocks(layer, "weight_hh", 0)}
    return moved | {
        "weight_ch": blocks(layer, "weight_hh", 1),
        **{k: torch.zeros(H) for k in ("bias_hh", "bias_ch")},
    }


def unicornn(layer):
    return same(layer) | {"weight_hh": layer.w_l0, "weight_ch": layer.c_l0}


def lem(layer):
    """The two steps stand in the other order there."""
    return {
        "weight_ih": blocks(layer, "weight_ih", 1, 0, 2, 3),
        "bias_ih": blocks(layer, "bias_ih", 1, 0, 2, 3),
        "weight_hh": blocks(layer, "weight_hh", 1, 0, 2),
        "bias_hh": blocks(layer, "bias_hh", 1, 0, 2),
        "weight_ch": blocks(layer, "weight_hh", 3),
        "bias_ch": blocks(layer, "bias_hh", 3),
    }


def lem_without_its_link(layer):
    """y does not see z, of which step it may be."""
    silence(layer, "weight_hh", 3)
    return lem(layer)


def scrn(layer):
    return {
        "weight_ih": layer.weight_ih_l0,
        "bias_ih": layer.bias_ih_l0,
        "weight_hh": blocks(layer, "weight_hh", 0, 2),
        "bias_hh": torch.cat([layer.bias_hh_l0, torch.zeros(H)]),
        "weight_ch": blocks(layer, "weight_hh", 1, 3),
        "bias_ch": torch.zeros(2 * H),
        "alpha": torch.tensor(layer.cell.alpha),
    }


def scrn_without_feedback(layer):
    silence(layer, "weight_hh", 0)
    return scrn(layer)


def nas_without_block_3(layer):
    """Both biases are less than 0 on one side, so that the rectifier is shut there and here."""
    silence(layer, "weight_ih", 3)
    silence(layer, "weight_hh", 3)
    layer.bias_ih_l0[3 * H : 4 * H], layer.bias_hh_l0[3 * H : 4 * H] = -2.0, 1.0
    return same(layer)


def multiplicative(layer):
    return same(layer) | {
        "weight_hh": blocks(layer, "weight_hh", 0),
        "bias_hh": blocks(layer, "bias_hh", 0),
        "weight_mh": blocks(layer, "weight_hh", 1, 2, 3, 4),
        "bias_mh": blocks(layer, "bias_hh", 1, 2, 3, 4),
    }


def residual(layer):
    silence(layer, "bias_ih", 4)
    silence(layer, "bias_hh", 4)
    return {
        **{k: blocks(layer, k, 0, 1, 2, 3) for k in same(layer)},
        "weight_res": blocks(layer, "weight_ih", 4),
        "weight_proj": blocks(layer, "weight_hh", 4),
        "weight_ph": torch.cat([layer.p_i_l0, layer.p_f_l0, layer.p_o_l0]),
    }


def working_memory(layer):
    return same(layer) | {
        "weight_hh": blocks(layer, "weight_hh", 0, 1, 2, 3),
        "weight_mh": blocks(layer, "weight_hh", 4, 5, 6),
        "bias_mh": torch.zeros(3 * H),
    }


def compared(name, other, mapping, constants, delay=0):
    """Our outputs and theirs, of the same weights, from zero states."""
    torch.manual_seed(5)
    layer = tt.Recurrent(tt.cells.get(name, **constants), H, H, dtype=torch.float64)
    given = {} if delay else constants
    cell = getattr(theirs, other)(H, H, **given).double()
    x = torch.randn(T, B, H, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
        moved = mapping(layer)
        assert set(moved) == {k for k, _ in cell.named_parameters()}
        for k, parameter in cell.named_parameters():
            assert parameter.shape == moved[k].shape
            parameter.copy_(moved[k])
        # Theirs begin at 0, whatever the authors of the cell do.
        zeros = tuple(torch.zeros(1, B, H, dtype=torch.float64) for _ in layer.cell.state_specs)
        ours, _ = layer(x, zeros)
        made, outputs = None, []
        for t in range(T):
            if delay and t > delay:
                made = cell(x[t], made, outputs[t - 1 - delay])
            else:
                made = cell(x[t], made)
            outputs.append(made[0] if isinstance(made, tuple) else made)
            if isinstance(made, tuple) and isinstance(made[1], tuple):
                made = made[1]
    return ours, torch.stack(outputs)


@pytest.mark.parametrize(
    ("name", "other", "mapping", "constants"),
    [
        ("antisymmetric", "AntisymmetricRNNCell", same, {"epsilon": 0.5, "gamma": 0.3}),
        (
            *("antisymmetric-gated", "GatedAntisymmetricRNNCell", antisymmetric_gated),
            {"epsilon": 0.5, "gamma": 0.3},
        ),
        ("co-rnn", "coRNNCell", co_rnn, {"dt": 0.3, "gamma": 2.0, "epsilon": 0.5}),
        ("unicornn", "UnICORNNCell", unicornn, {"dt": 0.3, "alpha": 3.0}),
        ("lem", "LEMCell", lem_without_its_link, {"dt": 0.5}),
        ("tau-gru", "tauGRUCell", same, {"delay": 2}),
        ("nas", "NASCell", nas_without_block_3, {}),
        ("lstm-multiplicative", "MultiplicativeLSTMCell", multiplicative, {}),
        ("lstm-residual", "ResLSTMCell", residual, {}),
        ("lstm-working-memory", "WMCLSTMCell", working_memory, {}),
        ("lstm-memory-controller", "MCLSTMCell", same, {}),
    ],
)
def test_a_cell_gives_the_outputs_of_torchrecurrent(name, other, mapping, constants):
    ours, outputs = compared(name, other, mapping, constants, constants.get("delay", 0))
    torch.testing.assert_close(ours, outputs, rtol=1e-11, atol=1e-11)


def test_scrn_without_feedback_gives_the_outputs_of_torchrecurrent_before_their_tanh():
    ours, outputs = compared("scrn", "SCRNCell", scrn_without_feedback, {"alpha": 0.75})
    torch.testing.assert_close(ours.tanh(), outputs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "other", "mapping"),
    [("lem", "LEMCell", lem), ("nas", "NASCell", same), ("scrn", "SCRNCell", scrn)],
)
def test_torchrecurrent_computes_something_else_than_the_source(name, other, mapping):
    """LEM: its y sees the old z, against equation 3. NAS: its block 3 is a sum, where the authors'
    code multiplies. SCRN: it feeds back y, where equation 4 has h, and adds a tanh."""
    ours, outputs = compared(name, other, mapping, {})
    if name == "scrn":
        ours = ours.tanh()
    assert not torch.allclose(ours, outputs, atol=1e-3)
