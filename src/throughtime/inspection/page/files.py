"""The files of the page, which lie in the package."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

__all__ = ["FILES", "content_of"]

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
_SHARED = ("page_style.css", "page_theme.js")
"""Those that the page shares with the other pages of the inspection."""


def _files() -> dict[str, Traversable]:
    inspection = resources.files("throughtime.inspection")
    files = [*(inspection / "page" / "static").iterdir(), *(inspection / n for n in _SHARED)]
    return {file.name: file for file in files if _suffix(file.name) in _KINDS}


def _suffix(name: str) -> str:
    return f".{name.rpartition('.')[2]}"


FILES = _files()
"""Every file by its name; index.html is the page."""


def content_of(name: str) -> tuple[bytes, str]:
    """The content of one of :data:`FILES`, and its content type."""
    return FILES[name].read_bytes(), _KINDS[_suffix(name)]
