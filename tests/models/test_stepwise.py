"""Networks with an output at every step."""

import pytest
import torch

from throughtime.models.stepwise import StepwiseNetwork, WindowNetwork


def test_the_window_ends_at_its_length():
    torch.manual_seed(0)
    model = WindowNetwork(2, 3, window=4, hidden_size=8, num_layers=2)
    x = torch.rand(1, 9, 2, requires_grad=True)
    model(x)[0, 6].sum().backward()
    assert x.grad[0].any(-1).tolist() == [False] * 3 + [True] * 4 + [False] * 2
    assert model(x[:, :1]).shape == (1, 1, 3)


def test_the_recurrent_network_reads_from_the_first_step_on():
    torch.manual_seed(0)
    model = StepwiseNetwork(2, 3, cell="gru", hidden_size=5, num_layers=2)
    x = torch.rand(2, 9, 2, requires_grad=True)
    model(x, torch.tensor([9, 7]))[0, 6].sum().backward()
    assert x.grad[0].any(-1).tolist() == [True] * 7 + [False] * 2


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="window"):
        WindowNetwork(2, 3, window=0)
    with pytest.raises(ValueError, match="input_size"):
        StepwiseNetwork(0, 3)
