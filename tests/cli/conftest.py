"""Fixtures of the tests of commands."""

import pytest

from throughtime.cli.main import main


@pytest.fixture
def said(capsys):
    """Runs a command; returns its exit status, output and errors."""

    def call(*argv):
        # What was written before does not count.
        capsys.readouterr()
        try:
            status = main([str(a) for a in argv])
        except SystemExit as stop:
            status = stop.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return call
