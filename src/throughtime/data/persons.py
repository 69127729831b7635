"""Recordings and drawings of persons, by which these are told apart.

Of each data set some persons are held out for the test, so that a model never learned them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from throughtime.data.audio.spoken_digits import RATE_OF_DIGITS, spoken_digits
from throughtime.data.files import existing
from throughtime.data.labelled import LABELLED_SETS, Example, Labelled, read_own
from throughtime.data.labelled.class_folders import at_rate
from throughtime.data.pen.drawn_sets import drawn_signatures
from throughtime.data.splits import check_own_splits, cut_items

__all__ = ["FOLDS_OF_PERSONS", "PERSON_SETS", "Persons", "load_persons"]

_VALIDATES_EVERY = 4

FOLDS_OF_PERSONS: Mapping[str, int] = {"fsdd": 3, "japanese-vowels": 3}
"""The number of folds of the data sets with few persons; each holds other persons out."""


@dataclass(frozen=True)
class Persons:
    """Examples whose labels are persons.

    Args:
        labelled: the examples.
        texts: for each split, what is said or written in each example (a name); an empty text where
            it does not matter. Two examples of a person are to be taken as equal only if their
            texts are equal, too.
    """

    labelled: Labelled
    texts: dict[str, list[str]] = field(repr=False)


def load_persons(
    data: str,
    *,
    encoding: str = "utf-8",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    fold: int = 0,
    rate: int | None = None,
) -> Persons:
    """Reads examples of persons.

    Args:
        data: the name of one of `PERSON_SETS`; or a file or a folder as `load_labelled` takes them,
            whose labels are the persons. A single file, or a folder without folders of splits, is
            cut into persons of the training, the validation and the test.
        encoding: the encoding of the user's own files.
        valid_fraction, test_fraction: the fractions of the persons that are held out of the
            training; None is 0.1 and 0.
        fold: the fold of one of `FOLDS_OF_PERSONS`, from 0.
        rate: the samples per second to which sounds are converted.

    Raises:
        FileNotFoundError: if there is no such path, or no training file in the folder.
        ValueError: for an unknown name, an option without effect, texts, or a malformed line.
        DownloadError, ChecksumError: see `fetch`.
    """
    num_folds = FOLDS_OF_PERSONS.get(data, 1)
    if not 0 <= fold < num_folds:
        raise ValueError(
            f"--fold {fold}: "
            + (
                f"expected 0 to {num_folds - 1} for {data}."
                if num_folds > 1
                else f"only {' and '.join(FOLDS_OF_PERSONS)} have folds. Leave it out."
            )
        )
    if data in PERSON_SETS:
        check_own_splits("load_persons", data, valid_fraction, test_fraction, "order")
        if encoding != "utf-8":
            raise ValueError(f'--encoding: that of "{data}" is known. Leave it out.')
        persons = PERSON_SETS[data](fold)
        own = persons.labelled
        if rate is None or own.rate in (None, rate):
            return persons
        assert own.rate is not None
        splits = {split: at_rate(part, own.rate, rate) for split, part in own.splits.items()}
        return Persons(Labelled(own.name, splits, own.kind, rate=rate), persons.texts)
    path = existing(data, PERSON_SETS)
    kind, rate, parts = read_own(path, encoding, rate)
    name = path.resolve().name
    if kind == "text":
        raise ValueError(f"{path}: expected series, sounds or ways of a pen of persons, got texts.")
    if "valid" in parts:
        check_own_splits("load_persons", name, valid_fraction, test_fraction, "order")
        return _without_texts(Labelled(name, parts, kind, rate=rate))
    rest = dict(parts)
    whole = rest.pop("all", None) or rest.pop("train")
    if "train" in parts:
        check_own_splits("load_persons", name, None, test_fraction, "order")
        test_fraction = 0
    people = list(dict.fromkeys(example.label for example in whole))
    cut = cut_items(name, people, valid_fraction, test_fraction, "persons", "random")
    held = {
        split: [one for one in whole if one.label in set(members)] for split, members in cut.items()
    }
    return _without_texts(Labelled(name, held | rest, kind, rate=rate))


def _without_texts(labelled: Labelled) -> Persons:
    return Persons(labelled, {split: [""] * len(part) for split, part in labelled.splits.items()})


def _signatures(fold: int) -> Persons:
    """Signatures that the project draws itself; see `drawn_signatures`."""
    drawn = drawn_signatures()
    splits = {
        split: [Example(one.writer, one.trajectory.array) for one in part]
        for split, part in drawn.items()
    }
    texts = {split: [one.name for one in part] for split, part in drawn.items()}
    return Persons(Labelled("signatures", splits, "pen"), texts)


def _digits(fold: int) -> Persons:
    """Recordings of digits; the test has two speakers whom the training and the validation lack.

    The test has the takes 0 to 4, as the published one, and the validation the takes 5 to 9.
    """
    recordings = spoken_digits()
    unheard = _held_out([one.speaker for one in recordings], "fsdd", fold)
    splits: dict[str, list[Example]] = {"train": [], "valid": [], "test": []}
    for one in recordings:
        split = "test" if one.take < 5 else "valid" if one.take < 10 else "train"
        if (one.speaker in unheard) == (split == "test"):
            splits[split].append(Example(one.speaker, one.samples))
    return _without_texts(Labelled("fsdd", splits, "audio", rate=RATE_OF_DIGITS))


def _vowels(fold: int) -> Persons:
    """Two vowels by nine speakers, of whom three are the test; every fourth of others validates."""
    published = LABELLED_SETS["japanese-vowels"](0).splits
    examples = [example for part in ("train", "valid", "test") for example in published[part]]
    unheard = _held_out([example.label for example in examples], "japanese-vowels", fold)
    splits: dict[str, list[Example]] = {"train": [], "valid": [], "test": []}
    number: dict[str, int] = {}
    for example in examples:
        number[example.label] = number.get(example.label, 0) + 1
        split = "train" if number[example.label] % _VALIDATES_EVERY else "valid"
        splits["test" if example.label in unheard else split].append(example)
    return _without_texts(Labelled("japanese-vowels", splits, "series"))


def _held_out(people: Sequence[str], name: str, fold: int) -> set[str]:
    """The persons that a fold holds out: consecutive ones in the order of their names."""
    names, num_folds = sorted(set(people)), FOLDS_OF_PERSONS[name]
    size = len(names) // num_folds
    return set(names[fold * size : (fold + 1) * size])


PERSON_SETS: dict[str, Callable[[int], Persons]] = {
    "signatures": _signatures,
    "fsdd": _digits,
    "japanese-vowels": _vowels,
}
"""The data sets by name; each function takes the number of the fold."""
