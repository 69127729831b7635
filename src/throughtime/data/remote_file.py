"""The location of a file of a data set."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RemoteFile"]


@dataclass(frozen=True)
class RemoteFile:
    """The location and the checksum of one file of a data set.

    Args:
        mirror: its path in the folder of the environment variable THROUGHTIME_DATA; a file that
            ends with `.gz` is decompressed.
        sha256: the checksum of the decompressed content.
        url: the address of the download, decompressed if it ends with `.gz`; None if the file
            cannot be downloaded.
    """

    mirror: str
    sha256: str
    url: str | None
