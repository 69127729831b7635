"""Reads pairs of texts from a named data set, two parallel files, or a file with tabs."""

from __future__ import annotations

import gzip
import hashlib
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from throughtime.checks import unknown
from throughtime.data.files import reopenable
from throughtime.data.line_ends import lines
from throughtime.data.pair_sets import PAIR_SETS
from throughtime.data.split_files import split_files
from throughtime.data.splits import Cut, cut_own
from throughtime.data.text import decoded

__all__ = ["Pair", "PairSet", "load_pairs", "num_read", "read_pairs", "warn_of_long_sources"]

_SPLIT_NAMES = {"val": "valid", "dev": "valid"}
_log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """A source text and its target text."""

    source: str
    target: str


@dataclass(frozen=True)
class PairSet:
    """The pairs of a data set in splits for training, validation and test.

    Pairs with an empty side are left out of the training split. The other splits keep them, so that
    line n of an output belongs to line n of the file.

    Args:
        name: the name of the data set or of the files.
        splits: the pairs of "train", "valid" and the tests, by name.
        kinds: the names of the tokenisers that suit the two sides; see
            `throughtime.data.TOKENISERS`.
        num_left_out: the number of training pairs that were left out.
        cut: how they were cut into the splits; None if they come in splits.
    """

    name: str
    splits: dict[str, list[Pair]] = field(repr=False)
    kinds: tuple[str, str] = ("words", "words")
    num_left_out: int = 0
    cut: Cut | None = field(default=None, compare=False)

    def fingerprint(self) -> str:
        """The sha256 of all splits; two runs with equal fingerprints have the same pairs."""
        digest = hashlib.sha256()
        for split, pairs in sorted(self.splits.items()):
            digest.update(f"{split} {len(pairs)}\n".encode())
            for side in (text for pair in pairs for text in pair):
                # Without the lengths, a boundary between two texts could move unnoticed.
                digest.update(f"{len(side)} ".encode())
                digest.update(side.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def load_pairs(
    data: str | Sequence[str],
    *,
    languages: str | None = None,
    encoding: str = "utf-8",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    cut: Cut = "order",
) -> PairSet:
    r"""Reads pairs of texts, in splits for training, validation and test.

    Lines end with ``\n`` or ``\r\n``;
    see :func:`throughtime.data.line_ends.with_line_feeds`. Files whose names end with ``.gz`` are
    decompressed.

    Args:
        data: one of these: the name of one of `PAIR_SETS`; two files with corresponding lines, as a
            list or separated by a comma; one file with source, tab and target on each line; a
            folder of such files, train.tsv, valid.tsv and test.tsv, which are the splits (see
            `throughtime.data.split_files`; without valid.tsv, train.tsv is cut); or, with
            ``languages``, the prefix of two files (``corpus/train`` for corpus/train.de and
            corpus/train.en), or a folder of such files, which are the splits: train, valid (or val
            or dev), and any others as tests.
        languages: the file name endings of source and target, such as ``de-en``.
        encoding: the encoding of the user's own files.
        valid_fraction: the fraction of the pairs for validation; None is 0.1.
        test_fraction: the fraction of the pairs for the test; None is 0.
        cut: how pairs that do not come in splits are cut into these; see
            `throughtime.data.splits.cut_items`. Pairs of equal sources are equal.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for an unknown name, a pipe, or an option without effect; for files that differ
            in the number of lines, are empty, are damaged or are not in this encoding; for a line
            without a tab; for fractions that are out of range or leave a split empty.
        DownloadError, ChecksumError: see `throughtime.data.fetch`.

    >>> load_pairs("scan-length").splits["train"][0]  # doctest: +SKIP
    Pair(source='walk opposite right thrice after run opposite right', target='I_TURN_RIGHT I_…')
    """
    if isinstance(data, str) and data in PAIR_SETS:
        options = {"languages": languages, "valid_fraction": valid_fraction}
        options |= {"test_fraction": test_fraction, "split": None if cut == "order" else cut}
        options["encoding"] = None if encoding == "utf-8" else encoding
        for option, value in options.items():
            if value is not None:
                raise ValueError(
                    f'load_pairs: expected no {option} because "{data}" comes with its own, got '
                    f"{value}. Leave --{option} out."
                )
        splits, kinds = PAIR_SETS[data]()
        return _without_empty_training(
            data, {split: [Pair(*pair) for pair in pairs] for split, pairs in splits.items()}, kinds
        )
    name, parts = read_pairs(data, languages, encoding)
    fractions = (valid_fraction, test_fraction)
    parts, how = cut_own(
        "load_pairs", name, parts, *fractions, "pairs", cut, lambda pair: pair.source
    )
    return replace(_without_empty_training(name, parts, ("words", "words")), cut=how)


def num_read(longest: int) -> int:
    """The number of tokens to which a source is cut.

    The limit is ten times the longest source of the training, and at least 1,000. A network has
    not learned to process longer sources, but time and memory grow with the source and its output.

    Args:
        longest: the length in tokens of the longest source of the training.
    """
    return max(10 * longest, 1000)


def warn_of_long_sources(lengths: Sequence[int], longest: int, unit: str = "tokens") -> list[int]:
    """Logs warnings of sources that are more than twice as long as the longest of the training.

    A network has not learned to process such sources. Those longer than :func:`num_read` are cut.

    Args:
        lengths: the lengths of the sources.
        longest: the length of the longest source of the training.
        unit: what the lengths count, in the plural.

    Returns:
        The indices of these sources.
    """
    too_long = [i for i, length in enumerate(lengths) if length > 2 * longest]
    limit = num_read(longest)
    cut = [i for i in too_long if lengths[i] > limit]
    for i in too_long[:5]:
        _log.warning(
            "line %d: the source has %d %s, the longest of the training %d: %s. "
            "Cut it into shorter ones.",
            *(i + 1, lengths[i], unit, longest),
            f"only its first {limit} are read" if i in cut else "what is made of it may be poor",
        )
    if len(too_long) > 5:
        _log.warning("%d more sources are as long.", len(too_long) - 5)
    if cut and cut[-1] not in too_long[:5]:
        _log.warning("Of %d sources only the first %d %s are read.", len(cut), limit, unit)
    return too_long


def read_pairs(
    data: str | Sequence[str], languages: str | None = None, encoding: str = "utf-8"
) -> tuple[str, dict[str, list[Pair]]]:
    """Reads the user's own pairs, and cuts them into no splits.

    Args:
        data, languages, encoding: see :func:`load_pairs`; no name of a data set.

    Returns:
        A name for them, and the pairs of each split, or all pairs as the single split "all".
    """
    if isinstance(data, str):
        path = Path(data).expanduser()
        # A comma separates two files, unless it is part of a prefix, which is not a file itself.
        are_two = "," in data and Path(data.partition(",")[0]).expanduser().is_file()
        if languages is not None and not are_two:
            return path.name, _read_languages(path, languages, encoding)
        if path.exists() and not path.is_dir():
            return path.name, {"all": _read_tabs(path, encoding)}
        if path.is_dir():
            files = split_files(path, ".tsv")
            if files:
                splits = {split: _read_tabs(file, encoding) for split, file in files.items()}
                return path.name, splits
            raise ValueError(
                f"{path}: is a folder; which files in it are source and target? "
                "Give --languages, such as de-en for the files that end with .de and .en; or name "
                "files with source, tab and target on each line train.tsv, valid.tsv, test.tsv."
            )
        if "," not in data:
            raise _not_found(data)
        data = data.split(",")
    if languages is not None:
        raise ValueError(
            f"load_pairs: expected no languages because two files are given, got {languages}. "
            "Leave --languages out."
        )
    if len(data) != 2:
        raise ValueError(
            f"load_pairs: expected two files, source and target, got {len(data)}: "
            f"{', '.join(data)}. Give --data SOURCE,TARGET."
        )
    source, target = (Path(file.strip()).expanduser() for file in data)
    return f"{source.name},{target.name}", {"all": _read_lines_of_two(source, target, encoding)}


def _read_languages(path: Path, languages: str, encoding: str) -> dict[str, list[Pair]]:
    ends = languages.split("-")
    if len(ends) != 2 or not all(ends):
        raise ValueError(
            f"load_pairs: expected languages as de-en, the endings of two file names, got "
            f"{languages}."
        )
    if not path.is_dir():
        source, target = (_with_end(path, end) for end in ends)
        return {"all": _read_lines_of_two(source, target, encoding)}
    stems = {
        file.name.removesuffix(".gz").removesuffix(f".{ends[0]}"): file
        for file in sorted(path.iterdir())
        if file.name.removesuffix(".gz").endswith(f".{ends[0]}")
    }
    splits = {
        _SPLIT_NAMES.get(stem, stem): _read_lines_of_two(
            file, _with_end(path / stem, ends[1]), encoding
        )
        for stem, file in stems.items()
    }
    for split in ("train", "valid"):
        if split not in splits:
            raise FileNotFoundError(
                f"{path}: expected {split}.{ends[0]} and {split}.{ends[1]} in this folder, got "
                f"{', '.join(stems) or 'no file that ends with .' + ends[0]}. "
                "Give --data the prefix of two files, which are then split."
            )
    return splits


def _with_end(prefix: Path, end: str) -> Path:
    """The file with that prefix and ending, or its compressed form if only that exists."""
    plain = prefix.with_name(f"{prefix.name}.{end}")
    compressed = prefix.with_name(f"{prefix.name}.{end}.gz")
    return compressed if compressed.is_file() and not plain.is_file() else plain


def _read_lines_of_two(source: Path, target: Path, encoding: str) -> list[Pair]:
    sources, targets = _read_lines(source, encoding), _read_lines(target, encoding)
    if len(sources) != len(targets):
        raise ValueError(
            f"{source} has {len(sources):,} lines and {target} {len(targets):,}: expected as many "
            "in both, because line n of the one belongs to line n of the other. Look for a line "
            "that is missing, or broken in two."
        )
    return [Pair(*sides) for sides in zip(sources, targets, strict=True)]


def _read_tabs(path: Path, encoding: str) -> list[Pair]:
    pairs, num_columns = [], 2
    for number, line in enumerate(_read_lines(path, encoding), 1):
        columns = line.split("\t")
        if len(columns) < 2 and line.strip():
            raise ValueError(
                f"{path}, line {number}: expected the source, a tab and the target, got no tab: "
                f"{line[:60]!r}. Put a tab in, or give --data two files: SOURCE,TARGET."
            )
        pairs.append(Pair(*columns[:2]) if len(columns) > 1 else Pair("", ""))
        num_columns = max(num_columns, len(columns))
    if num_columns > 2:
        _log.warning(
            "%s has %d columns: the first is the source, the second the target, the others are "
            "not read.",
            *(path, num_columns),
        )
    return pairs


def _read_lines(path: Path, encoding: str) -> list[str]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Give --data a path that exists.")
    content = reopenable(path).read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{path}: expected a gzip file, got a damaged one ({error}). Copy it again."
            ) from error
    text = decoded(content, encoding, path)
    if not text:
        raise ValueError(f"{path}: expected lines of text, got an empty file.")
    return lines(text)


