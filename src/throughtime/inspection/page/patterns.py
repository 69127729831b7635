"""Regular expressions of users, which may take forever, under a limit of time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from throughtime.inspection.measures.text_properties import Property, pattern

__all__ = ["timed_pattern"]

_MOST_SECONDS = 3.0
_LONGEST = 1000

# Only the standard library, so that the process starts within some hundredths of a second.
_SEARCH = """
import json, re, sys
expression, texts = json.load(sys.stdin)
compiled = re.compile(expression, re.MULTILINE)
for text in texts:
    for _ in compiled.finditer(text):
        pass
"""


def timed_pattern(expression: str, texts: Sequence[Sequence[str]]) -> Property:
    """The property of :func:`.text_properties.pattern`, if it is computed within 3 seconds.

    Python's regular expressions cannot be interrupted: "(a+)+$" takes years for a text of 50
    letters. So another process, which can be ended, searches the texts first.

    Args:
        expression: the regular expression.
        texts: the steps of each text that the property will be computed for.

    Raises:
        ValueError: if the expression is invalid, too long, or takes too long.
    """
    if len(expression) > _LONGEST:
        raise ValueError(
            f"pattern: expected at most {_LONGEST:,} characters, got {len(expression):,}."
        )
    request = json.dumps([expression, ["".join(steps) for steps in texts]])
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", _SEARCH]
    try:
        subprocess.run(
            command,
            input=request.encode("ascii"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(
            f'pattern: the search for "{expression[:100]}" takes more than {_MOST_SECONDS:g} '
            f"seconds. Repeats inside of repeats, as in (a+)+, are slow; write a simpler one."
        ) from None
    return pattern(expression)
