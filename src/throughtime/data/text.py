"""Reads a text from a file, a folder, a named data set, or Python's standard library."""

from __future__ import annotations

import codecs
import hashlib
import logging
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from throughtime.checks import unknown
from throughtime.data.download import FILES, DownloadError, fetch
from throughtime.data.files import read_once
from throughtime.data.line_ends import with_line_feeds
from throughtime.data.split_files import split_files
from throughtime.data.splits import Cut, check_own_splits, cut_text

__all__ = ["TEXT_SETS", "Corpus", "decoded", "fingerprint", "load", "read_text"]

_ENCODINGS = ("utf-8", "utf-16", "ascii", "latin-1", "cp1252", "cp1251", "gb18030", "shift_jis")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpus:
    """A text in splits for training, validation and test.

    Args:
        name: the name of the data set, file or folder.
        splits: the texts of "train", "valid" and "test"; a split without any text is absent.
        cut: how a single text was cut into these; None if it comes in splits.
    """

    name: str
    splits: dict[str, str] = field(repr=False)
    cut: Cut | None = field(default=None, repr=False, compare=False)


def _every_second_character(text: str) -> str:
    """Decodes the format of ptb-char: a space follows each character, and ``_`` is a space."""
    return text[::2].replace("_", " ")


TEXT_SETS: dict[str, Callable[[str], str]] = {
    "tinyshakespeare": str,
    "warpeace": str,
    "ptb-char": _every_second_character,
}
"""The data sets of plain text, each with a function that converts the content of its files."""


def load(
    data: str | None,
    *,
    encoding: str = "utf-8",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    cut: Cut = "order",
) -> Corpus:
    r"""Reads a text, in splits for training, validation and test.

    Line ends become ``\n``; see :func:`throughtime.data.line_ends.with_line_feeds`. A byte-order
    mark at the start is removed.

    Args:
        data: one of these: the name of one of `TEXT_SETS`; the path of a text file or a pipe; the
            path of a folder with the files train.txt, valid.txt and test.txt, which are the splits
            (see `throughtime.data.split_files`; without valid.txt, train.txt is cut); the path of
            another folder, whose ``*.txt`` and ``*.py`` files are read in the order of their names;
            None for the source of Python's standard library.
        encoding: the encoding of the user's own files.
        valid_fraction: the fraction of the characters for validation; None is 0.1.
        test_fraction: the fraction of the characters for the test; None is 0.
        cut: how a single text is cut into splits; see `throughtime.data.splits.cut_items`, whose
            items are its lines.

    Raises:
        FileNotFoundError: if there is no such path, or no text in the folder.
        ValueError: for an unknown name or encoding, or an option without effect; for a text that is
            empty or not in this encoding; for fractions that are out of range or leave a split
            empty.
        DownloadError, ChecksumError: see `fetch`.

    >>> load(None)
    Corpus(name='python-stdlib')
    """
    name, parts = _read(data, encoding)
    if "all" in parts:
        parts = cut_text(name, parts["all"], valid_fraction, test_fraction, cut)
        return Corpus(name, parts, cut)
    if "valid" not in parts and data not in TEXT_SETS:
        check_own_splits("load", name, None, test_fraction, "order")
        return Corpus(name, parts | cut_text(name, parts["train"], valid_fraction, 0, cut), cut)
    check_own_splits("load", name, valid_fraction, test_fraction, cut)
    return Corpus(name, parts)


def read_text(data: str | None, encoding: str = "utf-8") -> dict[str, str]:
    """Reads a text without cutting it: its splits, or the whole text as the single split "all".

    Args:
        data, encoding: see :func:`load`.
    """
    return _read(data, encoding)[1]


