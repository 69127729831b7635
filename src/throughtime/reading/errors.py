"""The error of a file that cannot be used, and how it names the entry and the value."""

from __future__ import annotations

__all__ = ["ReadError", "entry", "shown"]


class ReadError(ValueError):
    """A file that a person may edit has a wrong content.

    Args:
        where: the file and the entry in it.
        what: what was expected, and what the file holds.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what


def entry(where: str, name: str | int) -> str:
    """Appends the name or index of an entry to the name of a file or of an entry.

    >>> entry("config.json", "settings"), entry("config.json: settings", "cell")
    ('config.json: settings', 'config.json: settings.cell')
    """
    if isinstance(name, int):
        return f"{where}[{name}]"
    return f"{where}{'.' if ': ' in where else ': '}{_shortened(name)}"


def shown(value: object, most: int = 60) -> str:
    """A value for a message, as Python writes it, shortened.

    >>> shown("cell"), shown(2**70)
    ("'cell'", '1180591620717411303424')
    """
    if isinstance(value, dict | list) and len(value) > 3:
        what = "object" if isinstance(value, dict) else "list"
        return f"{'an' if what == 'object' else 'a'} {what} of {len(value):,} entries"
    return _shortened(repr(value), most)


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 10]}…{text[-9:]}"
