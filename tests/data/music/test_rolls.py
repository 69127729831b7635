"""Piano rolls of the named sets and of the user's own files."""

import numpy as np
import pytest
from scipy.io import savemat
from tests.data.mirror import needs_files

from throughtime.data.music import NUM_KEYS, ROLL_SETS, Note, load_rolls, midi_bytes

# The numbers of pieces and of frames of each split, as the mirror of the data describes them.
SIZES = {
    "jsb-chorales": ((229, 13_807), (76, 4_602), (77, 4_725)),
    "nottingham": ((694, 176_561), (173, 45_513), (170, 44_463)),
    "musedata": ((524, 245_202), (135, 82_755), (124, 64_339)),
    "piano-midi": ((87, 75_911), (12, 8_540), (25, 19_036)),
}


@pytest.mark.parametrize("name", ROLL_SETS)
def test_a_named_set_has_its_published_sizes(name):
    needs_files(name)
    rolls = load_rolls(name)
    sizes = tuple((len(p), sum(map(len, p))) for p in rolls.splits.values())
    assert sizes == SIZES[name]
    assert all(roll.dtype == bool for roll in rolls.splits["train"])


def cells(*pieces):
    """A MATLAB cell of pieces."""
    cell = np.empty((1, len(pieces)), object)
    for number, piece in enumerate(pieces):
        cell[0, number] = piece
    return cell


def roll(seed, T=6):
    return (np.random.default_rng(seed).random((T, NUM_KEYS)) < 0.1).astype(np.uint8)


def test_a_matlab_file_with_and_without_splits(tmp_path):
    path = tmp_path / "own.mat"
    savemat(path, {"traindata": cells(roll(0), roll(1)), "validdata": cells(roll(2))})
    rolls = load_rolls(str(path))
    assert {k: len(v) for k, v in rolls.splits.items()} == {"train": 2, "valid": 1}
    assert np.array_equal(rolls.splits["valid"][0], roll(2))
    savemat(path, {"traindata": cells(*map(roll, range(10)))})
    rolls = load_rolls(str(path), test_fraction=0.2)
    assert {k: len(v) for k, v in rolls.splits.items()} == {"train": 7, "valid": 1, "test": 2}
    assert rolls.cut == "order"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": np.zeros(3)}, "expected a cell traindata, got x"),
        (
            {"traindata": cells(roll(0), roll(0)[:, :9])},
            r"traindata, piece 2: .*88 keys, got \(6, 9\)",
        ),
        ({"traindata": cells(roll(0) * 2)}, "traindata, piece 1: expected keys of 0 or 1"),
        ({"traindata": cells("abc")}, "traindata, piece 1: expected an array of frames"),
        ({"traindata": cells(roll(0))}, 'leaves "train" empty'),
    ],
)
def test_a_matlab_file_of_other_things_is_refused_with_its_place(tmp_path, content, message):
    savemat(tmp_path / "own.mat", content)
    with pytest.raises(ValueError, match=message):
        load_rolls(str(tmp_path / "own.mat"))


def test_a_damaged_matlab_file_is_refused(tmp_path):
    path = tmp_path / "own.mat"
    savemat(path, {"traindata": cells(*map(roll, range(10)))})
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match=r"own.mat: expected a MATLAB file of version 5"):
        load_rolls(str(path))


def test_midi_files_become_rolls(tmp_path):
    for number in range(10):
        notes = [Note(0.0, 1.0, 60 + number), Note(0.5, 1.0, 40)]
        (tmp_path / f"{number}.mid").write_bytes(midi_bytes(notes))
    rolls = load_rolls(str(tmp_path), frame_seconds=0.5)
    assert {k: len(v) for k, v in rolls.splits.items()} == {"train": 9, "valid": 1}
    assert rolls.splits["train"][3].sum(0)[[60 + 3 - 21, 40 - 21]].tolist() == [2, 1]


def test_options_without_effect_and_unknown_names_are_refused():
    with pytest.raises(
        ValueError, match=r"--frame_seconds 0\.5: jsb-chorales is in frames already"
    ):
        load_rolls("jsb-chorales", frame_seconds=0.5)
    with pytest.raises(ValueError, match="comes in splits of its own"):
        load_rolls("jsb-chorales", valid_fraction=0.2)
    with pytest.raises(FileNotFoundError, match='did you mean "jsb-chorales"'):
        load_rolls("jsb-choral")
