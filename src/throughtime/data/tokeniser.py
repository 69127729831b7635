"""The interface of a tokeniser, which converts texts to token ids and back."""

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
"""The names of the first four ids of every tokeniser: padding, begin, end, unknown."""

# Words in messages are cut to this length; a text without spaces is a single long word.
_LONGEST_NAMED = 60


class Tokeniser(ABC):
    """Converts texts to token ids and back.

    The ids 0 to 3 are padding, begin, end and unknown. No text is ever encoded with the first
    three.

    Attributes:
        kind: the name of the class in :data:`throughtime.data.TOKENISERS` and in its JSON form.
        unit: the plural of what a token is, for messages ("words").
    """

    kind: ClassVar[str]
    unit: ClassVar[str] = "tokens"

    @abstractmethod
    def __len__(self) -> int:
        """V, the number of ids."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without begin and end; unknown tokens have the id 3."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids up to the first end token; unknown tokens become ``<unk>``."""

    @abstractmethod
    def unknown(self, text: str) -> list[str]:
        """The unknown tokens of a text, as they are written there and in their order."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The tokeniser as a JSON object, for :meth:`from_json`."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Restores a tokeniser from the result of :meth:`to_json`, with the same ids."""

    def rewritten(self, text: str) -> str:
        """What becomes of a text that is encoded and decoded."""
        return self.decode(self.encode(text))

    def count_unknown(self, texts: Iterable[str]) -> Counter[str]:
        """The number of occurrences of each unknown token in the texts."""
        return Counter(part for text in texts for part in self.unknown(text))

    def _ids_up_to_the_end(self, ids: Iterable[int]) -> list[int]:
        """The ids before the first end token, checked, and without padding and begin tokens."""
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
    """A tokeniser that splits a text by a rule and has a fixed list of known tokens.

    Args:
        tokens: the known tokens, each once; the first has the id 4.

    Attributes:
        options: the names of further constructor arguments, which the JSON form includes.

    Raises:
        ValueError: if a token is not a string, is empty, occurs twice, or is one of `SPECIALS`.
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
            repeated = next(token for token, n in Counter(self.tokens).items() if n > 1)
            raise ValueError(
                f"{where}: expected each token once, got {repeated!r} again. Remove it."
            )
        # Otherwise "<eos>" in a text would become the end token.
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
        """Creates a tokeniser that knows the tokens of texts, in the order of their frequency.

        Args:
            texts: the texts of the training split.
            min_count: how often a token must occur to be known.
            max_size: the largest V, including the four special ids; None is no limit.
            options: further arguments of the constructor.

        Raises:
            ValueError: if a number is out of range, or no token is as frequent as ``min_count``.
        """
        check_limits(cls.__name__, min_count, max_size)
        rule = cls((), **options)
        counts = Counter(part for text in texts for part in rule.split(text))
        for special in SPECIALS:
            counts.pop(special, None)
        # Equally frequent tokens are sorted by code points, so the order of texts has no influence.
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

    def rewritten(self, text: str) -> str:
        # Without the ids, so that unknown tokens stay what they are.
        return self.join(self.split(text))

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """Splits a text into tokens."""

    @abstractmethod
    def join(self, parts: Sequence[str]) -> str:
        """Joins tokens to a text."""

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
    """Raises a ValueError if min_count is below 1 or max_size has no room beside special ids."""
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
    """A line of text about the unknown tokens of a text.

    Args:
        counts: the number of occurrences of each unknown token.
        total: the number of all tokens of the text.
        unit: the plural of what a token is ("words").
        most: the largest number of tokens to name.

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
