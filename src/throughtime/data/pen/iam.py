"""The corpus IAM-OnDB: lines of English on a whiteboard, with its published splits.

Whoever owns the corpus unpacks it into one folder:

    lineStrokes/a01/a01-000/a01-000u-01.xml     the strokes of the first line of the form a01-000u
    ascii/a01/a01-000/a01-000u.txt              the transcript of the form, line by line
    trainset.txt  testset_v.txt  testset_f.txt  testset_t.txt      the forms of each split

Source: Liwicki and Bunke, "IAM-OnDB - an on-line English sentence database" (2005); of the use of
the splits, Graves et al., "A novel connectionist system for unconstrained handwriting recognition"
(2009), section 4.
"""

from __future__ import annotations

import logging
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from throughtime.checks import unknown
from throughtime.data.files import read_once
from throughtime.data.line_ends import with_line_feeds
from throughtime.data.pen.trajectory import Trajectory
from throughtime.data.pen.written import Written
from throughtime.data.text import decoded

__all__ = ["SPLITS_OF_IAM", "is_iam", "read_iam", "read_iam_strokes"]

_log = logging.getLogger(__name__)

SPLITS_OF_IAM = {
    "train": "trainset.txt",
    "valid": "testset_v.txt",
    "test": "testset_f.txt",
    "valid2": "testset_t.txt",
}
"""The files with the forms of the splits; ``valid2`` is the second validation set."""

_FORM = re.compile(r"((\w+)-\w*?\d+)[a-z]?")
# The archives of the corpus may have been unpacked into folders of their own.
_PLACES = {
    "lineStrokes": ("lineStrokes", "lineStrokes-all/lineStrokes"),
    "ascii": ("ascii", "ascii-all/ascii"),
}


def is_iam(folder: Path) -> bool:
    """Whether a folder has the strokes of the corpus."""
    return any((folder / place).is_dir() for place in _PLACES["lineStrokes"])


def read_iam(folder: Path, split: str) -> list[Written]:
    """The lines of a split, in the order of its file.

    Args:
        folder: the folder of the corpus; see the module.
        split: a name of `SPLITS_OF_IAM`.

    Raises:
        FileNotFoundError: for a folder, a file of a split or of a form that is missing.
        ValueError: for an unknown split, a malformed name of a form, a line without a transcript,
            or strokes that cannot be read.
    """
    if split not in SPLITS_OF_IAM:
        raise unknown("split of IAM-OnDB", split, SPLITS_OF_IAM)
    strokes, texts = (_place(folder, name) for name in ("lineStrokes", "ascii"))
    forms = _forms(folder, SPLITS_OF_IAM[split])
    lines = [line for where, form in forms for line in _lines(strokes, texts, where, form)]
    if not lines:
        raise ValueError(f'{folder}: expected lines of the split "{split}", got none.')
    return lines


def read_iam_strokes(path: Path) -> Trajectory:
    """The strokes of one line, an XML file; y grows upwards, and not downwards as in the file.

    Raises:
        ValueError: for a file that is empty or no complete XML, without strokes, or with points
            that :class:`Trajectory` refuses.
    """
    content = read_once(path)
    if not content.strip():
        raise ValueError(f"{path}: expected the strokes of a line, got an empty file.")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: expected complete XML, got an error: {error}.") from error
    strokes, times = [], []
    for number, stroke in enumerate(root.iter("Stroke"), 1):
        points = [
            _numbers(point, f"{path}, stroke {number}, point {i}")
            for i, point in enumerate(stroke.iter("Point"), 1)
        ]
        if not points:
            raise ValueError(f"{path}, stroke {number}: expected points, got none.")
        strokes.append([[x, -y] for x, y, _ in points])
        times.append([time for _, _, time in points])
    flat = [time for part in times for time in part]
    is_timed = None not in flat
    if is_timed and any(after < before for before, after in pairwise(flat)):
        _log.warning("%s: its times go back, so they are left out.", path)
        is_timed = False
    try:
        return Trajectory.of_strokes(strokes, times if is_timed else None)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _place(folder: Path, name: str) -> Path:
    for place in _PLACES[name]:
        if (folder / place).is_dir():
            return folder / place
    raise FileNotFoundError(
        f"{folder}: expected a folder {name} of IAM-OnDB, got none. Unpack the corpus there."
    )


def _forms(folder: Path, name: str) -> list[tuple[str, str]]:
    """The place in the file, and the name, of each form of a split."""
    files = [file for file in (folder / name, folder / "task1" / name) if file.is_file()]
    if not files:
        raise FileNotFoundError(
            f"{folder}: expected the file {name} of IAM-OnDB with the names of forms, got none."
        )
    text = with_line_feeds(decoded(read_once(files[0]), "utf-8", files[0]))
    forms = []
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{files[0]}, line {number}"
        if line.strip() and not _FORM.fullmatch(line.strip()):
            raise ValueError(
                f"{where}: expected the name of a form such as a01-000u, got {line.strip()[:40]!r}."
            )
        if line.strip():
            forms.append((where, line.strip()))
    if not forms:
        raise ValueError(f"{files[0]}: expected names of forms, got an empty file.")
    return forms


def _lines(strokes: Path, texts: Path, where: str, form: str) -> list[Written]:
    match = _FORM.fullmatch(form)
    assert match is not None
    below = Path(match[2], match[1])
    transcript = texts / below / f"{form}.txt"
    if not transcript.is_file():
        raise FileNotFoundError(f"{where}: there is no transcript {transcript}.")
    rows = _transcript(transcript)
    files = sorted((strokes / below).glob(f"{form}-*.xml"))
    if not files:
        raise FileNotFoundError(f"{where}: there are no strokes {strokes / below}/{form}-*.xml.")
    if len(files) < len(rows):
        _log.warning(
            "%s: has %d lines, and strokes of %d of them are read.",
            *(transcript, len(rows), len(files)),
        )
    lines = []
    for file in files:
        number = file.stem.removeprefix(f"{form}-")
        if not number.isdecimal() or not 1 <= int(number) <= len(rows):
            raise ValueError(
                f"{file}: expected the number of one of the {len(rows)} lines of {transcript} at "
                f"the end of its name, got {number!r}. Correct the transcript, or move the file."
            )
        lines.append(Written(rows[int(number) - 1], read_iam_strokes(file)))
    return lines


def _transcript(path: Path) -> list[str]:
    """The lines of a form: those after ``CSR:``, the corrected transcript."""
    rows = with_line_feeds(decoded(read_once(path), "utf-8", path)).split("\n")
    rows = [" ".join(row.split()) for row in rows]
    if "CSR:" not in rows:
        raise ValueError(f"{path}: expected a line CSR: before the transcript, got none.")
    lines = [row for row in rows[rows.index("CSR:") + 1 :] if row]
    if not lines:
        raise ValueError(f"{path}: expected the lines of a form after CSR:, got none.")
    return lines


def _numbers(point: ElementTree.Element, where: str) -> tuple[float, float, float | None]:
    try:
        time = point.get("time")
        return (
            float(point.attrib["x"]),
            float(point.attrib["y"]),
            None if time is None else float(time),
        )
    except (KeyError, ValueError):
        raise ValueError(
            f"{where}: expected numbers x and y, and perhaps time, got {point.attrib}."
        ) from None
