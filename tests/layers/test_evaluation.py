"""evaluating() restores the mode of every submodule."""

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.layers.evaluation import evaluating
from throughtime.layers.stream import Stream


class Frozen(nn.Module):
    """A recurrent layer behind a part that the user has frozen in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
        self.recurrent = tt.GRU(3, 4, num_layers=2, dropout=0.5)
        self.train()
        self.frozen.eval()

    def forward(self, x, state=None):
        return self.recurrent(self.frozen(x), state)


def modes(module):
    return {name: part.training for name, part in module.named_modules()}


def test_all_parts_are_in_evaluation_mode_inside_and_in_their_own_after_it():
    module = Frozen()
    before = modes(module)
    assert set(before.values()) == {True, False}
    with evaluating(module):
        assert not any(modes(module).values())
        assert not module(torch.randn(5, 2, 3))[0].requires_grad
    assert modes(module) == before
    assert module(torch.randn(5, 2, 3))[0].requires_grad


def test_a_part_in_training_mode_of_a_whole_in_evaluation_mode():
    module = Frozen().eval()
    module.frozen[1].train()
    before = modes(module)
    with evaluating(module):
        assert not any(modes(module).values())
    assert modes(module) == before


def test_the_modes_come_back_after_an_exception():
    module = Frozen()
    before = modes(module)
    with pytest.raises(KeyError), evaluating(module):
        raise KeyError
    assert modes(module) == before


def test_a_part_of_two_parents_keeps_its_mode():
    shared = nn.Dropout(0.5)
    module = nn.ModuleList([nn.Sequential(shared), nn.Sequential(shared)])
    shared.eval()
    before = modes(module)
    with evaluating(module):
        pass
    assert modes(module) == before


class Merging(nn.Module):
    """A module that changes its weights when it enters and leaves evaluation mode, as LoRA does."""

    is_merged = False

    def train(self, mode=True):
        self.is_merged = not mode
        return super().train(mode)


def test_a_part_with_a_train_method_of_its_own_is_called():
    module = nn.ModuleList([Merging(), Merging().eval()])
    with evaluating(module):
        assert [part.is_merged for part in module] == [True, True]
    assert [part.is_merged for part in module] == [False, True]


def test_a_stream_leaves_a_frozen_part_in_evaluation_mode():
    module = Frozen()
    before = modes(module)
    stream = Stream(module, batch_first=False)
    stream.read(torch.randn(5, 2, 3))
    stream.step(torch.randn(2, 3))
    assert modes(module) == before
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        stream.read(torch.randn(5, 2, 7))
    assert modes(module) == before
