"""Cells against those of torchrecurrent, with the weights moved over: another implementation.

Where the two differ by a parameterisation, the mapping says how. Not compared: what torchrecurrent
lacks (lipschitz, plrnn, sru, slstm, the cells with layer normalisation, those with further inputs),
and rhn, which it has as a file that cannot be imported.
"""

import pytest
import torch

import throughtime as tt

theirs = pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")

T, B, H = 6, 3, 4


def shared_weights(layer):
    """weight_ih, weight_hh, bias_ih and bias_hh, whose blocks have an equal order in both."""
    return {
        k.removesuffix("_l0"): v.clone()
        for k, v in layer.named_parameters()
        if k.startswith(("weight", "bias"))
    }


def block(layer, parameter, *numbers):
    blocks = getattr(layer, f"{parameter}_l0").split(H)
    return torch.cat([blocks[i] for i in numbers])


def silence(layer, parameter, *numbers):
    """Sets the parameters to zero that torchrecurrent does not have."""
    for i in numbers:
        getattr(layer, f"{parameter}_l0")[i * H : (i + 1) * H] = 0


def minimal_rnn(layer):
    return {
        **{"weight_ih": layer.weight_ih_l0, "bias_ih": layer.bias_ih_l0},
        **{"weight_mm": block(layer, "weight_hh", 0), "weight_hh": block(layer, "weight_hh", 1)},
        "bias_hh": layer.bias_hh_l0,
    }


def janet(layer):
    return {**shared_weights(layer), "beta": torch.tensor(layer.cell.beta)}


def ran(layer):
    silence(layer, "bias_ih", 0)
    return {**shared_weights(layer), "bias_ih": block(layer, "bias_ih", 1, 2)}


def fast_rnn(layer):
    """torchrecurrent has one number where we have one per unit."""
    for k in ("alpha", "beta"):
        getattr(layer, f"{k}_l0").fill_(getattr(layer, f"{k}_l0")[0].item())
    return {**shared_weights(layer), "alpha": layer.alpha_l0[:1], "beta": layer.beta_l0[:1]}


def fast_grnn(layer):
    """torchrecurrent has two biases; we have one bias and an offset."""
    for k in ("zeta", "nu"):
        getattr(layer, f"{k}_l0").fill_(getattr(layer, f"{k}_l0")[0].item())
    return {
        **shared_weights(layer),
        "bias_ih": torch.cat([layer.bias_ih_l0 + layer.b_z_l0, layer.bias_ih_l0]),
        "bias_hh": torch.cat([layer.bias_hh_l0] * 2),
        **{"zeta": layer.zeta_l0[:1], "nu": layer.nu_l0[:1]},
    }


def intersection(layer):
    """torchrecurrent uses the input itself where we use its product with W_y."""
    layer.weight_ih_l0[4 * H :] = torch.eye(H)
    silence(layer, "bias_ih", 4)
    first = range(4)
    return {
        **shared_weights(layer),
        "weight_ih": block(layer, "weight_ih", *first),
        "bias_ih": block(layer, "bias_ih", *first),
    }


def dsgu(layer):
    return {
        **shared_weights(layer),
        "weight_hh": block(layer, "weight_hh", 0, 1),
        "weight_ho": block(layer, "weight_hh", 2),
    }


def br(layer):
    return {
        **shared_weights(layer),
        "weight_hh": torch.cat([layer.w_a_l0, layer.w_c_l0]),
        "bias_hh": torch.zeros(2 * H),
    }


def typed(layer):
    """V is a recurrent matrix there. Its bias is set to 0, as it is not in our first step."""
    silence(layer, "bias_ih", 3, 4, 5)
    return {
        "weight_ih": block(layer, "weight_ih", 0, 1, 2),
        "weight_hh": block(layer, "weight_ih", 3, 4, 5),
        "bias_ih": block(layer, "bias_ih", 0, 1, 2),
        "bias_hh": torch.zeros(3 * H),
    }


def ind_rnn(layer):
    return {**shared_weights(layer), "vector_u": layer.u_l0, "bias_hh": torch.zeros(H)}


def antisymmetric_gated(layer):
    return shared_weights(layer) | {"bias_hh": torch.zeros(H)}


def co_rnn(layer):
    moved = shared_weights(layer) | {"weight_hh": block(layer, "weight_hh", 0)}
    return moved | {
        "weight_ch": block(layer, "weight_hh", 1),
        **{k: torch.zeros(H) for k in ("bias_hh", "bias_ch")},
    }


def unicornn(layer):
    return shared_weights(layer) | {"weight_hh": layer.w_l0, "weight_ch": layer.c_l0}


