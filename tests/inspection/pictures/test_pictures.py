"""The pictures show the numbers of the recording."""

import numpy as np
import pytest
import torch

from throughtime.inspection.pictures.drawing import write_figure
from throughtime.inspection.pictures.measures import (
    gradient_curves,
    saturation_scatter,
    spectrum,
)
from throughtime.inspection.pictures.texts import coloured_text, gate_map
from throughtime.inspection.pictures.unfolded import unfolded
from throughtime.inspection.recording import Name, Recording

TEXT = "a $b$\nc<d"


@pytest.fixture
def recording():
    T = len(TEXT)
    values = {
        "recurrent.h_l0": torch.linspace(-1, 1, T * 4).view(T, 4),
        "recurrent.f_l0": torch.rand(T, 4),
        "recurrent.h_l1": torch.randn(T, 3),
    }
    values["recurrent.f_l0"][:, 0] = 0.95
    probabilities = torch.eye(2)[torch.arange(T) % 2]
    states = frozenset({"recurrent.h_l0", "recurrent.h_l1"})
    return Recording(values, states, {"": list(TEXT)}, ["a", "$"], probabilities)


def test_each_letter_of_a_text_has_the_value_of_its_step():
    values = torch.arange(len(TEXT), dtype=torch.float64) - 4
    figure = coloured_text(list(TEXT), values, num_columns=5)
    axes = figure.axes[0]
    grid = np.asarray(axes.images[0].get_array())
    # Five letters fill a line, and the line end follows on the next one, which it ends.
    assert grid.shape == (3, 5)
    assert grid[0].tolist() == [-4, -3, -2, -1, 0]
    assert grid[1, 0] == 1
    assert np.isnan(grid[1, 1:].astype(float)).all()
    assert grid[2, :3].tolist() == [2, 3, 4]
    assert axes.images[0].get_clim() == (-4, 4)
    assert [text.get_text() for text in axes.texts[:6]] == ["a", " ", "$", "b", "$", "↵"]
    with pytest.raises(ValueError, match="each of 2 steps, got 3"):
        coloured_text(["a", "b"], torch.zeros(3))


def test_words_stand_apart_and_are_not_broken():
    figure = coloured_text(["two", "words", "here"], torch.tensor([1.0, 2.0, 3.0]), num_columns=9)
    lines = {}
    for text in figure.axes[0].texts:
        column, line = text.get_position()
        lines.setdefault(line, {})[column] = text.get_text()
    written = ["".join(of.get(i, " ") for i in range(9)).rstrip() for of in lines.values()]
    assert written == ["two words", "here"]


def test_a_gate_map_has_a_row_for_each_unit(recording):
    figure = gate_map(recording, Name("recurrent", "", 0))
    maps = [axes for axes in figure.axes if axes.get_ylabel()]
    assert [axes.get_ylabel() for axes in maps] == ["h", "f"]
    for axes, name in zip(maps, ("recurrent.h_l0", "recurrent.f_l0"), strict=True):
        shown = np.asarray(axes.images[0].get_array())
        np.testing.assert_allclose(shown, recording.values[name].T)
    assert maps[1].images[0].get_clim() == (0, 1)
    with pytest.raises(ValueError, match="no values of the layer"):
        gate_map(recording, Name("recurrent", "", 7))


def test_a_point_of_the_saturation_is_a_unit(recording):
    (axes,) = saturation_scatter(recording).axes
    (points,) = (np.asarray(c.get_offsets()) for c in axes.collections)
    assert points.shape == (4, 2)
    assert points[0].tolist() == [0, 1]
    gates = recording.values.pop("recurrent.f_l0")
    assert gates.shape == (len(TEXT), 4)
    with pytest.raises(ValueError, match="no gates"):
        saturation_scatter(recording)


def test_curves_are_shares_of_the_largest_norm_and_zeros_are_left_out():
    (axes,) = gradient_curves(
        {"a": torch.tensor([1.0, 4.0, 2.0]), "b": torch.tensor([1.0, 0, 0])}
    ).axes
    first, second = axes.lines[:2]
    assert first.get_ydata().tolist() == [0.25, 1, 0.5]
    assert second.get_xdata().tolist() == [0]
    assert axes.get_yscale() == "log"


def test_eigenvalues_are_points_of_the_plane():
    figure = spectrum({"R": torch.tensor([0.5 + 0.25j, -1.0 + 0j])})
    (points,) = figure.axes[0].collections
    assert np.asarray(points.get_offsets()).tolist() == [[0.5, 0.25], [-1, 0]]


def test_the_unfolded_network_has_a_box_for_each_layer_and_step(recording):
    axes = unfolded(recording, first=2, num_steps=3).axes[0]
    assert len(axes.images) == 2 * 3
    shown = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shown.ravel(), recording.values["recurrent.h_l0"][2])
    texts = [text.get_text() for text in axes.texts if text.get_text()]
    assert {"layer 0", "layer 1", "reads", "expects", "$", "b", "a 100%", "$ 100%"} == set(texts)
    with pytest.raises(ValueError, match="expected a step from 99 on"):
        unfolded(recording, first=99)


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_an_equal_picture_is_an_equal_file(recording, tmp_path, kind):
    for name in ("one", "two"):
        write_figure(tmp_path / f"{name}.{kind}", unfolded(recording, num_steps=2))
    one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "two"))
    assert one == two
    assert len(one) > 1000
