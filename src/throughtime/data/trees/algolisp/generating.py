"""Generates specifications in English with their programs and tests, from the grammar."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from throughtime.data.trees.algolisp.compiling import ProgramError
from throughtime.data.trees.algolisp.grammar import (
    ASKING,
    DEFINITIONS,
    FRAMES,
    LEAVES,
    Nested,
    Rule,
    rules,
)
from throughtime.data.trees.algolisp.machine import Program
from throughtime.data.trees.algolisp.records import COMMUTATIVE, ProgramExample, skeleton
from throughtime.data.trees.examples import TreeSet
from throughtime.data.trees.lists import from_lists
from throughtime.data.trees.tree import Tree

__all__ = ["NUM_TESTS", "generate_programs"]

NUM_TESTS = 5
"""The number of tests of each program."""

_SHARE_UNSEEN = 0.3
_PERCENT_HELD_OUT = 8
_PERCENT_OF = {"train": 80, "valid": 9, "test": 11}
_MOST_NODES = 80
_MOST_STEPS = 2_000
_NUM_TRIES = 15

_ROOTS = {"num": 46, "arr": 26, "cond": 13, "str": 8, "strs": 7}
_POOL = {"num": 3, "arr": 3, "str": 2, "strs": 2}
_SIZES = {1: 2, 2: 5, 3: 6, 4: 5, 5: 3, 6: 1}
_SHARE_DEFINED = 0.12
_SHARE_UNUSED = 0.08
_CONSTANTS = [*range(1, 11), *range(1, 6), 0, 12, 15, 20, 25, 50, 100]
_NOUNS = {
    "int": (("a number", "an integer"), ("numbers", "integers")),
    "int[]": (("an array of numbers", "an array of integers"), ("arrays of numbers",)),
    "string": (("a string",), ("strings",)),
    "string[]": (("an array of strings",), ("arrays of strings",)),
}


def generate_programs(
    num_train: int = 80_000, num_valid: int = 9_000, num_test: int = 11_000, *, seed: int = 0
) -> TreeSet:
    """Generates specifications in English, with programs of AlgoLisp and tests of these.

    No specification occurs twice. All specifications of a program are in the same split, which the
    sha256 of the program decides. Some pairs of a rule inside another one occur in the test only:
    they are held out. In the test, three of ten programs have a skeleton (see
    :func:`throughtime.data.trees.skeleton`) that no program of the training has; ``is_seen`` marks
    them.

    Args:
        num_train, num_valid, num_test: the numbers of examples.
        seed: the seed of the random generator; the same on every machine.

    Raises:
        ValueError: if a number is below 1.

    >>> examples = generate_programs(20, 2, 1).splits["train"]
    >>> isinstance(examples[0].source, str), len(examples[0].tests)
    (True, 5)
    """
    for name, number in (
        ("num_train", num_train),
        ("num_valid", num_valid),
        ("num_test", num_test),
    ):
        if number < 1:
            raise ValueError(f"generate_programs: expected {name} of at least 1, got {number}.")
    wanted = {"train": num_train, "valid": num_valid}
    splits: dict[str, list[ProgramExample]] = {"train": [], "valid": []}
    later: list[_Candidate] = []
    candidates = _candidates(random.Random(seed))
    # Which skeletons are new is known only when the training is complete.
    while any(len(splits[split]) < number for split, number in wanted.items()):
        candidate = next(candidates)
        if candidate.split == "test":
            later.append(candidate)
        elif len(splits[candidate.split]) < wanted[candidate.split]:
            example = candidate.with_tests()
            if example is not None:
                splits[candidate.split].append(example)
    known = {skeleton(example.tree) for example in splits["train"]}
    for split in ("train", "valid"):
        splits[split] = [
            replace(example, is_seen=skeleton(example.tree) in known) for example in splits[split]
        ]
    # Another derivation of a held-out program may not be held out.
    others = {example.tree for part in splits.values() for example in part}
    rest = (c for c in itertools.chain(later, candidates) if c.tree not in others)
    splits["test"] = _test_split(rest, known, num_test)
    return TreeSet("algolisp", splits, "s-expression", COMMUTATIVE)


def _test_split(
    candidates: Iterator[_Candidate], known: set[Tree], number: int
) -> list[ProgramExample]:
    """The test: programs of new skeletons, and others, in the order in which they were drawn."""
    num_unseen = math.ceil(_SHARE_UNSEEN * number)
    left = {False: num_unseen, True: number - num_unseen}
    examples: list[ProgramExample] = []
    for candidate in candidates:
        if not any(left.values()):
            break
        if candidate.split != "test":
            continue
        is_seen = skeleton(candidate.tree) in known
        if left[is_seen]:
            example = candidate.with_tests()
            if example is not None:
                left[is_seen] -= 1
                examples.append(replace(example, is_seen=is_seen))
    return examples


@dataclass(frozen=True)
class _Candidate:
    """A specification and its program, before tests are drawn."""

    split: str
    source: str
    tree: Tree
    arguments: tuple[tuple[str, str], ...]
    returns: str
    rules: tuple[str, ...]
    seed: int

    def with_tests(self) -> ProgramExample | None:
        """The example with its tests; None if the program fails for nearly all inputs."""
        draw = random.Random(self.seed)
        program = Program(self.tree, [name for name, _ in self.arguments])
        tests: list[str] = []
        for _ in range(_NUM_TRIES):
            inputs = {name: _INPUTS[kind](draw) for name, kind in self.arguments}
            try:
                output = program.run(inputs, _MOST_STEPS)
            except ProgramError:
                continue
            test = json.dumps({"input": inputs, "output": output})
            if "Infinity" not in test and test not in tests:
                tests.append(test)
            if len(tests) == NUM_TESTS:
                return ProgramExample(
                    *(self.source, self.tree, self.arguments, self.returns),
                    tests_json=f"[{', '.join(tests)}]",
                    nodes=self.rules,
                )
        return None


def _candidates(draw: random.Random) -> Iterator[_Candidate]:
    """Different specifications, without end."""
    seen: set[str] = set()
    while True:
        phrase = _Phrase(draw)
        kind = draw.choices(list(_ROOTS), list(_ROOTS.values()))[0]
        text, program, _ = phrase.drawn(kind, draw.choices(list(_SIZES), list(_SIZES.values()))[0])
        if phrase.is_trivial or not phrase.used:
            continue
        source, names, arguments = _specification(draw, phrase, kind, text)
        if source in seen:
            continue
        seen.add(source)
        tree = from_lists(_renamed(program, names))
        if len(tree) > _MOST_NODES:
            continue
        # All specifications of a program are in one split.
        percentile = _percentile(" ".join((*tree.labels, *map(str, tree.parents))))
        split = "test" if phrase.is_held_out else _split_of(percentile)
        returns = LEAVES.get(kind, "bool")
        yield _Candidate(
            *(split, source, tree, arguments, returns, tuple(phrase.rules)),
            seed=draw.getrandbits(32),
        )


class _Phrase:
    """Draws a phrase from the rules.

    Attributes:
        used: the arguments in it, as placeholders such as ``@num0``, in the order of their use.
        definitions: the names that are given to parts of it, with these parts.
        rules: the names of the rules in it.
        is_held_out: whether a rule stands in another one inside which the training never has it.
        is_trivial: whether it has an operation of constants only.
    """

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.used: dict[str, str] = {}
        self.definitions: list[tuple[str, str]] = []
        self.rules: list[str] = []
        self.is_held_out = self.is_trivial = False

    def drawn(self, kind: str, size: int, above: Rule | None = None) -> tuple[str, Nested, Nested]:
        """A phrase of a kind from about ``size`` rules: its text, its program and its function."""
        if kind.endswith("!") or (size < 1 and kind in LEAVES):
            return self._leaf(kind)
        rule = self._rule(kind, size)
        if above and _is_held_out(above.name, rule.name):
            self.is_held_out = True
        self.rules.append(rule.name)
        sizes = self._shared(size - 1, rule.parts)
        parts = [self.drawn(part, n, rule) for part, n in zip(rule.parts, sizes, strict=True)]
        numbers = [
            text for part, (text, _, _) in zip(rule.parts, parts, strict=True) if part == "num"
        ]
        if numbers and len(numbers) == len(rule.parts) and all(text.isdigit() for text in numbers):
            self.is_trivial = True
        text = self._draw.choice(rule.texts)
        for number, (words, _, _) in enumerate(parts):
            text = text.replace(f"${number}", words)
        program, function = _filled(rule.program, parts), _filled(rule.function, parts)
        if above and kind in LEAVES and self._draw.random() < _SHARE_DEFINED:
            name = f"@let{len(self.definitions)}"
            self.definitions.append((name, text))
            text = name
        return text, program, function

    def _rule(self, kind: str, size: int) -> Rule:
        of_kind, weights, leaves, leaf_weights = _rules_of(kind)
        if size <= 1:
            of_kind, weights = leaves, leaf_weights
        return self._draw.choices(of_kind, cum_weights=weights)[0]

    def _shared(self, size: int, parts: tuple[str, ...]) -> list[int]:
        """Shares a number of rules among parts; those that cannot be a name need one at least."""
        sizes = [int(part not in LEAVES and not part.endswith("!")) for part in parts]
        open_parts = [i for i, part in enumerate(parts) if not part.endswith("!")]
        for _ in range(size - sum(sizes)):
            if open_parts:
                sizes[self._draw.choice(open_parts)] += 1
        return sizes

    def _leaf(self, kind: str) -> tuple[str, Nested, Nested]:
        plain = kind.removesuffix("!")
        if plain == "num" and self._draw.random() < (0.5 if kind.endswith("!") else 0.35):
            number = str(self._draw.choice(_CONSTANTS))
            return number, number, number
        # The first argument of a kind is drawn more often than the second, and so on.
        index = min(int(self._draw.expovariate(1.1)), _POOL[plain] - 1)
        name = f"@{plain}{index}"
        self.used.setdefault(name, LEAVES[plain])
        return name, name, name


def _specification(
    draw: random.Random, phrase: _Phrase, kind: str, text: str
) -> tuple[str, dict[str, str], tuple[tuple[str, str], ...]]:
    """The specification of a phrase, the names of its placeholders, and its arguments."""
    if draw.random() < _SHARE_UNUSED:
        extra = draw.choice(list(LEAVES))
        phrase.used.setdefault(f"@{extra}0", LEAVES[extra])
    places = list(phrase.used)
    draw.shuffle(places)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    names = {place: next(letters) for place in places}
    names |= {place: next(letters) for place, _ in phrase.definitions}
    arguments = tuple((names[place], phrase.used[place]) for place in places)
    ask = draw.choice(ASKING[kind]).format(text)
    definitions = "".join(
        draw.choice(DEFINITIONS).format(name, part) for name, part in phrase.definitions
    )
    sentence = draw.choice(FRAMES).format(_listed(draw, arguments), definitions, ask)
    return " ".join(names.get(word, word) for word in sentence.split(" ")), names, arguments


def _listed(draw: random.Random, arguments: tuple[tuple[str, str], ...]) -> str:
    """The arguments in English: ``an array of numbers a and numbers b and c``."""
    groups = []
    for kind, group in itertools.groupby(arguments, key=lambda argument: argument[1]):
        names = [name for name, _ in group]
        one, many = _NOUNS[kind]
        groups.append(f"{draw.choice(one if len(names) == 1 else many)} {_joined(names)}")
    return _joined(groups)


def _joined(parts: list[str]) -> str:
    return " and ".join([" , ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _filled(program: Nested, parts: list[tuple[str, Nested, Nested]]) -> Nested:
    """The program of a rule with those of its parts."""
    if isinstance(program, list):
        return [_filled(item, parts) for item in program]
    if program[0] == "$":
        _, value, function = parts[int(program[1:])]
        return function if function is not value else value
    if program[0] == "@":
        return parts[int(program[1:])][1]
    return program


def _renamed(program: Nested, names: dict[str, str]) -> Nested:
    if isinstance(program, list):
        return [_renamed(item, names) for item in program]
    return names.get(program, program)


@cache
def _rules_of(kind: str) -> tuple[list[Rule], list[float], list[Rule], list[float]]:
    """The rules of a kind and their summed weights; then those whose parts need no rule."""
    of_kind = rules()[kind]
    leaves = [rule for rule in of_kind if all(p in LEAVES or p.endswith("!") for p in rule.parts)]
    return (
        *(of_kind, list(itertools.accumulate(rule.weight for rule in of_kind))),
        *(leaves, list(itertools.accumulate(rule.weight for rule in leaves))),
    )


@cache
def _is_held_out(above: str, below: str) -> bool:
    return _percentile(f"{above} > {below}") < _PERCENT_HELD_OUT


def _split_of(percentile: int) -> str:
    for split, percent in _PERCENT_OF.items():
        percentile -= percent
        if percentile < 0:
            return split
    raise AssertionError(percentile)


def _percentile(text: str) -> int:
    """A number from 0 to 99, evenly distributed over texts and always the same for a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100


def _numbers(draw: random.Random) -> list[int]:
    most = draw.choice((9, 20, 50))
    least = draw.choice((0, 0, 0, -most))
    return [draw.randint(least, most) for _ in range(draw.randint(1, 9))]


def _word(draw: random.Random) -> str:
    return "".join(draw.choice("abcdehilnorst") for _ in range(draw.randint(1, 6)))


_INPUTS: dict[str, Any] = {
    "int": lambda draw: draw.randint(0, draw.choice((5, 9, 30))),
    "int[]": _numbers,
    "string": lambda draw: " ".join(_word(draw) for _ in range(draw.randint(1, 3))),
    "string[]": lambda draw: [_word(draw) for _ in range(draw.randint(1, 6))],
}
