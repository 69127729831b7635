"""Reads tunes in ABC: a named set, a file, or a folder, in splits."""

from __future__ import annotations

import hashlib
import io
import logging
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from throughtime.checks import unknown
from throughtime.data.download import FILES, fetch
from throughtime.data.files import read_once
from throughtime.data.line_ends import with_line_feeds
from throughtime.data.music.abc_tokens import ABCError, Tune, tunes_of
from throughtime.data.split_files import split_files
from throughtime.data.splits import Cut, cut_own
from throughtime.data.text import decoded

__all__ = ["TUNE_SETS", "TuneSet", "load_tunes"]

TUNE_SETS: dict[str, tuple[str, ...]] = {
    "oneill": ("oneill",),
    "nottingham-abc": ("nottingham-abc",),
    "ryan": ("ryan",),
    "aird": ("aird",),
    "essen": ("essen",),
    "folk": ("oneill", "nottingham-abc", "ryan", "aird"),
}
"""The named sets of tunes, each with the collections in it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuneSet:
    """Tunes in splits for training, validation and test.

    Args:
        name: the name of the set, file or folder.
        splits: the tunes of "train", "valid" and "test"; a split without any is absent.
        skipped: for each tune that cannot be read, the reason with its place.
        cut: how the tunes were cut into splits; None if they came in splits.
    """

    name: str
    splits: dict[str, list[Tune]] = field(repr=False)
    skipped: list[str] = field(repr=False)
    cut: Cut | None = None

    def fingerprint(self) -> str:
        """The sha256 of all splits; two sets with equal fingerprints have the same tunes."""
        digest = hashlib.sha256()
        for split, tunes in sorted(self.splits.items()):
            digest.update(f"{split} {len(tunes)}\n".encode())
            for tune in tunes:
                digest.update(f"{' '.join(tune.tokens)}\n".encode())
        return digest.hexdigest()


def load_tunes(
    data: str,
    *,
    encoding: str = "utf-8",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    cut: Cut | None = None,
) -> TuneSet:
    """Reads tunes in ABC as tokens.

    A tune that cannot be read is left out, and a warning says how many there are, and why the first
    one is left out.

    Args:
        data: the name of one of `TUNE_SETS`; an ABC file; or a folder with train.abc, valid.abc and
            test.abc (see `split_files`), or with other ABC files, also in folders in it.
        encoding: the encoding of the user's own files.
        valid_fraction: the fraction of the tunes for validation, if they come in no splits; None is
            0.1.
        test_fraction: the fraction for the test; None is 0, and 0.1 for a named set.
        cut: how the tunes are cut into splits; None is at random, equal tunes together.

    Raises:
        FileNotFoundError: if there is no such path, or no ABC file in the folder.
        ValueError: if no tune can be read, with the first reason; for a text in another encoding;
            and as `cut_own` does.
        DownloadError, ChecksumError: see `fetch`.
    """
    if data in TUNE_SETS:
        texts = {"all": [text for name in TUNE_SETS[data] for text in _set_texts(name)]}
        if encoding != "utf-8":
            raise ValueError(f"--encoding {encoding}: that of {data} is known. Leave it out.")
        name, test_fraction = data, 0.1 if test_fraction is None else test_fraction
    else:
        path = Path(data).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"{unknown('set of tunes, file or folder', data, TUNE_SETS)}")
        name, texts = path.resolve().name, _own_texts(path, encoding)
    parts: dict[str, list[Tune]] = {}
    skipped: list[str] = []
    for split, files in texts.items():
        read = [tune for where, text in files for tune in tunes_of(where, text)]
        parts[split] = [tune for tune in read if isinstance(tune, Tune)]
        skipped += [str(tune) for tune in read if isinstance(tune, ABCError)]
        if not parts[split]:
            reason = f" The first reason: {skipped[0]}" if skipped else ""
            raise ValueError(
                f"{name}: expected tunes in ABC, each from a field X on, got none that can be read "
                f"in {split}.{reason}"
            )
    if skipped:
        number = f"{len(skipped)} {'tune' if len(skipped) == 1 else 'tunes'}"
        _log.warning("%s: %s cannot be read. The first: %s", name, number, skipped[0])
    has_own = "all" not in parts and "valid" in parts
    how: Cut = cut or ("order" if has_own else "random")
    splits, used = cut_own(
        "load_tunes",
        name,
        parts,
        valid_fraction,
        test_fraction,
        "tunes",
        how,
        lambda tune: tune.tokens,
    )
    return TuneSet(name, splits, skipped, used)


def _set_texts(name: str) -> list[tuple[str, str]]:
    """The name and the text of each file of a collection."""
    texts = []
    for part, file in FILES[name].items():
        content = fetch(file)
        if part != "all":
            texts.append((f"{part}.abc", content))
            continue
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            members = sorted((m for m in archive if m.isfile()), key=lambda member: member.name)
            for member in members:
                stream = archive.extractfile(member)
                assert stream is not None
                texts.append((member.name, stream.read()))
    return [(where, with_line_feeds(content.decode("latin-1"))) for where, content in texts]


def _own_texts(path: Path, encoding: str) -> dict[str, list[tuple[str, str]]]:
    if path.is_dir():
        files = {split: [file] for split, file in split_files(path, ".abc").items()}
        if not files:
            files = {"all": sorted(f for f in path.rglob("*.abc") if f.is_file())}
        if not files.get("all", True):
            raise FileNotFoundError(f"{path}: expected files *.abc in this folder, got none.")
    else:
        files = {"all": [path]}
    return {
        split: [
            (str(file), with_line_feeds(decoded(read_once(file), encoding, file))) for file in paths
        ]
        for split, paths in files.items()
    }
