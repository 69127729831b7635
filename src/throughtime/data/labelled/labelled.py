"""Reads labelled sequences: a named data set, a file, or a folder with splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from throughtime.data.files import existing, read_once
from throughtime.data.labelled.class_folders import (
    at_rate,
    has_class_folders,
    read_class_folders,
)
from throughtime.data.labelled.example import Example, Labelled
from throughtime.data.labelled.named_sets import LABELLED_SETS, NUM_FOLDS, split_off
from throughtime.data.labelled.series_files import csv_series, ts_series
from throughtime.data.labelled.text_files import csv_texts, tsv_texts
from throughtime.data.line_ends import with_line_feeds
from throughtime.data.split_files import split_files
from throughtime.data.splits import Cut, check_own_splits, cut_items, cut_own
from throughtime.data.text import decoded

__all__ = ["Example", "Labelled", "load_labelled", "read_labelled", "read_own"]

_SUFFIXES = (".tsv", ".csv", ".txt", ".ts")


def load_labelled(
    data: str,
    *,
    encoding: str = "utf-8",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    fold: int = 0,
    cut: Cut | None = None,
    rate: int | None = None,
) -> Labelled:
    """Reads labelled texts, series, sounds or ways of a pen.

    Args:
        data: the name of one of `LABELLED_SETS`; a file, which is cut into splits; or a folder with
            files of the splits (see `split_files`); without one for validation, every tenth example
            of each class of the training validates. A file is one of these: ``.tsv`` or ``.txt``, a
            label, a tab and a text on each line; ``.csv`` with the columns label and text, or, for
            series, with the columns series and label and one for each feature; ``.ts``, series in
            the format of the UEA archive. Of sounds and of ways of a pen, a folder has a folder for
            each class, or such folders for each split.
        encoding: the encoding of the user's own files.
        valid_fraction: the fraction of the examples for validation, if the data has no such split;
            None is 0.1.
        test_fraction: the fraction of the examples of a single file for the test; None is 0.
        fold: the fold of ``mr`` or ``fsdd-unheard`` that is the test set, from 0.
        cut: how the examples of a single file are cut into splits (see `cut_items`); None is
            ``random``.
        rate: the samples per second to which sounds are converted; None is the lowest of the
            recordings.

    Raises:
        FileNotFoundError: if there is no such path, or no training file in the folder.
        ValueError: for an unknown name, an option without effect, or a malformed line.
        DownloadError, ChecksumError: see `fetch`.
    """
    if data in LABELLED_SETS:
        check_own_splits("load_labelled", data, valid_fraction, test_fraction, cut or "order")
        if encoding != "utf-8":
            raise ValueError(
                f'load_labelled: the encoding of "{data}" is known, got {encoding}. Leave '
                "--encoding out."
            )
        if fold and data not in NUM_FOLDS:
            raise ValueError(f'--fold {fold}: {_with_folds()} folds, got "{data}". Leave it out.')
        if not 0 <= fold < NUM_FOLDS.get(data, 1):
            raise ValueError(f"--fold: expected 0 to {NUM_FOLDS[data] - 1}, got {fold}.")
        labelled = LABELLED_SETS[data](fold)
        if rate in (None, labelled.rate) or labelled.rate is None:
            return labelled
        splits = {
            split: at_rate(part, labelled.rate, rate) for split, part in labelled.splits.items()
        }
        return replace(labelled, splits=splits, rate=rate)
    path = existing(data, LABELLED_SETS)
    if fold:
        raise ValueError(f"--fold {fold}: {_with_folds()} folds. Leave it out.")
    name = path.resolve().name
    kind, rate, parts = read_own(path, encoding, rate)
    if kind in ("audio", "pen"):
        files, how = cut_own(
            *("load_labelled", name, parts, valid_fraction, test_fraction, "recordings"),
            *(cut or ("order" if "valid" in parts else "random"), _content),
        )
        return Labelled(name, files, kind, cut=how, rate=rate)
    if "valid" in parts:
        check_own_splits("load_labelled", name, valid_fraction, test_fraction, cut or "order")
        splits = parts
    elif "train" in parts:
        check_own_splits("load_labelled", name, None, test_fraction, cut or "order")
        splits = parts | split_off(parts["train"], _fraction(valid_fraction))
    else:
        examples, cut = parts["all"], cut or "random"
        splits = cut_items(name, examples, valid_fraction, test_fraction, "examples", cut, _content)
    return Labelled(name, splits, kind, cut=cut)


def read_own(
    path: Path, encoding: str = "utf-8", rate: int | None = None
) -> tuple[str, int | None, dict[str, list[Example]]]:
    """The kind, the rate and the examples of the user's own file or folder; see `load_labelled`.

    Returns:
        The rate is that of sounds, and None for other kinds. The examples are "all", or those of
        each split that has a file or a folder of its own.
    """
    if path.is_dir() and has_class_folders(path):
        if encoding != "utf-8":
            raise ValueError(f"--encoding {encoding}: is of texts. Leave it out.")
        return read_class_folders(path, rate)
    if path.is_dir():
        kind, parts = _read_folder(path, encoding)
        return kind, None, parts
    kind, examples = read_labelled(path, encoding)
    return kind, None, {"all": examples}


def read_labelled(path: Path, encoding: str = "utf-8") -> tuple[str, list[Example]]:
    """The kind ("text" or "series") and the examples of one file, in their order."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file.")
    if path.suffix not in _SUFFIXES:
        raise ValueError(
            f"{path}: expected a file that ends with {', '.join(_SUFFIXES)}, got "
            f"{path.suffix or 'no ending'!r}."
        )
    text = with_line_feeds(decoded(read_once(path), encoding, path))
    if path.suffix == ".ts":
        return "series", ts_series(text, str(path))
    if path.suffix != ".csv":
        kind, examples = "text", tsv_texts(text, str(path))
    elif "series" in text.partition("\n")[0].split(","):
        kind, examples = "series", csv_series(text, str(path))
    else:
        kind, examples = "text", csv_texts(text, str(path))
    if not examples:
        raise ValueError(f"{path}: expected labelled examples, got an empty file.")
    return kind, examples


def _read_folder(folder: Path, encoding: str) -> tuple[str, dict[str, list[Example]]]:
    files = next(filter(None, (split_files(folder, ending) for ending in _SUFFIXES)), None)
    if files is None:
        raise FileNotFoundError(
            f"{folder}: expected a file train and perhaps valid and test, all of one ending of "
            f"{', '.join(_SUFFIXES)}, got no file train. Name one so, or give --data a file."
        )
    read = {split: read_labelled(file, encoding) for split, file in files.items()}
    kinds = {kind for kind, _ in read.values()}
    if len(kinds) > 1:
        raise ValueError(f"{folder}: expected files of one kind, got texts and series.")
    return kinds.pop(), {split: examples for split, (_, examples) in read.items()}


def _with_folds() -> str:
    names = " and ".join(f'"{name}"' for name in NUM_FOLDS)
    return f"only {names} have"


def _fraction(valid_fraction: float | None) -> float:
    fraction = 0.1 if valid_fraction is None else valid_fraction
    if not 0 < fraction <= 0.5:
        raise ValueError(f"--valid_fraction: expected more than 0 and at most 0.5, got {fraction}.")
    return fraction


def _content(example: Example) -> object:
    """What two examples must share to stand in one split."""
    content = example.content
    return content if isinstance(content, str) else (content.shape, content.tobytes())
