"""Trajectories of a pen: their points, resampling, normalising and drawing."""

from xml.etree import ElementTree

import numpy as np
import pytest

from throughtime.data.pen import (
    Trajectory,
    at_equal_distances,
    at_equal_times,
    normalised,
    svg_of_pen,
)
from throughtime.data.pen.normalising import size_of, slant_of, slope_of
from throughtime.data.pen.writer import draw_hand, write

CORNER = [[0, 0], [3, 0], [3, 4]]


def written(seed=0, text="quick fox."):
    draw = np.random.default_rng(seed)
    return write(text, draw_hand(draw), draw)


def test_strokes_and_points_are_the_same_trajectory():
    strokes = [[[2, 1], [5, 1]], [[4, 4]], [[0, 0], [1, 1], [1, 2]]]
    trajectory = Trajectory.of_strokes(strokes, [[0, 0.1], [0.5], [1, 1.5, 1.5]])
    ways = [[0, 0, 0], [3, 0, 1], [-1, 3, 1], [-4, -4, 0], [1, 1, 0], [0, 1, 1]]
    assert trajectory.points.tolist() == ways
    for stroke, expected in zip(trajectory.strokes, strokes, strict=True):
        assert np.array_equal(stroke, np.array(expected) - [2, 1])
    assert trajectory.firsts.tolist() == [0, 2, 3]
    assert trajectory.lasts.tolist() == [1, 2, 5]
    assert Trajectory(trajectory.points).times is None


@pytest.mark.parametrize(
    ("points", "times", "message"),
    [
        ([[0, 0, 1]], None, "at least two points, got 1"),
        (np.zeros((0, 3)), None, "at least two points, got 0"),
        ([[0, 0], [1, 1]], None, r"as \(N, 3\): dx, dy and pen up, got \(2, 2\)"),
        ([[0, 0, 0], [np.nan, 1, 1]], None, "point 2 of the pen: expected finite numbers, got nan"),
        ([[0, 0, 0], [1, np.inf, 1]], None, "point 2 of the pen: expected finite numbers"),
        ([[0, 0, 0], [1, 1, 2]], None, "point 2 of the pen: expected pen up as 0 or 1, got 2"),
        ([[0, 0, 0], [1, 1, 0]], None, "lifted after its last point"),
        ([[0, 0, 0], [1, 1, 1]], [0, np.nan], "point 2 of the pen: expected finite numbers"),
        ([[0, 0, 0], [1, 1, 1]], [0.5, 0.25], r"point 2 .* not before .*\(0.5 s\), got 0.25 s"),
        ([[0, 0, 0], [1, 1, 1]], [0.5], "a time for each of 2 points"),
    ],
)
def test_a_trajectory_that_is_none_is_refused(points, times, message):
    with pytest.raises(ValueError, match=message):
        Trajectory(points, times)


@pytest.mark.parametrize(
    ("strokes", "message"),
    [
        ([], "got no stroke"),
        ([[[0, 0], [1, 1]], np.zeros((0, 2))], r"stroke 2 .* of at least one point, got \(0, 2\)"),
        ([[[0, 0, 0]]], r"stroke 1 .* got \(1, 3\)"),
        ([[[4, 4]]], "at least two points, got 1"),
    ],
)
def test_strokes_that_are_none_are_refused(strokes, message):
    with pytest.raises(ValueError, match=message):
        Trajectory.of_strokes(strokes)


def test_equal_distances_follow_the_stroke_round_a_corner():
    trajectory = Trajectory.of_strokes(
        [CORNER, [[9, 9]], [[5, 5], [5, 5]]], [[0, 3, 4], [5], [6, 7]]
    )
    resampled = at_equal_distances(trajectory, 1.0)
    first, dot, rest = resampled.strokes
    assert first == pytest.approx(
        np.array([[0, 0], [1, 0], [2, 0], [3, 0], [3, 1], [3, 2], [3, 3], [3, 4]])
    )
    assert dot.tolist() == [[9, 9]]
    # A pen that rests has no length.
    assert rest.tolist() == [[5, 5]]
    assert resampled.times == pytest.approx([0, 1, 2, 3, 3.25, 3.5, 3.75, 4, 5, 7])
    # 7 / 2 is 3.5, which is rounded to 4 pieces of equal length.
    coarse = at_equal_distances(trajectory, 2.0).strokes[0]
    assert coarse == pytest.approx(np.array([[0, 0], [1.75, 0], [3, 0.5], [3, 2.25], [3, 4]]))
    # However long the distance, a stroke keeps its ends.
    assert at_equal_distances(trajectory, 100.0).strokes[0].tolist() == [[0, 0], [3, 4]]


