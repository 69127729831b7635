"""Reads files that a person may edit, with checks of types and limits.

``text_of``, ``json_of``, ``yaml_of`` and ``rows_of`` read a file. ``path_of`` checks the
name of a file. ``typed`` checks a value against its expected kind. Every error names the file and
the entry.
"""

from throughtime.reading.errors import ReadError, entry, shown
from throughtime.reading.files import (
    json_of,
    json_value,
    path_of,
    rows_of,
    text_of,
    yaml_of,
    yaml_value,
)
from throughtime.reading.kinds import Each, Entries, Maybe, Number, Whole, kinds_of, typed

__all__ = [
    "Each",
    "Entries",
    "Maybe",
    "Number",
    "ReadError",
    "Whole",
    "entry",
    "json_of",
    "json_value",
    "kinds_of",
    "path_of",
    "rows_of",
    "shown",
    "text_of",
    "typed",
    "yaml_of",
    "yaml_value",
]
