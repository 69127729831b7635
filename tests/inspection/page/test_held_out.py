"""Places in held-out data, compared with a search by hand over random values."""

import pytest
import torch

from throughtime.inspection.page.held_out import fires, matches, points, units_above
from throughtime.inspection.recording import Recording

NAME, W = "recurrent.h_l0", 6


@pytest.fixture
def recordings():
    lengths = (1, 90, 3, 40, 2)
    tokens = [[f"{r}:{t}" for t in range(T)] for r, T in enumerate(lengths)]
    values = [torch.randn(T, W).half() for T in lengths]
    return [
        Recording({NAME: v}, frozenset([NAME]), {"recurrent": steps})
        for v, steps in zip(values, tokens, strict=True)
    ]


def place_of(token):
    return tuple(map(int, token.split(":")))


@pytest.mark.parametrize("length", [1, 2, 4])
def test_places_are_ordered_by_the_units_that_are_above_throughout(recordings, length):
    units, threshold = [0, 2, 3], -0.4
    answer = matches(recordings, NAME, units, length, threshold)
    expected = {}
    for r, recording in enumerate(recordings):
        value = recording.values[NAME]
        for t in range(len(value) - length + 1):
            above = (value[t : t + length] > threshold).all(0)
            others = int(above.sum()) - int(above[units].sum())
            expected[r, t] = (int(above[units].sum()), -others)
    assert answer["steps"] == 136
    places = []
    for place in answer["places"]:
        r, t = place_of(place["tokens"][place["from"]])
        assert place["to"] - place["from"] == length
        assert place["count"] == expected[r, t][0]
        assert place_of(place["tokens"][0]) == (r, max(0, t - 40))
        places.append((r, t))
    # By hand: the best one that overlaps none of those before it.
    left = dict(expected)
    for r, t in places:
        assert expected[r, t] == max(left.values())
        left = {(q, u): score for (q, u), score in left.items() if q != r or abs(u - t) >= length}
    none_left = max(left.values(), default=(0, 0))[0] == 0
    assert len(places) == 20 or none_left


def test_places_with_none_of_the_units_are_left_out(recordings):
    assert matches(recordings, NAME, [1], 3, 100.0)["places"] == []
    assert matches(recordings, NAME, [], 3, -100.0)["places"] == []
    assert matches(recordings, NAME, [1], 91, -100.0)["places"] == []
    (place,) = matches(recordings, NAME, [1], 90, -100.0)["places"]
    assert (place["from"], place["to"]) == (0, 90)


def test_places_where_a_unit_fires_lie_apart(recordings):
    answer = fires(recordings, NAME, 4, 100)
    centres = []
    for place in answer["places"]:
        r, t = place_of(place["tokens"][place["at"]])
        first, last = place_of(place["tokens"][0])[1], place_of(place["tokens"][-1])[1]
        assert (first, last) == (max(0, t - 40), min(len(recordings[r].tokens(NAME)) - 1, t + 40))
        value = recordings[r].values[NAME][first : last + 1, 4]
        assert place["values"] == value.tolist()
        centres.append((r, t))
    for r, t in centres:
        assert not any(q == r and 0 < abs(u - t) <= 40 for q, u in centres)
    sizes = torch.tensor([abs(float(recordings[r].values[NAME][t, 4])) for r, t in centres])
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)
    assert sizes[0] == max(float(r.values[NAME][:, 4].abs().max()) for r in recordings)
    assert len(fires(recordings, NAME, 4, 2)["places"]) == 2


def test_units_above_a_threshold():
    values = torch.tensor([[0, 2, 2, 2, 0], [2, 2, 2, 0, 2], [2, 2, 2, 2, 2], [2, 0, 2, 2, 0]])
    assert units_above(values.float(), 1, 3, 1.0, False) == [0, 1, 2, 4]
    assert units_above(values.float(), 1, 3, 1.0, True) == [4]
    # At the ends of a text there is no step on that side.
    assert units_above(values.float(), 0, 3, 1.0, True) == [1]
    assert units_above(values.float(), 0, 4, 1.0, True) == [2]


def test_points_are_evenly_spread(recordings):
    values, tokens = points(recordings, NAME, 4)
    assert values.shape == (4, W)
    assert tokens == ["0:0", "1:44", "1:89", "4:1"]
    assert len(points(recordings, NAME, 1000)[1]) == 136