def _without_empty_training(
    name: str, splits: Mapping[str, list[Pair]], kinds: tuple[str, str]
) -> PairSet:
    """The set of these pairs, without training pairs of which a side is empty."""
    empty = [
        number
        for number, pair in enumerate(splits["train"], 1)
        if not (pair.source.strip() and pair.target.strip())
    ]
    if len(empty) == len(splits["train"]):
        raise ValueError(
            f"{name}: expected pairs to learn from, got {len(empty)} with empty sides."
        )
    if empty:
        shown = ", ".join(map(str, empty[:10])) + (", …" if len(empty) > 10 else "")
        _log.warning(
            "%s: %d of %d pairs of the training have an empty side and are left out (line %s).",
            *(name, len(empty), len(splits["train"]), shown),
        )
    left_out = set(empty)
    kept = [pair for number, pair in enumerate(splits["train"], 1) if number not in left_out]
    return PairSet(name, {**splits, "train": kept}, kinds, len(empty))


def _not_found(data: str) -> Exception:
    """The error if there is no such path; a name, without folders, gets the nearest data set."""
    if data != Path(data).name:
        return FileNotFoundError(
            f"{data}: no such file or folder. Give --data a path that exists, or a data set: "
            f"{', '.join(PAIR_SETS)}."
        )
    return ValueError(
        f"{unknown('data set', data, PAIR_SETS)} Nor is there a file or folder of that name here."
    )
