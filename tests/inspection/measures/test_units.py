"""Saturation, dead units, ranks and clipping, on values whose answer is known."""

import json

import pytest
import torch

from throughtime.inspection.measures.clipping import clipping
from throughtime.inspection.measures.units import (
    are_gates,
    dead_units,
    effective_rank,
    saturation,
)
from throughtime.inspection.recording import Recording
from throughtime.tasks.run import Run


def test_the_saturation_is_the_share_of_the_steps_beyond_the_bounds():
    values = torch.tensor([[0.05, 0.95], [0.5, 0.99], [0.02, 0.1], [0.9, 0.2]])
    left, right = saturation(values)
    assert left.tolist() == [0.5, 0]
    assert right.tolist() == [0, 0.5]


def test_gates_are_values_from_0_to_1_that_are_no_states():
    gate = torch.rand(4, 3)
    values = {
        "recurrent.f_l0": gate,
        "recurrent.g_l0": gate - 0.5,
        "recurrent.c_l0": gate,
        "decoder.attention.weights": gate,
    }
    recording = Recording(values, frozenset({"recurrent.c_l0"}), {"": "abcd"})
    assert are_gates(recording) == ["recurrent.f_l0"]


def test_a_unit_that_never_changes_is_dead():
    values = torch.rand(6, 4)
    values[:, 1], values[:, 2] = 0.0, 1.0
    assert dead_units(values).tolist() == [1, 2]


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_the_effective_rank_counts_equal_directions(offset):
    # Columns of a Hadamard matrix: orthogonal, and without a mean.
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    columns = torch.kron(pair, torch.kron(pair, pair))[:, 1:4]
    assert effective_rank(columns + offset) == pytest.approx(3)
    assert effective_rank(columns * torch.tensor([1.0, 1e-9, 0.0])) == pytest.approx(1, abs=1e-6)
    assert effective_rank(torch.full((5, 3), 0.1)) == 0


def test_the_norms_of_a_training_are_cut_at_the_largest_that_it_allows(tmp_path):
    run = Run(tmp_path)
    config = {"task": "char-lm", "settings": {}, "training": {"clip_norm": 1.0}}
    config |= {"assets": {}, "versions": {}}
    run.config_file.write_text(json.dumps(config))
    assert clipping(run) is None
    rows = ["step,epoch,seconds,split,loss,gradient_norm", "5,0.1,1,train,2,0.5"]
    rows += ["10,0.2,2,train,2,2.5", "10,0.2,2,valid,2,", "15,0.2,2,train,2,4"]
    run.metrics_file.write_text("\n".join(rows) + "\n")
    norms = clipping(run)
    assert norms.steps == [5, 10, 15]
    assert norms.before == [0.5, 2.5, 4]
    assert norms.after == [0.5, 1, 1]
    assert norms.share == pytest.approx(2 / 3)