def test_a_finer_resampling_comes_closer_to_the_length_of_a_curve():
    angle = np.linspace(0, np.pi, 400)
    half = Trajectory.of_strokes([np.column_stack([np.cos(angle), np.sin(angle)])])
    for distance in (0.5, 0.1, 0.02):
        steps = np.hypot(*at_equal_distances(half, distance).segments().T)
        assert steps == pytest.approx(distance, rel=0.1)
        # A chord is shorter than its arc by its square, to the first order.
        assert np.pi - steps.sum() == pytest.approx(np.pi * distance**2 / 24, rel=0.2, abs=1e-4)


def test_equal_times_keep_the_end_of_each_stroke():
    trajectory = Trajectory.of_strokes([CORNER, [[7, 7]]], [[1, 1.3, 1.7], [1.7]])
    resampled = at_equal_times(trajectory, 0.2)
    assert resampled.times == pytest.approx([1, 1.2, 1.4, 1.6, 1.7, 1.7])
    first, dot = resampled.strokes
    assert first == pytest.approx(np.array([[0, 0], [2, 0], [3, 1], [3, 3], [3, 4]]))
    assert dot.tolist() == [[7, 7]]
    # 0.7 / 0.1 is not exactly 7 in floating-point numbers.
    assert len(at_equal_times(trajectory, 0.1)) == 9


@pytest.mark.parametrize("number", [0, -1, float("nan"), float("inf")])
def test_a_resampling_without_sense_is_refused(number):
    with pytest.raises(ValueError, match="distance: expected a positive number"):
        at_equal_distances(written(), number)
    with pytest.raises(ValueError, match="interval: expected a positive number"):
        at_equal_times(written(), number)


def test_times_that_are_missing_are_refused():
    with pytest.raises(ValueError, match=r"got one without. Use at_equal_distances"):
        at_equal_times(Trajectory.of_strokes([CORNER]), 0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_slant_and_size_and_slope_are_those_of_the_shear_and_the_scale(seed):
    trajectory = written(seed)
    x, y = trajectory.places.T
    sheared = trajectory.at(np.column_stack([x + 0.6 * y, y]))
    assert slant_of(sheared) == pytest.approx(slant_of(trajectory) + 0.6)
    assert size_of(trajectory.at(3 * trajectory.places)) == pytest.approx(3 * size_of(trajectory))
    turned = trajectory.at(np.column_stack([x, y + 0.2 * x]))
    assert slope_of(turned) == pytest.approx(slope_of(trajectory) + 0.2)

    expected = normalised(trajectory)
    assert slant_of(expected) == pytest.approx(0, abs=1e-9)
    assert size_of(expected) == pytest.approx(1)
    changed = trajectory.at(40 * np.column_stack([x - 0.5 * y, y]) + [100, -300])
    assert normalised(changed).places == pytest.approx(expected.places, abs=1e-6)
    # The strokes and the times stay.
    assert np.array_equal(expected.points[:, 2], trajectory.points[:, 2])
    assert np.array_equal(expected.times, trajectory.times)
    level = normalised(turned, slope=True, slant=False, size=False)
    assert slope_of(level) == pytest.approx(0, abs=1e-9)
    unchanged = normalised(trajectory, slant=False, size=False)
    assert unchanged.places == pytest.approx(trajectory.places)


def test_slant_is_the_one_with_the_shortest_ways_sideways():
    trajectory = written(3)
    dx, dy = trajectory.segments().T
    costs = {s: np.abs(dx - s * dy).sum() for s in np.linspace(-1, 1, 401)}
    assert slant_of(trajectory) == pytest.approx(min(costs, key=costs.get), abs=0.006)


@pytest.mark.parametrize(
    "stroke", [[[0, 0], [5, 0]], [[0, 0], [0, 5]], [[1, 1], [1, 1]], [[0, 0], [3, 3]]]
)
def test_a_line_and_a_dot_can_be_normalised(stroke):
    places = normalised(Trajectory.of_strokes([stroke]), slope=True).places
    assert np.isfinite(places).all()
    assert np.abs(places).max() < 10


def test_svg_has_a_path_for_each_stroke_with_y_downwards():
    trajectory = Trajectory.of_strokes([CORNER, [[1, 2]]])
    svg = ElementTree.fromstring(svg_of_pen([trajectory], ["<a> & b"], height=40))
    paths = [path.get("d") for path in svg if path.tag.endswith("path")]
    # 4 units are 40 pixels high, below a title of 16 pixels and a margin of 6.
    assert paths == ["M6.0 62.0L36.0 62.0L36.0 22.0", "M16.0 42.0L16.0 42.0"]
    assert [text.text for text in svg if text.tag.endswith("text")] == ["<a> & b"]
    wide = ElementTree.fromstring(svg_of_pen([Trajectory.of_strokes([[[0, 0], [900, 1]]])] * 2))
    assert float(wide.get("width")) == pytest.approx(912)