def fingerprint(corpus: Corpus) -> str:
    """The sha256 of all splits; two runs with equal fingerprints have the same text."""
    digest = hashlib.sha256()
    for split, text in sorted(corpus.splits.items()):
        digest.update(f"{split} {len(text)}\n".encode())
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _read(data: str | None, encoding: str) -> tuple[str, dict[str, str]]:
    """The name of a text and its splits, or the whole text as the single split "all"."""
    is_set = data in TEXT_SETS
    if data and not is_set and (path := Path(data).expanduser()).exists():
        # Resolving the path of a pipe, /dev/fd/63, would give a meaningless name.
        name = path.resolve().name if path.is_file() or path.is_dir() else path.name
        files = split_files(path, ".txt") if path.is_dir() else {}
        if files:
            # Each split ends with a line end, so that no line continues in the next split.
            texts = {split: _read_path(file, encoding) for split, file in files.items()}
            return name, {split: f"{text.removesuffix(chr(10))}\n" for split, text in texts.items()}
        return name, {"all": _read_path(path, encoding)}
    if data is not None and not is_set:
        raise _not_found(data)
    if encoding != "utf-8":
        raise ValueError(
            f"load: expected no encoding because it is known for {data or 'the standard library'}, "
            f'got "{encoding}". Leave --encoding out, or give --data the path of a text.'
        )
    if data is None:
        return "python-stdlib", {"all": _read_standard_library()}
    return data, _read_set(data)


def _read_path(path: Path, encoding: str) -> str:
    files = [path]
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in {".txt", ".py"} and f.is_file())
        if not files:
            raise FileNotFoundError(
                f"{path}: expected *.txt or *.py files in this folder, got none. "
                "Give --data a folder that has some, or the path of one file."
            )
    texts = [with_line_feeds(decoded(read_once(file), encoding, file)) for file in files]
    if not any(texts):
        raise ValueError(f"{path}: expected a text, got no characters. Give --data another path.")
    return "\n".join(texts)


def _read_set(name: str) -> dict[str, str]:
    texts = {}
    for part, file in FILES[name].items():
        try:
            content = fetch(file)
        except DownloadError as error:
            # A file without an address is optional: the other splits are usable without it.
            if file.url is not None:
                raise
            _log.warning("%s is used without its %s split. %s", name, part, error)
        else:
            text = with_line_feeds(decoded(content, "utf-8", file.mirror))
            texts[part] = TEXT_SETS[name](text)
    return texts


def _read_standard_library() -> str:
    folder = Path(sysconfig.get_path("stdlib"))
    sources = [path.read_bytes() for path in sorted(folder.glob("*.py"))]
    texts = [
        with_line_feeds(decoded(source, "ascii", folder)) for source in sources if source.isascii()
    ]
    if not texts:
        raise FileNotFoundError(
            f"{folder}: expected the *.py files of the standard library, got none. "
            "Give a text with --data."
        )
    return "\n".join(texts)


def decoded(content: bytes, encoding: str, where: Path | str) -> str:
    """Decodes a file, and removes a byte-order mark at its start; line ends stay unchanged.

    Args:
        content: the bytes of the file.
        encoding: the encoding of the file.
        where: the name of the file, for error messages.

    Raises:
        ValueError: if the encoding is unknown, or the bytes are not in this encoding.
    """
    try:
        text = content.decode(encoding)
    except LookupError:
        raise unknown("encoding", encoding, _ENCODINGS) from None
    except UnicodeDecodeError as error:
        line_end = "\n" if "\n" in content.decode(encoding, "replace") else "\r"
        line = content[: error.start].decode(encoding, "replace").count(line_end) + 1
        raise ValueError(
            f"{where}: expected text in {encoding}, got byte 0x{content[error.start]:02x} at byte "
            f"offset {error.start}, line {line}. "
            f"Pass its encoding, perhaps --encoding {_likely_encoding(content)}."
        ) from error
    return text.removeprefix("\ufeff")


def _likely_encoding(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for encoding in ("utf-8", "cp1252"):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def _not_found(data: str) -> Exception:
    """The error if there is no such path; a name, without folders, gets the nearest data set."""
    if data != Path(data).name:
        return FileNotFoundError(
            f"{data}: no such file or folder. Give --data a path that exists, "
            f"or a data set: {', '.join(TEXT_SETS)}."
        )
    return ValueError(
        f"{unknown('data set', data, TEXT_SETS)} Nor is there a file or folder of that name here."
    )
