"""Docstrings as Markdown: an extension of griffe, which reads them for the API reference."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`~?([^`]+)`")
_DOCTEST = re.compile(r"^>>> .*\n?(?:^.+\n?)*", re.MULTILINE)


class Markdown(griffe.Extension):
    """Turns references in the form of Sphinx into code, and doctests into code blocks."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """A docstring of the package, without indentation, as Markdown.

    >>> as_markdown("See :func:`~torch.relu`.")
    'See `torch.relu`.'
    """
    text = _ROLE.sub(r"`\1`", docstring)
    return _DOCTEST.sub(lambda code: f"```pycon\n{code[0].rstrip()}\n```\n", text)