def lem(layer):
    """The two step sizes are in the opposite order there."""
    return {
        "weight_ih": block(layer, "weight_ih", 1, 0, 2, 3),
        "bias_ih": block(layer, "bias_ih", 1, 0, 2, 3),
        "weight_hh": block(layer, "weight_hh", 1, 0, 2),
        "bias_hh": block(layer, "bias_hh", 1, 0, 2),
        "weight_ch": block(layer, "weight_hh", 3),
        "bias_ch": block(layer, "bias_hh", 3),
    }


def lem_without_its_link(layer):
    """Makes y independent of z, so that it does not matter of which step z is."""
    silence(layer, "weight_hh", 3)
    return lem(layer)


def scrn(layer):
    return {
        "weight_ih": layer.weight_ih_l0,
        "bias_ih": layer.bias_ih_l0,
        "weight_hh": block(layer, "weight_hh", 0, 2),
        "bias_hh": torch.cat([layer.bias_hh_l0, torch.zeros(H)]),
        "weight_ch": block(layer, "weight_hh", 1, 3),
        "bias_ch": torch.zeros(2 * H),
        "alpha": torch.tensor(layer.cell.alpha),
    }


def scrn_without_feedback(layer):
    silence(layer, "weight_hh", 0)
    return scrn(layer)


def nas_without_block_3(layer):
    """The sum of both biases is below 0 on one side, so the ReLU is 0 in both implementations."""
    silence(layer, "weight_ih", 3)
    silence(layer, "weight_hh", 3)
    layer.bias_ih_l0[3 * H : 4 * H], layer.bias_hh_l0[3 * H : 4 * H] = -2.0, 1.0
    return shared_weights(layer)


def multiplicative(layer):
    return shared_weights(layer) | {
        "weight_hh": block(layer, "weight_hh", 0),
        "bias_hh": block(layer, "bias_hh", 0),
        "weight_mh": block(layer, "weight_hh", 1, 2, 3, 4),
        "bias_mh": block(layer, "bias_hh", 1, 2, 3, 4),
    }


def residual(layer):
    silence(layer, "bias_ih", 4)
    silence(layer, "bias_hh", 4)
    return {
        **{k: block(layer, k, 0, 1, 2, 3) for k in shared_weights(layer)},
        "weight_res": block(layer, "weight_ih", 4),
        "weight_proj": block(layer, "weight_hh", 4),
        "weight_ph": torch.cat([layer.p_i_l0, layer.p_f_l0, layer.p_o_l0]),
    }


def working_memory(layer):
    return shared_weights(layer) | {
        "weight_hh": block(layer, "weight_hh", 0, 1, 2, 3),
        "weight_mh": block(layer, "weight_hh", 4, 5, 6),
        "bias_mh": torch.zeros(3 * H),
    }


class HardSigmoid(torch.nn.Module):
    def forward(self, a):
        return torch.clamp(a / 5 + 1 / 2, 0, 1)


# Our name: their class, the mapping of the weights, our constants and theirs.
PAIRS = {
    "mgu": ("MGUCell", shared_weights, {}, {}),
    "minimal-rnn": ("MinimalRNNCell", minimal_rnn, {}, {}),
    "miru-1": ("MiRU1Cell", shared_weights, {}, {}),
    "miru-2": ("MiRU2Cell", shared_weights, {}, {}),
    "janet": ("JANETCell", janet, {}, {}),
    "light-ru": ("LightRUCell", shared_weights, {}, {}),
    "li-gru": ("LiGRUCell", shared_weights, {}, {}),
    "atr": ("ATRCell", shared_weights, {}, {}),
    "ran": ("RANCell", ran, {}, {}),
    "star": ("STARCell", shared_weights, {}, {}),
    "sgrn": ("SGRNCell", shared_weights, {}, {}),
    "cfn": ("CFNCell", shared_weights, {}, {}),
    "fast-rnn": ("FastRNNCell", fast_rnn, {}, {}),
    "fast-grnn": ("FastGRNNCell", fast_grnn, {}, {"nonlinearity": "sigmoid"}),
    "ugrnn": ("UGRNNCell", shared_weights, {}, {}),
    "intersection-rnn": ("IntersectionRNNCell", intersection, {}, {}),
    "sgu": ("SGUCell", shared_weights, {}, {"gate_nonlinearity": HardSigmoid()}),
    "dsgu": ("DSGUCell", dsgu, {}, {"gate_nonlinearity": HardSigmoid()}),
    "mut-1": ("MUT1Cell", shared_weights, {}, {}),
    "mut-2": ("MUT2Cell", shared_weights, {}, {}),
    "mut-3": ("MUT3Cell", shared_weights, {}, {}),
    "br": ("BRCell", br, {}, {}),
    "nbr": ("NBRCell", shared_weights, {}, {}),
    "t-rnn": ("TRNNCell", shared_weights, {}, {}),
    "t-gru": ("TGRUCell", typed, {}, {}),
    "t-lstm": ("TLSTMCell", typed, {}, {}),
    "ind-rnn": ("IndRNNCell", ind_rnn, {}, {"nonlinearity": "relu"}),
    "antisymmetric": (
        "AntisymmetricRNNCell",
        shared_weights,
        {"epsilon": 0.5, "gamma": 0.3},
        {"epsilon": 0.5, "gamma": 0.3},
    ),
    "antisymmetric-gated": (
        "GatedAntisymmetricRNNCell",
        antisymmetric_gated,
        {"epsilon": 0.5, "gamma": 0.3},
        {"epsilon": 0.5, "gamma": 0.3},
    ),
    "co-rnn": (
        "coRNNCell",
        co_rnn,
        {"dt": 0.3, "gamma": 2.0, "epsilon": 0.5},
        {"dt": 0.3, "gamma": 2.0, "epsilon": 0.5},
    ),
    "unicornn": ("UnICORNNCell", unicornn, {"dt": 0.3, "alpha": 3.0}, {"dt": 0.3, "alpha": 3.0}),
    "lem": ("LEMCell", lem_without_its_link, {"dt": 0.5}, {"dt": 0.5}),
    "tau-gru": ("tauGRUCell", shared_weights, {"delay": 2}, {}),
    "nas": ("NASCell", nas_without_block_3, {}, {}),
    "lstm-multiplicative": ("MultiplicativeLSTMCell", multiplicative, {}, {}),
    "lstm-residual": ("ResLSTMCell", residual, {}, {}),
    "lstm-working-memory": ("WMCLSTMCell", working_memory, {}, {}),
    "lstm-memory-controller": ("MCLSTMCell", shared_weights, {}, {}),
}


