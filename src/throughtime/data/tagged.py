"""Reads words with labels from a named data set, a file, or a folder of files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from throughtime.checks import unknown
from throughtime.data.columns import read_columns, read_conllu
from throughtime.data.files import reopenable
from throughtime.data.label_schemes import label_parts, mark_spans, spans_of, to_labels
from throughtime.data.splits import split_in_order
from throughtime.data.tagged_sets import TAGGED_SETS, Sentence
from throughtime.data.text import decoded

__all__ = ["TaggedSet", "load_tagged", "read_tagged"]

_SPLIT_NAMES = {"val": "valid", "dev": "valid"}


@dataclass(frozen=True)
class TaggedSet:
    """Sentences with a label for each word, in splits for training, validation and test.

    Args:
        name: the name of the data set, file or folder.
        splits: the sentences of "train", "valid" and "test". Labels that mark spans are in IOB2,
            whatever the scheme of the file.
        has_spans: whether the labels mark spans of words, or are labels of single words.
    """

    name: str
    splits: dict[str, list[Sentence]] = field(repr=False)
    has_spans: bool

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
) -> TaggedSet:
    """Reads sentences with a label for each word.

    Args:
        data: the name of one of `TAGGED_SETS`; or a file with a word on each line, with columns
            separated by tabs or spaces, and an empty line after each sentence; or a CoNLL-U file,
            whose name ends with ``.conllu``; or a folder with such files, train, valid (or val or
            dev) and test, with any ending.
        encoding: the encoding of the user's own files.
        word_column, label_column: the columns of the word and its label, from 1; None is the first
            and the last, and in CoNLL-U the second and the fourth.
        labels: ``spans`` in IOB1, IOB2 or IOBES; ``tags``, which are labels of single words; or
            ``auto``, which is spans if a label has a mark and a type, such as B-PER.
        valid_fraction, test_fraction: the fractions of a single file for validation and test; None
            is 0.1 and 0.

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
    if not path.is_dir():
        whole, has_spans = read_tagged(path, *columns, labels)
        splits = split_in_order(path.name, whole, valid_fraction, test_fraction, "sentences")
        return TaggedSet(path.name, splits, has_spans)
    if valid_fraction is not None or test_fraction is not None:
        raise ValueError(
            f'load_tagged: expected no fractions because "{path.name}" is a folder with a file for '
            f"each split, got valid_fraction={valid_fraction}, test_fraction={test_fraction}. "
            "Leave them out."
        )
    files = _files_of_splits(path)
    train, has_spans = read_tagged(files["train"], *columns, labels)
    kind = "spans" if has_spans else "tags"
    splits = {"train": train}
    for split, file in files.items():
        if split != "train":
            splits[split], _ = read_tagged(file, *columns, kind)
    return TaggedSet(path.name, splits, has_spans)


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


def _column(path: Path, name: str, given: int | None, default: int, width: int) -> int:
    """The index of a column, from 0; the user counts from 1."""
    column = default if given is None else given
    if not 1 <= column <= width:
        raise ValueError(
            f"{path}: expected --{name} from 1 to {width}, the number of columns, got {column}."
        )
    return column - 1


def _in_iob2(sentence: Sentence) -> Sentence:
    labels = to_labels(spans_of(sentence.labels), len(sentence.labels), "iob2")
    return sentence._replace(labels=tuple(labels))


def _files_of_splits(folder: Path) -> dict[str, Path]:
    """The files of a folder by split: train, valid and test, in this order."""
    files: dict[str, Path] = {}
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        split = _SPLIT_NAMES.get(file.stem, file.stem)
        if split not in ("train", "valid", "test"):
            continue
        if split in files:
            raise ValueError(
                f"{folder}: expected one file for {split}, got {files[split].name} and "
                f"{file.name}. Remove one of them."
            )
        files[split] = file
    for split in ("train", "valid"):
        if split not in files:
            names = ", ".join(sorted(file.name for file in folder.iterdir())[:10])
            raise FileNotFoundError(
                f"{folder}: expected a file {split} with any ending in this folder, got "
                f"{names or 'no file'}. Give --data one file, which is then split."
            )
    return {split: files[split] for split in ("train", "valid", "test") if split in files}


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
