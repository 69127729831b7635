"""Writing that the project draws: glyphs, hands, and the sets of lines and signatures."""

import re

import numpy as np
import pytest

from throughtime.data.pen import drawn_sets
from throughtime.data.pen.glyphs import FORMS, glyph, smooth
from throughtime.data.pen.normalising import slant_of
from throughtime.data.pen.writer import draw_hand, write

FORMS_OF_ALL = [(character, i) for character, forms in FORMS.items() for i in range(len(forms))]


@pytest.mark.parametrize(("character", "form"), FORMS_OF_ALL)
def test_the_line_of_a_glyph_goes_through_its_points(character, form):
    places, strokes = glyph(character, form)
    lines = [weights @ places for weights in strokes]
    assert len(lines) == FORMS[character][form].count(";") + 1
    for point in places:
        assert min(np.abs(line - point).sum(1).min() for line in lines) < 1e-9
    # Each row of weights has the sum 1, so that a glyph that is moved is drawn elsewhere.
    for weights in strokes:
        assert weights.sum(1) == pytest.approx(1)
    assert places[:, 1].min() >= -1
    assert places[:, 1].max() <= 2


def test_letters_digits_and_punctuation_are_in_the_font():
    assert set("abcdefghijklmnopqrstuvwxyz0123456789.,'-!?") == set(FORMS)


def test_a_spline_is_straight_between_two_points_and_reproduces_a_parabola():
    assert (smooth(2) @ np.array([[0.0, 0.0], [6.0, 3.0]])).tolist() == [
        [float(k), k / 2] for k in range(7)
    ]
    x = np.arange(5.0)
    curve = smooth(5) @ np.column_stack([x, x**2])
    inner = (curve[:, 0] >= 1) & (curve[:, 0] <= 3)
    assert curve[inner, 1] == pytest.approx(curve[inner, 0] ** 2)


def test_a_hand_writes_alike_and_never_the_same_twice():
    draw = np.random.default_rng(0)
    one, other = draw_hand(draw), draw_hand(draw)
    again = write("quick 12.", one, np.random.default_rng(5))
    assert np.array_equal(write("quick 12.", one, np.random.default_rng(5)).array, again.array)
    second = write("quick 12.", one, np.random.default_rng(6))
    assert not np.array_equal(second.points[:50], again.points[:50])

    def slants(hand):
        return [write("hill till", hand, draw) for _ in range(8)]

    means = [np.mean([slant_of(t) for t in slants(hand)]) for hand in (one, other)]
    assert means[0] - means[1] == pytest.approx(one.slant - other.slant, abs=0.1)


def test_the_pen_is_slower_in_turns():
    draw = np.random.default_rng(1)
    hand = draw_hand(draw)
    trajectory = write("ooo lll", hand, draw)
    steps = np.diff(trajectory.times)[trajectory.points[1:, 2] == 0]
    # Points have equal times, so a short way is a slow one.
    assert np.median(steps) == pytest.approx(1 / 60)
    places = [stroke for stroke in trajectory.strokes if len(stroke) > 8]
    ways = [np.diff(stroke, axis=0) for stroke in places]
    lengths = np.concatenate([np.hypot(*way[:-1].T) for way in ways])
    angles = [np.arctan2(*way.T) for way in ways]
    turns = np.concatenate([np.abs((np.diff(a) + np.pi) % (2 * np.pi) - np.pi) for a in angles])
    is_sharp = turns / lengths > np.median(turns / lengths)
    assert lengths[is_sharp].mean() < 0.9 * lengths[~is_sharp].mean()


@pytest.mark.parametrize("text", ["", "  ", "Übung", "a\tb", "tab\n"])
def test_a_text_that_cannot_be_drawn_is_refused(text):
    draw = np.random.default_rng(0)
    with pytest.raises(ValueError, match="write: expected characters of"):
        write(text, draw_hand(draw), draw)


@pytest.fixture
def few(monkeypatch):
    """Small sets of lines and signatures."""
    lines = {"train": (60, 4, 40), "valid": (30, 2, 12), "test": (30, 3, 12)}
    signatures = {"train": (4, 3, 2), "valid": (3, 2, 2), "test": (3, 2, 2)}
    monkeypatch.setattr(drawn_sets, "_LINES", lines)
    monkeypatch.setattr(drawn_sets, "_SIGNATURES", signatures)


def test_the_splits_of_lines_share_no_word(few):
    splits = drawn_sets.drawn_lines.__wrapped__()
    assert {split: len(lines) for split, lines in splits.items()} == {
        "train": 40,
        "valid": 12,
        "test": 12,
    }
    words = {
        split: {
            word.removesuffix("'s")
            for line in lines
            for word in re.findall(r"[a-z']+", line.text)
            if word != "'s"
        }
        for split, lines in splits.items()
    }
    assert not words["train"] & words["test"]
    assert not words["train"] & words["valid"]
    assert not words["valid"] & words["test"]
    repeated = drawn_sets.drawn_lines.__wrapped__()
    for one, other in zip(splits["test"], repeated["test"], strict=True):
        assert one.text == other.text
        assert np.array_equal(one.trajectory.array, other.trajectory.array)


def test_the_splits_of_signatures_share_no_writer_and_no_name(few):
    splits = drawn_sets.drawn_signatures.__wrapped__()
    assert {split: len(part) for split, part in splits.items()} == {
        "train": 24,
        "valid": 12,
        "test": 12,
    }
    for field in ("writer", "name"):
        members = [{getattr(one, field) for one in part} for part in splits.values()]
        assert sum(map(len, members)) == len(set.union(*members))
    # Every writer draws every name of his split, which makes the forgeries.
    for part in splits.values():
        pairs = {(one.writer, one.name) for one in part}
        assert len(pairs) == len({w for w, _ in pairs}) * len({n for _, n in pairs})