def compared(name, other, mapping, constants, options):
    """Our outputs and theirs, from zero states and equal weights."""
    torch.manual_seed(5)
    layer = tt.Recurrent(tt.cells.get(name, **constants), H, H, dtype=torch.float64)
    cell = getattr(theirs, other)(H, H, **options).double()
    x = torch.randn(T, B, H, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
        moved = mapping(layer)
        assert set(moved) == {k for k, _ in cell.named_parameters()}
        for k, parameter in cell.named_parameters():
            assert parameter.shape == moved[k].shape
            parameter.copy_(moved[k])
        # The cells of torchrecurrent begin at 0, also where the authors of the cell do not.
        zeros = tuple(torch.zeros(1, B, H, dtype=torch.float64) for _ in layer.cell.state_specs)
        ours, _ = layer(x, zeros)
        delay, states, outputs = constants.get("delay"), None, []
        for t in range(T):
            # Only tauGRUCell reads an earlier output, once there is one.
            earlier = [outputs[t - 1 - delay]] if delay is not None and t > delay else []
            result = cell(x[t], states, *earlier)
            outputs.append(result[0] if isinstance(result, tuple) else result)
            states = states_of(result, name)
    return ours, torch.stack(outputs)


def states_of(result, name):
    """The state that a cell of torchrecurrent takes at the next step, from its return value."""
    if not isinstance(result, tuple):
        return result
    if name == "intersection-rnn":
        return result[1]
    return result[1] if isinstance(result[1], tuple) or len(result) > 2 else result


@pytest.mark.parametrize("name", PAIRS)
def test_a_cell_gives_the_outputs_of_torchrecurrent(name):
    ours, outputs = compared(name, *PAIRS[name])
    torch.testing.assert_close(ours, outputs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["fast-grnn", "sgu", "dsgu", "ind-rnn"])
def test_the_defaults_of_torchrecurrent_are_other_equations(name):
    """FastGRNN: its gate is a tanh, against the paper and its own documentation. SGU and DSGU: a
    hard sigmoid of slope 1/6, not 1/5. IndRNN: a tanh, where the paper has a rectifier."""
    other, mapping, constants, options = PAIRS[name]
    assert options
    ours, outputs = compared(name, other, mapping, constants, {})
    assert not torch.allclose(ours, outputs, atol=1e-3)


def test_scrn_without_feedback_gives_the_outputs_of_torchrecurrent_before_their_tanh():
    options = {"alpha": 0.75}
    ours, outputs = compared("scrn", "SCRNCell", scrn_without_feedback, options, options)
    torch.testing.assert_close(ours.tanh(), outputs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "other", "mapping"),
    [("lem", "LEMCell", lem), ("nas", "NASCell", shared_weights), ("scrn", "SCRNCell", scrn)],
)
def test_torchrecurrent_computes_something_else_than_the_source(name, other, mapping):
    """LEM: its y sees the old z, against equation 3. NAS: its block 3 is a sum, where the authors'
    code multiplies. SCRN: it feeds back y, where equation 4 has h, and adds a tanh."""
    ours, outputs = compared(name, other, mapping, {}, {})
    if name == "scrn":
        ours = ours.tanh()
    assert not torch.allclose(ours, outputs, atol=1e-3)
