"""Reads words with labels from a named data set, a file, or a folder of files."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

from throughtime.checks import unknown
from throughtime.data.columns import read_columns, read_conllu
from throughtime.data.files import reopenable
from throughtime.data.label_schemes import label_parts, mark_spans, spans_of, to_labels
from throughtime.data.splits import Cut, cut_own
from throughtime.data.tagged_sets import TAGGED_SETS, Sentence
from throughtime.data.text import decoded

__all__ = ["TaggedSet", "load_tagged", "read_tagged"]

_log = logging.getLogger(__name__)
_VALIDATION = ("valid", "val", "dev", "validation")


@dataclass(frozen=True)
class TaggedSet:
    """Sentences with a label for each word, in splits for training, validation and test.

    Args:
        name: the name of the data set, file or folder.
        splits: the sentences of "train", "valid" and "test". Labels that mark spans are in IOB2,
            whatever the scheme of the file.
        has_spans: whether the labels mark spans of words, or are labels of single words.
        cut: how they were cut into splits; None if they came in splits.
    """

    name: str
    splits: dict[str, list[Sentence]] = field(repr=False)
    has_spans: bool
    cut: Cut | None = None

    @property
    def has_intents(self) -> bool:
        """Whether each sentence has a label of its own, too."""
        return any(sentence.intent for sentence in self.splits["train"])

    def fingerprint(self) -> str:
        """The sha256 of all splits; two runs with equal fingerprints have the same sentences."""
        digest = hashlib.sha256()
        for split, sentences in sorted(self.splits.items()):
            digest.update(f"{split} {len(sentences)}\n".encode())
            for sentence in sentences:
                # A line feed is in no word, because a file has a word on each line.
                row = "\n".join((*sentence.words, "", *sentence.labels, sentence.intent, ""))
                digest.update(row.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def load_tagged(
    data: str,
    *,
    encoding: str = "utf-8",
    word_column: int | None = None,
    label_column: int | None = None,
    labels: str = "auto",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    cut: Cut = "order",
) -> TaggedSet:
    """Reads sentences with a label for each word.

    Args:
        data: the name of one of `TAGGED_SETS`; or a file with a word on each line, with columns
            separated by tabs or spaces, and an empty line after each sentence; or a CoNLL-U file,
            whose name ends with ``.conllu``; or a folder with such files: train, valid (or val, dev
            or validation) and any that begin with test, with any ending. Only train is needed.
        encoding: the encoding of the user's own files.
        word_column, label_column: the columns of the word and its label, from 1; None is the first
            and the last, and in CoNLL-U the second and the fourth.
        labels: ``spans`` in IOB1, IOB2 or IOBES; ``tags``, which are labels of single words; or
            ``auto``, which is spans if a label has a mark and a type, such as B-PER.
        valid_fraction, test_fraction: the fractions of a single file, or of the training file of a
            folder that has no other, for validation and test; None is 0.1 and 0.
        cut: how these are cut into splits; see :func:`throughtime.data.splits.cut_items`. Sentences
            of equal words are equal.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for an unknown name, an option without effect, or a malformed line, with the
            file and the number of the line.
        DownloadError, ChecksumError: see `throughtime.data.fetch`.

    >>> load_tagged("conll2003").splits["train"][0].labels  # doctest: +SKIP
    ('B-ORG', 'O', 'B-MISC', 'O', 'O', 'O', 'B-MISC', 'O', 'O')
    """
    if data in TAGGED_SETS:
        own = {
            "encoding": None if encoding == "utf-8" else encoding,
            "word_column": word_column,
            "label_column": label_column,
            "labels": None if labels == "auto" else labels,
            "valid_fraction": valid_fraction,
            "test_fraction": test_fraction,
            "split": None if cut == "order" else cut,
        }
        for option, value in own.items():
            if value is not None:
                raise ValueError(
                    f'load_tagged: expected no {option} because "{data}" comes with its own, got '
                    f"{value}. Leave --{option} out."
                )
        splits = TAGGED_SETS[data]()
        has_spans = mark_spans(label for row in splits["train"] for label in row.labels)
        if has_spans:
            splits = {split: [_in_iob2(row) for row in part] for split, part in splits.items()}
        return TaggedSet(data, splits, has_spans)
    path = Path(data).expanduser()
    if not path.exists():
        raise _not_found(data)
    columns = (encoding, word_column, label_column)
    files = _files_of_splits(path) if path.is_dir() else {"train": path}
    train, has_spans = read_tagged(files["train"], *columns, labels)
    kind = "spans" if has_spans else "tags"
    others = {
        split: read_tagged(file, *columns, kind)[0]
        for split, file in files.items()
        if split != "train"
    }
    splits = {"train" if others else "all": train, **others}
    fractions = (valid_fraction, test_fraction)
    splits, how = cut_own(
        "load_tagged", path.name, splits, *fractions, "sentences", cut, lambda row: row.words
    )
    return TaggedSet(path.name, splits, has_spans, how)


def read_tagged(
    path: Path,
    encoding: str = "utf-8",
    word_column: int | None = None,
    label_column: int | None = None,
    labels: str = "auto",
) -> tuple[list[Sentence], bool]:
    """The sentences of a file, and whether their labels mark spans; see :func:`load_tagged`."""
    text = decoded(reopenable(path).read_bytes(), encoding, path)
    is_conllu = path.suffix == ".conllu"
    rows = (read_conllu if is_conllu else read_columns)(text, str(path))
    width = len(rows[0][0].cells)
    word = _column(path, "word_column", word_column, 2 if is_conllu else 1, width)
    label = _column(path, "label_column", label_column, 4 if is_conllu else width, width)
    has_spans = labels == "spans" or (
        labels == "auto" and mark_spans(row.cells[label] for part in rows for row in part)
    )
    if has_spans:
        for row in (row for part in rows for row in part):
            try:
                label_parts(row.cells[label])
            except ValueError as error:
                raise ValueError(
                    f"{path}, line {row.line}: {error} in column {label + 1}. Correct it, or pass "
                    "--labels tags if the labels do not mark spans."
                ) from error
    sentences = [
        Sentence(tuple(r.cells[word] for r in part), tuple(r.cells[label] for r in part))
        for part in rows
    ]
    return [_in_iob2(row) for row in sentences] if has_spans else sentences, has_spans


def _column(path: Path, name: str, number: int | None, default: int, width: int) -> int:
    """The index of a column, from 0; the user counts from 1."""
    column = default if number is None else number
    if not 1 <= column <= width:
        raise ValueError(
            f"{path}: expected --{name} from 1 to {width}, the number of columns, got {column}."
        )
    return column - 1


def _in_iob2(sentence: Sentence) -> Sentence:
    labels = to_labels(spans_of(sentence.labels), len(sentence.labels), "iob2")
    return sentence._replace(labels=tuple(labels))


def _files_of_splits(folder: Path) -> dict[str, Path]:
    """The files of a folder by split, in the order train, valid, tests."""
    files: dict[str, Path] = {}
    others = []
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        split = "valid" if file.stem in _VALIDATION else file.stem
        if split not in ("train", "valid") and not split.startswith("test"):
            others.append(file.name)
        elif split in files:
            raise ValueError(
                f"{folder}: expected one file for {split}, got {files[split].name} and "
                f"{file.name}. Remove one of them."
            )
        else:
            files[split] = file
    if "train" not in files:
        raise FileNotFoundError(
            f"{folder}: expected a file train with any ending in this folder, got "
            f"{', '.join(others[:10]) or 'no such file'}. Rename the file of the training, or give "
            "--data its path."
        )
    if others:
        _log.warning(
            "%s: only %s are read, and not %s.",
            *(folder, ", ".join(file.name for file in files.values()), ", ".join(others)),
        )
    order = {"train": 0, "valid": 1}
    return dict(sorted(files.items(), key=lambda item: order.get(item[0], 2)))


def _not_found(data: str) -> Exception:
    """The error if there is no such path; a name, without folders, gets the nearest data set."""
    if data != Path(data).name:
        return FileNotFoundError(
            f"{data}: no such file or folder. Give --data a path that exists, or a data set: "
            f"{', '.join(TAGGED_SETS)}."
        )
    return ValueError(
        f"{unknown('data set', data, TAGGED_SETS)} Nor is there a file or folder of that name here."
    )
