"""Files that a person may edit: read with types and limits, so that every fault has a name.

``text_of``, ``json_of``, ``yaml_of`` and ``rows_of`` read a file; ``typed`` compares what it holds
with what is expected. Every error names the file and the entry.
"""

from throughtime.reading.errors import ReadError, entry, shown
from throughtime.reading.files import (
    json_of,
    json_value,
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
    "rows_of",
    "shown",
    "text_of",
    "typed",
    "yaml_of",
    "yaml_value",
]
