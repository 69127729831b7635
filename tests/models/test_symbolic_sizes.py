"""Batch size and steps of a compiled or exported model stay variable."""

import pytest
import torch
from torch.export import Dim, export
from torch.func import vmap

from throughtime.kernels.cpp.build import missing
from throughtime.models import EncoderDecoder, LanguageModel, OneNetwork
from throughtime.models.cloze import Cloze

from ..symbolic_sizes import SIZES, assert_compiles_once, tensors

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason="; ".join(missing())),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]

V, H = 11, 12
PAIRED = {
    "general": lambda: EncoderDecoder(V, V, hidden_size=H),
    "none": lambda: EncoderDecoder(V, V, hidden_size=H, attention="none", cell="lstm"),
    "one network": lambda: OneNetwork(V, V, hidden_size=H),
}


def tokens(B, T):
    return torch.randint(3, V, (B, T))


def lengths_of(B, T):
    return torch.randint(1, T + 1, (B,))


def states(B):
    return torch.randn(2, B, H), torch.randn(2, B, H)


# A call without lengths runs a part of what one with lengths runs.
RAGGED = pytest.mark.parametrize(
    "is_ragged", [pytest.param(False, marks=pytest.mark.slow), True], ids=["whole", "ragged"]
)


@pytest.mark.parametrize("trains", [False, True], ids=["evaluated", "trained"])
def test_a_language_model_with_its_state_compiles_once_for_all_sizes(trains):
    model = LanguageModel(V, hidden_size=H, embedding_size=H).train(trains)
    with torch.set_grad_enabled(trains):
        calls = [((tokens(*sizes), states(sizes[0])), {}) for sizes in SIZES]
        assert_compiles_once(model, calls, dynamic=True)


@RAGGED
@pytest.mark.parametrize("name", PAIRED)
def test_a_model_of_pairs_compiles_once_for_all_sizes(name, is_ragged):
    model, calls = PAIRED[name](), []
    for B, S in SIZES:
        ends = (lengths_of(B, S), lengths_of(B, S + 4)) if is_ragged else (None, None)
        calls.append(((tokens(B, S), ends[0], tokens(B, S + 4), ends[1]), {}))
    assert_compiles_once(model, calls, dynamic=True)


@pytest.mark.parametrize("attention", ["general", "additive"])
def test_the_steps_of_a_decoder_compile_once_for_all_sizes(attention):
    model = EncoderDecoder(V, V, hidden_size=H, attention=attention, input_feeding=True).eval()

    def two_steps(source, lengths, token):
        memory = model.encode(source, lengths)
        _, state = model.step(token, memory.state, memory)
        scores, state = model.step(token, state, memory)
        return scores, state.recurrent, state.attended

    calls = [((tokens(B, S), lengths_of(B, S), tokens(B, 1)[:, 0]), {}) for B, S in SIZES]
    with torch.no_grad():
        assert_compiles_once(model, calls, two_steps, dynamic=True)


@RAGGED
def test_a_cloze_model_compiles_once_for_all_sizes(is_ragged):
    calls = [
        ((tokens(*sizes), lengths_of(*sizes)) if is_ragged else (tokens(*sizes),), {})
        for sizes in SIZES
    ]
    assert_compiles_once(Cloze(V, hidden_size=H), calls, dynamic=True)


def test_models_are_exported_with_open_sizes():
    B, S, T = Dim("B"), Dim("S"), Dim("T")
    language_model, model = LanguageModel(V, hidden_size=H).eval(), PAIRED["general"]().eval()
    shapes = {"tokens": {0: B, 1: T}, "state": ({1: B}, {1: B})}
    exported = export(language_model, (tokens(3, 6), states(3)), dynamic_shapes=shapes).module()
    for sizes in SIZES:
        args = tokens(*sizes), states(sizes[0])
        for ours, theirs in zip(
            tensors(exported(*args)), tensors(language_model(*args)), strict=True
        ):
            torch.testing.assert_close(ours, theirs)

    def pairs(B, S):
        return tokens(B, S), lengths_of(B, S), tokens(B, S + 3), lengths_of(B, S + 3)

    shapes = {"source": {0: B, 1: S}, "source_lengths": {0: B}}
    shapes |= {"target_in": {0: B, 1: T}, "target_lengths": {0: B}}
    exported = export(model, pairs(3, 6), dynamic_shapes=shapes).module()
    for sizes in SIZES:
        args = pairs(*sizes)
        torch.testing.assert_close(exported(*args), model(*args))


@pytest.mark.parametrize("name", PAIRED)
def test_vmap_over_sources_targets_and_their_lengths_equals_a_loop(name):
    model = PAIRED[name]().eval()
    samples = [tokens(3, 10).view(3, 2, 5), lengths_of(6, 5).view(3, 2)]
    samples += [tokens(3, 14).view(3, 2, 7), lengths_of(6, 7).view(3, 2)]
    expected = torch.stack([model(*sample) for sample in zip(*samples, strict=True)])
    torch.testing.assert_close(vmap(model)(*samples), expected)
    samples[1][2, 1] = 0
    with pytest.raises(ValueError, match=r"at least one valid step in every row, got length 0: "):
        vmap(model)(*samples)
    samples[0][1, 0, 0] = V
    with pytest.raises(ValueError, match=f"tokens from 0 to {V - 1} in source, got . to {V}"):
        vmap(model)(*samples)
