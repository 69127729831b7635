"""Data sets in the local mirror, without which the tests of their contents are skipped."""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from throughtime.data import FILES, DownloadError


def needs_files(name: str) -> None:
    """Skips the test if the mirror lacks a file of the set of that name in ``FILES``."""
    mirror = os.environ.get("THROUGHTIME_DATA")
    # The sets are never committed, and tests do not use the network.
    if not mirror:
        pytest.skip(f"{name} is needed: set THROUGHTIME_DATA to a folder that has it")
    for file in FILES[name].values():
        # A mirror may hold some sets only.
        if not Path(mirror, file.mirror).is_file():
            pytest.skip(f"THROUGHTIME_DATA={mirror} has no {file.mirror}")


@contextmanager
def reading_data():
    """Skips the test if a data set that is read in the context is not at hand."""
    try:
        yield
    except DownloadError as error:
        # Data sets are not committed; without a mirror and a network there is nothing to test.
        pytest.skip(str(error))
