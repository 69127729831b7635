"""Named data sets: where each file lies, what it must contain, and how it is fetched."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import pooch
from filelock import FileLock

__all__ = ["FILES", "ChecksumError", "DownloadError", "RemoteFile", "fetch"]


class DownloadError(OSError):
    """A file of a data set is neither in the local mirror nor to be downloaded."""


class ChecksumError(ValueError):
    """A file of a data set does not hold what it must hold."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set: where it lies, and the checksum of what it holds.

    Args:
        mirror: its path below the folder that THROUGHTIME_DATA names; `.gz` there is unpacked.
        sha256: the checksum of the content, unpacked.
        url: where this content, unpacked, is downloaded from; None where no upstream has it.
    """

    mirror: str
    sha256: str
    url: str | None


_GITHUB = "https://raw.githubusercontent.com"
_TOMSERCU_LSTM = f"{_GITHUB}/tomsercu/lstm/3b312e3601f5af0d9eb46e99e65e1ddd587a8a05"

FILES: dict[str, dict[str, RemoteFile]] = {
    "tinyshakespeare": {
        "all": RemoteFile(
            mirror="tinyshakespeare/input.txt",
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            url=f"{_GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
            "/data/tinyshakespeare/input.txt",
        ),
    },
    "warpeace": {
        "all": RemoteFile(
            mirror="warpeace/warpeace_input.txt",
            sha256="0139dcd32c37853541e8710281c32d823bb8ea86a86578916305bad06e3da0ea",
            url=f"{_GITHUB}/ThingsOfBeam/Corpus/9aad26592097f5ac852cb11b60bf250f01a39fca"
            "/warpeace_input.txt",
        ),
    },
    # The text is licensed by the LDC for research: fetch it, do not pass it on.
    "ptb-char": {
        "train": RemoteFile(
            mirror="ptb/ptb.char.train.txt.gz",
            sha256="e313d91425e06c4f0a8fb6e881dcce0c291f2a0e9f4dda54833069b122f91da9",
            url=f"{_TOMSERCU_LSTM}/data/ptb.char.train.txt",
        ),
        "valid": RemoteFile(
            mirror="ptb/ptb.char.valid.txt.gz",
            sha256="21661f63ec355085879458b6524644d4add5573541b4be14fb52ab2e2e995eb8",
            url=f"{_TOMSERCU_LSTM}/data/ptb.char.valid.txt",
        ),
        # Spelled from the word-level test set by the rule of the other two.
        "test": RemoteFile(
            mirror="ptb/ptb.char.test.txt.gz",
            sha256="1ef5607ac3c463b16e38bfe7900dd3bfc91de5a96e0f21e7eab5188b465b8ebe",
            url=None,
        ),
    },
}
"""The files of every data set, by the name of the set and then of the part ("all": one file)."""


def fetch(file: RemoteFile) -> bytes:
    """The content of a file: from the local mirror, or else downloaded once into the cache.

    Args:
        file: an entry of `FILES`.

    Raises:
        ChecksumError: the mirror's file is damaged, or is another one.
        DownloadError: the mirror does not have the file, and it cannot be downloaded.
    """
    mirror = os.environ.get("THROUGHTIME_DATA")
    if mirror and (path := Path(mirror, file.mirror)).is_file():
        return _read_mirror(path, file.sha256)
    if file.url is None:
        raise DownloadError(_not_found(file, mirror, "there is nowhere to download it from"))
    try:
        return _download(file.url, file)
    except (OSError, ValueError) as error:
        message = _not_found(file, mirror, f"the download from {file.url} failed")
        raise DownloadError(f"{message} The download said: {error}") from error


def _read_mirror(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    got = "a damaged gzip file"
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        got = hashlib.sha256(content).hexdigest()
    except (EOFError, OSError, zlib.error) as error:
        got += f" ({error})"
    if got != sha256:
        raise ChecksumError(
            f"{path}: expected content of sha256 {sha256}, got {got}. "
            "Delete the file, to have it downloaded where that is possible, or replace it."
        )
    return content


def _download(url: str, file: RemoteFile) -> bytes:
    target = platformdirs.user_cache_path("throughtime") / "data" / file.mirror.removesuffix(".gz")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Of several processes one downloads. pooch checks, and only then moves the file into place.
    with FileLock(f"{target}.lock"):
        pooch.retrieve(url, f"sha256:{file.sha256}", fname=target.name, path=target.parent)
        return target.read_bytes()


def _not_found(file: RemoteFile, mirror: str | None, reason: str) -> str:
    name = next((name for name, parts in FILES.items() if file in parts.values()), "unnamed")
    looked = f"it is not in THROUGHTIME_DATA={mirror}" if mirror else "THROUGHTIME_DATA is not set"
    return (
        f'data set "{name}": cannot get {file.mirror}: {looked}, and {reason}. '
        "Set THROUGHTIME_DATA to a folder that holds this file, or give --data PATH of your own."
    )
