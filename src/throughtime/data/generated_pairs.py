"""Generated pairs: sums of two numbers, and arithmetic expressions with their values."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal

from throughtime.data.pairs import Pair, PairSet

__all__ = ["addition", "prefix_expressions", "simplified", "value_of"]

_KINDS = ("characters", "characters")
Expression = int | str | tuple[str, "Expression", "Expression"]


def addition(
    digits: int = 3,
    num_pairs: int = 50_000,
    num_test: int = 5_000,
    *,
    is_reversed: bool = True,
    is_padded: bool = True,
    seed: int = 0,
) -> PairSet:
    """Generates sums of two numbers and their results, such as ``535+61`` and ``596``.

    Each number has 1 to ``digits`` digits; all lengths are equally likely. No sum occurs twice, not
    even with its numbers exchanged, so the splits have no sum in common.

    Args:
        digits: the largest number of digits of a summand.
        num_pairs: the number of pairs for training and validation together; a tenth of them is for
            validation.
        num_test: the number of pairs for the test, drawn after the others.
        is_reversed: whether the source is written from its end (Sutskever, Vinyals and Le, arXiv
            1409.3215).
        is_padded: whether sources and targets are padded with spaces, each to the same length.
        seed: the seed of the random generator.

    Raises:
        ValueError: if a number is out of range, or there are fewer different sums than pairs.

    Source: Keras, examples/nlp/addition_rnn.py. Differs: there is a test split; a seed gives the
        same pairs on every machine.

    >>> addition(2, 100, 10).splits["train"][0]
    Pair(source='78+06', target='147')
    """
    _check("addition", "digits", digits, 1)
    _check("addition", "num_pairs", num_pairs, 2)
    _check("addition", "num_test", num_test, 0)
    numbers, num_all = 10**digits, num_pairs + num_test
    possible = numbers * (numbers + 1) // 2
    if num_all > possible:
        raise ValueError(
            f"addition: expected at most {possible} pairs, the number of sums of two numbers of "
            f"{digits} digits, got num_pairs={num_pairs} and num_test={num_test}. Take fewer."
        )
    draw = random.Random(seed)
    pairs: list[Pair] = []
    seen = set()
    while len(pairs) < num_all:
        a, b = (
            int("".join(draw.choice("0123456789") for _ in range(draw.randint(1, digits))))
            for _ in range(2)
        )
        if (key := (min(a, b), max(a, b))) in seen:
            continue
        seen.add(key)
        source, target = f"{a}+{b}", str(a + b)
        if is_padded:
            source, target = source.ljust(2 * digits + 1), target.ljust(digits + 1)
        pairs.append(Pair(source[::-1] if is_reversed else source, target))
    start_valid = num_pairs - max(1, num_pairs // 10)
    splits = {"train": pairs[:start_valid], "valid": pairs[start_valid:num_pairs]}
    if num_test:
        splits["test"] = pairs[num_pairs:]
    return PairSet(f"addition-{digits}", splits, _KINDS)


def prefix_expressions(
    answer: Literal["value", "simplified"] = "value",
    *,
    depth: int = 3,
    test_depths: Sequence[int] = (4, 5),
    num_pairs: int = 20_000,
    num_test: int = 1_000,
    seed: int = 0,
) -> PairSet:
    """Generates expressions in prefix notation, such as ``(+ (* 2 7) (- 3 1))``, and their values.

    The operations are +, - and *, the numbers 0 to 9. With ``answer="simplified"`` there is also
    the variable x, and the target is the simplified expression: ``(+ (* 1 x) (- 3 3))`` gives
    ``x``. No expression occurs twice.

    Args:
        answer: the target of an expression, its value or its simplified form.
        depth: the largest depth of nested brackets in training, validation and test. All depths
            from 1 are equally likely, until all expressions of a depth are used.
        test_depths: greater depths, each of which gets a test split of its own ("depth4").
        num_pairs: the number of pairs for training and validation together; a tenth of them is for
            validation.
        num_test: the number of pairs of each test split.
        seed: the seed of the random generator.

    Raises:
        ValueError: if a number is out of range, or too few different expressions are found.

    >>> prefix_expressions(num_pairs=50, num_test=10, depth=2).splits["train"][0]
    Pair(source='(- (+ 7 5) (* 5 6))', target='-18')
    """
    where = "prefix_expressions"
    _check(where, "depth", depth, 1)
    _check(where, "num_pairs", num_pairs, 2)
    _check(where, "num_test", num_test, 0)
    for test_depth in test_depths:
        _check(where, "test_depths", test_depth, depth + 1)
    rules: dict[str, Callable[[Expression], Expression]] = {
        "value": value_of,
        "simplified": simplified,
    }
    if answer not in rules:
        raise ValueError(f'{where}: expected answer "value" or "simplified", got "{answer}".')
    leaves: list[int | str] = [*range(10), *(["x"] * 5 if answer == "simplified" else [])]
    draw, seen = random.Random(seed), set[str]()

    def pairs(depths: Sequence[int], num: int) -> list[Pair]:
        drawn: list[Pair] = []
        num_repeats = 0
        while len(drawn) < num:
            expression = _drawn(draw, draw.choice(depths), leaves)
            source = _written(expression)
            if source in seen:
                num_repeats += 1
                if num_repeats > 1000 + 10 * num:
                    raise ValueError(
                        f"{where}: expected {num} different expressions of depth {max(depths)} and "
                        f"less, found {len(drawn)}. Take fewer, or a greater depth."
                    )
                continue
            seen.add(source)
            drawn.append(Pair(source, _written(rules[answer](expression))))
        return drawn

    all_pairs = pairs(range(1, depth + 1), num_pairs + num_test)
    # The few different expressions of small depth are used up early, so most are at the beginning.
    draw.shuffle(all_pairs)
    start_valid = num_pairs - max(1, num_pairs // 10)
    splits = {"train": all_pairs[:start_valid], "valid": all_pairs[start_valid:num_pairs]}
    if num_test:
        splits["test"] = all_pairs[num_pairs:]
        splits |= {f"depth{d}": pairs([d], num_test) for d in test_depths}
    return PairSet(f"expressions-{answer}-{depth}", splits, _KINDS)


def value_of(expression: Expression) -> int:
    """The value of an expression without variables."""
    if isinstance(expression, tuple):
        operation, left, right = expression
        return _RESULTS[operation](value_of(left), value_of(right))
    if isinstance(expression, str):
        raise ValueError(f"value_of: expected numbers alone, got the variable {expression}.")
    return expression


def simplified(expression: Expression) -> Expression:
    """Simplifies an expression from the innermost brackets outwards, by these rules:

        two numbers: their result;  a + 0 = 0 + a = a - 0 = 1 a = a 1 = a;  0 a = a 0 = a - a = 0

    >>> simplified(("+", ("*", 2, 7), ("-", "x", 0)))
    ('+', 14, 'x')
    """
    if not isinstance(expression, tuple):
        return expression
    operation, left, right = expression
    left, right = simplified(left), simplified(right)
    if isinstance(left, int) and isinstance(right, int):
        return _RESULTS[operation](left, right)
    if operation == "-" and left == right:
        return 0
    if operation == "*" and 0 in (left, right):
        return 0
    neutral = 1 if operation == "*" else 0
    if right == neutral:
        return left
    if left == neutral and operation != "-":
        return right
    return (operation, left, right)


_RESULTS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}


def _drawn(draw: random.Random, depth: int, leaves: Sequence[int | str]) -> Expression:
    """Draws an expression of exactly this depth."""
    if depth == 0:
        return draw.choice(leaves)
    deep = _drawn(draw, depth - 1, leaves)
    other = _drawn(draw, draw.randrange(depth), leaves)
    left, right = (deep, other) if draw.random() < 0.5 else (other, deep)
    return (draw.choice("+-*"), left, right)


def _written(expression: Expression) -> str:
    if isinstance(expression, tuple):
        return f"({expression[0]} {_written(expression[1])} {_written(expression[2])})"
    return str(expression)


def _check(where: str, name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{where}: expected {name} of at least {least}, got {value}.")
