"""Writers with a hand of their own, who draw texts with a pen; all of it is made by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from throughtime.data.pen.glyphs import FORMS, glyph, smooth
from throughtime.data.pen.resampling import at_equal_times
from throughtime.data.pen.trajectory import Trajectory

__all__ = ["Hand", "draw_hand", "write"]

_POINTS_PER_SECOND = 60
_LEAST_TURN = 0.6
_PAUSE = 0.06


@dataclass(frozen=True, eq=False)
class Hand:
    """The hand of a writer. Lengths are in heights of an x.

    Args:
        forms: the number of the form of each character.
        shapes: for each character, how far its points lie from those of the font, (K, 2).
        slant: how far the writing leans to the right for each unit upwards.
        width: a factor of the width of all characters.
        tall: a factor of the part of a character above the height of an x, or below the baseline.
        spacing: the space between two characters.
        gap: the space between two words.
        pace: how much way the pen makes in a second.
        ease: how much faster the pen is on straight lines than in turns; 1/3 is usual.
        wobble: how far a point of a character lies from its usual place at each drawing.
        drift: how far the baseline leaves a straight line.
        is_joined: whether the pen stays down between characters.
        flourish: the points of a last stroke below the text, (K, 2), from 0 to 1 along the text;
            without any point there is none.
    """

    forms: dict[str, int]
    shapes: dict[str, np.ndarray]
    slant: float
    width: float
    tall: float
    spacing: float
    gap: float
    pace: float
    ease: float
    wobble: float
    drift: float
    is_joined: bool = False
    flourish: np.ndarray | tuple = ()


def draw_hand(draw: np.random.Generator, *, is_joined: bool = False, own: float = 0.07) -> Hand:
    """A hand at random.

    Args:
        draw: the source of chance.
        is_joined: whether the pen stays down between characters, and draws a flourish at the end,
            as in a signature.
        own: the standard deviation of the points of its characters from those of the font.
    """
    forms = {character: int(draw.integers(len(FORMS[character]))) for character in FORMS}
    shapes = {
        character: draw.normal(0, own, glyph(character, form).places.shape)
        for character, form in forms.items()
    }
    flourish: np.ndarray | tuple = ()
    if is_joined:
        steps = np.linspace(draw.uniform(-0.1, 0.2), draw.uniform(0.8, 1.2), 5)
        turns = draw.normal(0, 0.12, 5)
        flourish = np.column_stack([steps + turns, draw.uniform(-1.6, -0.6, 5)])
    return Hand(
        forms,
        shapes,
        slant=draw.normal(0.1, 0.2),
        width=draw.uniform(0.75, 1.25),
        tall=draw.uniform(0.7, 1.2),
        spacing=draw.uniform(0.2, 0.5),
        gap=draw.uniform(0.9, 1.6),
        pace=draw.uniform(6, 14),
        ease=draw.uniform(0.2, 0.45),
        wobble=draw.uniform(0.02, 0.05),
        drift=draw.uniform(0, 0.25),
        is_joined=is_joined,
        flourish=flourish,
    )


def write(text: str, hand: Hand, draw: np.random.Generator) -> Trajectory:
    """A text as a hand draws it this time; x and y are in heights of an x.

    Args:
        text: characters of :data:`throughtime.data.pen.glyphs.FORMS` and spaces, at least one
            character that is no space.
        hand: the hand.
        draw: the source of chance: places, size, slope, slant and speed differ a little each time.

    Raises:
        ValueError: for another character, or a text without any.
    """
    wrong = sorted(set(text) - set(FORMS) - {" "})
    if wrong or not text.strip():
        raise ValueError(
            f"write: expected characters of {''.join(FORMS)!r} and spaces, got {text[:60]!r}."
        )
    strokes, x = _characters(text, hand, draw)
    if hand.is_joined:
        strokes = _joined(strokes)
    if len(hand.flourish):
        places = np.asarray(hand.flourish) * [x, 1] + draw.normal(0, 2 * hand.wobble, (5, 2))
        strokes.append(smooth(len(places)) @ places)
    bend, phase = draw.uniform(0.5, 1.5), draw.uniform(0, 2 * np.pi)
    slope, slant = draw.normal(0, 0.02), hand.slant + draw.normal(0, 0.04)
    along, up = np.concatenate(strokes).T
    up = up + slope * along + hand.drift * np.sin(bend * along / 4 + phase)
    places = draw.normal(1, 0.05) * np.column_stack([along + slant * up, up])
    lasts = np.cumsum([len(stroke) for stroke in strokes]) - 1
    pace = hand.pace * np.exp(draw.normal(0, 0.1))
    written = at_equal_times(_timed(places, lasts, pace, hand.ease), 1 / _POINTS_PER_SECOND)
    return written.at(written.places + draw.normal(0, 0.01, (len(written), 2)))


def _characters(text: str, hand: Hand, draw: np.random.Generator) -> tuple[list[np.ndarray], float]:
    """The strokes (n, 2) of a text, and where it ends."""
    strokes: list[np.ndarray] = []
    x = 0.0
    for character in text:
        if character == " ":
            x += hand.gap * np.exp(draw.normal(0, 0.15))
            continue
        places, maps = glyph(character, hand.forms[character])
        own = places + hand.shapes[character]
        own = own + draw.normal(0, hand.wobble, own.shape)
        up = own[:, 1]
        up = np.where(up > 1, 1 + hand.tall * (up - 1), np.where(up < 0, hand.tall * up, up))
        along = hand.width * own[:, 0]
        line = np.column_stack([along - along.min() + x, up])
        strokes += [weights @ line for weights in maps]
        x = float(line[:, 0].max()) + hand.spacing * np.exp(draw.normal(0, 0.2))
    return strokes, x


def _joined(strokes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The strokes as one line, without dots; the dots follow it."""
    lines = [stroke for stroke in strokes if len(stroke) > 1]
    dots = [stroke for stroke in strokes if len(stroke) == 1]
    return ([np.concatenate(lines)] if lines else []) + dots


def _timed(places: np.ndarray, lasts: np.ndarray, pace: float, ease: float) -> Trajectory:
    r"""Strokes with the times at which the pen is at their points:

        v = pace (kappa + kappa_0)^(-ease)

    with the curvature kappa. Between strokes the pen moves with twice the pace, after a pause.

    Args:
        places: (N, 2) the places of the points.
        lasts: the index of the last point of each stroke.
        pace, ease: see :class:`Hand`.

    Source: Lacquaniti, Terzuolo and Viviani, "The law relating the kinematic and figural aspects of
    drawing movements" (1983): ease = 1/3.
    """
    ways = np.diff(places, axis=0)
    lengths = np.hypot(*ways.T)
    angles = np.arctan2(ways[:, 1], ways[:, 0])
    turns = np.abs((np.diff(angles, append=angles[-1:]) + np.pi) % (2 * np.pi) - np.pi)
    # The pen slows down towards the end of a stroke as in a sharp turn.
    turns[lasts - 1] = np.pi / 2
    speeds = pace * (turns / np.maximum(lengths, 1e-3) + _LEAST_TURN) ** -ease
    steps = lengths / speeds
    steps[lasts[:-1]] = _PAUSE + lengths[lasts[:-1]] / (2 * pace)
    is_up = np.zeros(len(places))
    is_up[lasts] = 1
    points = np.column_stack([np.diff(places, axis=0, prepend=places[:1]), is_up])
    return Trajectory(points, np.concatenate([[0.0], np.cumsum(steps)]))
