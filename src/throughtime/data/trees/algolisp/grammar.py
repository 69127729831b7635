"""The grammar of generated specifications: each rule has paraphrases in English and a program.

The rules stand in rules.txt, which says how they are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from throughtime.data.trees.brackets import read_sexpr
from throughtime.data.trees.lists import to_lists

__all__ = ["ASKING", "DEFINITIONS", "FRAMES", "LEAVES", "Rule", "rules"]

Nested = str | list["Nested"]

LEAVES = {"num": "int", "arr": "int[]", "str": "string", "strs": "string[]"}
"""The kinds of phrases that may be the name of an argument, and the types of these arguments."""

FRAMES = (
    "given {0} , {1}{2}",
    "you are given {0} . {1}{2}",
    "you are given {0} , {1}your task is to {2}",
    "consider {0} , {1}your task is to {2}",
    "you have {0} . {1}{2}",
    "let there be {0} . {1}{2}",
)
"""The sentences around the arguments, the definitions and the question."""

DEFINITIONS = ("let {0} be {1} , ", "define {0} as {1} , ", "denote {1} by {0} , ")
"""The sentences that give a part of the question a name."""

_VALUE = ("find {0}", "compute {0}", "calculate {0}", "return {0}", "determine {0}", "output {0}")
_TRUTH = ("check whether {0}", "determine whether {0}", "find out if {0}", "check if {0}")

ASKING = {**dict.fromkeys(LEAVES, _VALUE), "cond": _TRUTH}
"""The questions, by the kind of what is asked for."""


@dataclass(frozen=True)
class Rule:
    """How a phrase of one kind is made.

    Args:
        name: its name.
        kind: the kind of the phrase.
        weight: how often it is drawn, compared with others of its kind.
        parts: the kinds of its parts.
        texts: its paraphrases.
        program: its program as nested lists.
        function: the function of a condition; the program itself for other kinds.
    """

    name: str
    kind: str
    weight: float
    parts: tuple[str, ...]
    texts: tuple[str, ...]
    program: Nested
    function: Nested


def rules() -> dict[str, list[Rule]]:
    """The rules that make phrases of each kind."""
    text = (
        resources.files("throughtime.data.trees.algolisp")
        .joinpath("rules.txt")
        .read_text(encoding="utf-8")
    )
    of_kind: dict[str, list[Rule]] = {}
    for block in _blocks(text):
        kind, name, weight, *parts = block[0].split()
        texts = tuple(line for line in block[1:] if line[0] not in "=~")
        program, *function = (to_lists(read_sexpr(line[1:])) for line in block if line[0] in "=~")
        if not function:
            is_condition = kind in ("pred", "spred")
            function = [["lambda1", program] if is_condition else program]
        rule = Rule(name, kind, float(weight), tuple(parts), texts, program, function[0])
        of_kind.setdefault(kind, []).append(rule)
    return of_kind


def _blocks(text: str) -> list[list[str]]:
    """The lines of each rule."""
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith(" "):
            blocks[-1].append(line.strip())
        elif line.strip() and not line.startswith("#"):
            blocks.append([line])
    return blocks
