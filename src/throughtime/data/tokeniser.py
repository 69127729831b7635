"""The contract of a tokeniser: a text as numbers, and back, with four ids that mean no text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

from throughtime.reading import Entries, kinds_of, typed

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "SPECIALS",
    "UNK",
    "TokenListTokeniser",
    "Tokeniser",
    "check_limits",
    "in_words",
]

PAD, BOS, EOS, UNK = range(4)
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
"""What the first four ids of every tokeniser stand for."""

# A text without spaces is one word, and a message names words.
_LONGEST_NAMED = 60


class Tokeniser(ABC):
    """Texts as numbers, and back.

    The ids 0 to 3 are padding, begin, end and unknown; no text is ever encoded as the first three.

    Attributes:
        kind: its name in :data:`throughtime.data.TOKENISERS`, and in its JSON form.
        unit: what a token is, in the plural, for people to read.
    """

    kind: ClassVar[str]
    unit: ClassVar[str] = "tokens"

    @abstractmethod
    def __len__(self) -> int:
        """V, the number of ids."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of a text, without begin and end; what is not known is the id 3."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids up to the first end; an unknown one is written ``<unk>``."""

    @abstractmethod
    def unknown(self, text: str) -> list[str]:
        """The parts of a text that `encode` gives the id 3, in their order."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Everything that the tokeniser is, as JSON can hold it."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The tokeniser that `to_json` wrote, with the same ids."""

    def count_unknown(self, texts: Iterable[str]) -> Counter[str]:
        """How often each unknown part stands in the texts."""
        return Counter(part for text in texts for part in self.unknown(text))

    def _ids_up_to_the_end(self, ids: Iterable[int]) -> list[int]:
        """The ids that mean text, checked."""
        kept = []
        for value in map(int, ids):
            if not 0 <= value < len(self):
                raise ValueError(
                    f"{type(self).__name__}.decode: expected ids from 0 to {len(self) - 1}, got "
                    f"{value}. Use the tokeniser that they come from."
                )
            if value == EOS:
                break
            if value not in (PAD, BOS):
                kept.append(value)
        return kept


class TokenListTokeniser(Tokeniser):
    """A tokeniser that cuts a text by a rule and looks the parts up in a list.

    Args:
        tokens: the parts that it knows, each once; the first has the id 4.

    Attributes:
        options: the further arguments of the constructor, which the JSON form holds.

    Raises:
        ValueError: a token that is no string, is empty, is there twice, or is one of `SPECIALS`.
    """

    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tokens: Sequence[str]) -> None:
        where = type(self).__name__
        for token in tokens:
            if not isinstance(token, str) or not token or token in SPECIALS:
                raise ValueError(f"{where}: expected tokens that are text, got {token!r}.")
        self.tokens = (*SPECIALS, *tokens)
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        if len(self._ids) < len(self.tokens):
            twice = next(token for token, n in Counter(self.tokens).items() if n > 1)
            raise ValueError(f"{where}: expected each token once, got {twice!r} again. Remove it.")
        # A text that spells the name of a special id is a text still.
        for special in SPECIALS:
            del self._ids[special]

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        **options: Any,
    ) -> Self:
        """The tokeniser that knows what stands in the texts, the most frequent first.

        Args:
            texts: of the training.
            min_count: how often a part must stand there to be known.
            max_size: V at most, the four special ids among them.
            options: of the constructor.

        Raises:
            ValueError: a number out of its range, or one by which nothing is known.
        """
        check_limits(cls.__name__, min_count, max_size)
        rule = cls((), **options)
        counts = Counter(part for text in texts for part in rule.split(text))
        for special in SPECIALS:
            counts.pop(special, None)
        # By frequency, then by code point: the same texts give the same ids, in any order.
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kept = [token for token, count in ranked if count >= min_count]
        if counts and not kept:
            raise ValueError(
                f"{cls.__name__}.fit: expected {cls.unit} that stand in the training at least "
                f"min_count={min_count} times, got none: the most frequent, {ranked[0][0]!r}, "
                f"stands there {ranked[0][1]} times. Lower --min_count."
            )
        room = None if max_size is None else max_size - len(SPECIALS)
        return cls(kept[:room], **options)

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """The parts of a text."""

    @abstractmethod
    def join(self, parts: Sequence[str]) -> str:
        """The text of the parts."""

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        return [self._ids.get(part, UNK) for part in self.split(text)]

    def decode(self, ids: Iterable[int]) -> str:
        return self.join([self.tokens[i] for i in self._ids_up_to_the_end(ids)])

    def unknown(self, text: str) -> list[str]:
        return [part for part in self.split(text) if part not in self._ids]

    def to_json(self) -> dict[str, Any]:
        options = {name: getattr(self, name) for name in self.options}
        return {"kind": self.kind, "tokens": list(self.tokens[len(SPECIALS) :]), **options}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        kinds = kinds_of(cls)
        required = {"tokens": list[str], **{name: kinds[name] for name in cls.options}}
        content = typed(f"{cls.__name__}.from_json", value, Entries(required, {"kind": str}))
        return cls(content["tokens"], **{name: content[name] for name in cls.options})


def check_limits(who: str, min_count: int, max_size: int | None) -> None:
    """Raises unless there is room for text, and what is known stands in a text at all."""
    if min_count < 1:
        raise ValueError(
            f"{who}.fit: expected min_count of at least 1, got {min_count}. Raise --min_count."
        )
    if max_size is not None and max_size <= len(SPECIALS):
        raise ValueError(
            f"{who}.fit: expected max_size of at least {len(SPECIALS) + 1}, because "
            f"{len(SPECIALS)} ids mean no text, got {max_size}. Raise --vocab_size."
        )


def in_words(counts: Counter[str], total: int, unit: str, most: int = 5) -> str:
    """What is unknown, told in one line.

    Args:
        counts: how often each unknown part stands in a text.
        total: how many parts the text has.
        unit: what the parts are, in the plural.
        most: how many of them are named.

    >>> in_words(Counter({"zebra": 2, "yak": 1}), 50, "words")
    "3 of 50 words (6.00 %) are unknown, 2 different ones: 'zebra' (2), 'yak' (1)"
    """
    number = sum(counts.values())
    if not number:
        return f"all {total:,} {unit} are known"
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{_shortened(token)!r} ({count})" for token, count in ranked[:most])
    return (
        f"{number:,} of {total:,} {unit} ({100 * number / total:.2f} %) are unknown, "
        f"{len(counts):,} different ones: {named}{', …' if len(counts) > most else ''}"
    )


def _shortened(token: str) -> str:
    return token if len(token) <= _LONGEST_NAMED else f"{token[:_LONGEST_NAMED]}…"
