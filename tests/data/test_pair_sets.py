"""The named sets, where the mirror has them."""

import pytest

from throughtime.data.pair_sets import PAIR_SETS
from throughtime.data.pairs import Pair, PairSet, load_pairs
from throughtime.data.tokenisation import TOKENISERS

from .mirror import needs_files


def read(name: str) -> PairSet:
    """A named set from the local mirror; the test is skipped where it is not there."""
    needs_files(name.split("-")[0])
    return load_pairs(name)


def sizes(pairs: PairSet) -> dict[str, int]:
    return {split: len(part) for split, part in pairs.splits.items()}


MULTI30K = {
    "train": 29_000,
    "valid": 1014,
    "test2016": 1000,
    "test2017": 1000,
    "mscoco2017": 461,
    "test2018": 1071,
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("multi30k-de-en", MULTI30K),
        ("multi30k-en-cs", {k: v for k, v in MULTI30K.items() if "2017" not in k}),
        ("sigmorphon2017-turkish-high", {"train": 10_000, "valid": 1000, "test": 1000}),
        ("sigmorphon2017-german-low", {"train": 100, "valid": 1000, "test": 1000}),
        ("cmudict", {"train": 113_647, "valid": 6652, "test": 13_438}),
        ("scan-simple", {"train": 15_102, "valid": 1626, "test": 4182}),
        ("scan-length", {"train": 15_328, "valid": 1662, "test": 3920}),
        ("scan-jump", {"train": 13_380, "valid": 1290, "test": 7706}),
    ],
)
def test_the_splits_have_their_published_sizes(name, expected):
    assert sizes(read(name)) == expected


def test_both_directions_of_a_translation_hold_the_same_pairs():
    there, back = read("multi30k-de-en"), read("multi30k-en-de")
    first = there.splits["test2016"][0]
    assert first.target.startswith("A man in an orange hat")
    assert back.splits["test2016"][0] == Pair(first.target, first.source)


def test_a_lemma_and_its_features_are_the_source():
    pairs = read("sigmorphon2017-english-high")
    assert pairs.splits["train"][5] == Pair("foray<V><V.PTCP><PST>", "forayed")
    tokeniser = TOKENISERS[pairs.kinds[0]].fit([pair.source for pair in pairs.splits["train"]])
    assert tokeniser.unknown("foray<V><V.PTCP><PST>") == []
    assert len(tokeniser.encode("foray<V><V.PTCP><PST>")) == 8


def test_no_word_is_in_two_splits_and_its_pronunciations_stay_together():
    splits = read("cmudict").splits
    words = {split: {pair.source for pair in part} for split, part in splits.items()}
    assert not words["train"] & words["valid"]
    assert not words["train"] & words["test"]
    assert not words["valid"] & words["test"]
    assert sum(map(len, words.values())) == 123_455
    assert Pair("AARON", "EH1 R AH0 N") in splits["train"]
    assert sum(map(len, splits.values())) == 133_737


def test_no_command_of_the_validation_is_in_training_and_jump_stays_there():
    for name in ("scan-simple", "scan-length", "scan-jump"):
        splits = read(name).splits
        commands = {split: {pair.source for pair in part} for split, part in splits.items()}
        assert not commands["train"] & commands["valid"]
        assert not commands["train"] & commands["test"]
    assert Pair("jump", "I_JUMP") in splits["train"]
    assert all("jump" in command for command in commands["test"])


def test_every_set_names_tokenisers_that_there_are():
    for name in PAIR_SETS:
        if name.startswith(("cmudict", "scan", "multi30k-de", "sigmorphon2017-english")):
            assert set(read(name).kinds) <= set(TOKENISERS)
