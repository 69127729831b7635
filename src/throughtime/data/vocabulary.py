"""Characters as numbers, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from throughtime.checks import ShapeError
from throughtime.checks import unknown as unknown_name

__all__ = ["UnknownCharacterError", "Vocabulary"]


class UnknownCharacterError(ValueError):
    """A text has characters that the vocabulary does not."""


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows; the id of each is its place among them.

    Args:
        tokens: single characters, each once.

    Raises:
        ValueError: a token that is not one character, or is there twice.

    >>> vocabulary = Vocabulary.from_text("hello")
    >>> vocabulary.tokens
    ('e', 'h', 'l', 'o')
    >>> vocabulary.encode("hole")
    tensor([1, 3, 2, 0])
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        for token in self.tokens:
            if not isinstance(token, str) or len(token) != 1:
                raise ValueError(
                    f"Vocabulary: expected single characters, got {token!r}. "
                    "Vocabulary.from_text takes whole texts."
                )
        if len(set(self.tokens)) < len(self.tokens):
            twice = next(t for i, t in enumerate(self.tokens) if t in self.tokens[:i])
            raise ValueError(
                f"Vocabulary: expected each character once, got {twice!r} again. Remove it."
            )

    @classmethod
    def from_text(cls, *texts: str) -> Vocabulary:
        """The distinct characters of the texts, sorted by code point."""
        return cls(tuple(sorted(set().union(*texts))))

    @classmethod
    def from_json(cls, tokens: object) -> Vocabulary:
        """The vocabulary that `to_json` wrote, with the same ids.

        Raises:
            ValueError: not a list of single characters, each once.
        """
        if not isinstance(tokens, list):
            raise ValueError(
                "Vocabulary.from_json: expected a list of characters, got "
                f"{type(tokens).__name__}. Pass what Vocabulary.to_json returned."
            )
        return cls(tuple(tokens))

    def to_json(self) -> list[str]:
        """The characters in the order of their ids, as a list that JSON can hold."""
        return list(self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, character: object) -> bool:
        return character in self.tokens

    def encode(self, text: str, *, unknown: Literal["error", "skip"] = "error") -> Tensor:
        """The ids of the characters of a text.

        Args:
            text: any string; the empty one gives an empty tensor.
            unknown: what to do with characters that are not in the vocabulary.

        Shapes:
            returns (N,) of int64, N the characters of the text less those skipped.

        Raises:
            UnknownCharacterError: there are such characters, and ``unknown="error"``.
        """
        if unknown not in ("error", "skip"):
            raise unknown_name("choice of unknown", unknown, ["error", "skip"])
        codes = _code_points(text)
        # Code points past the end of the table share its last entry, which says unknown.
        ids = self._ids[np.minimum(codes, len(self._ids) - 1)]
        is_known = ids >= 0
        if not is_known.all():
            if unknown == "error":
                raise self._unknown_characters(text, codes[~is_known], int(is_known.argmin()))
            ids = ids[is_known]
        return torch.from_numpy(ids)

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The text that has these ids.

        Shapes:
            ids: (N,), or () for one character.

        Raises:
            ShapeError: more than one dimension.
            ValueError: an id that is not a whole number from 0 to V-1.
        """
        values = torch.as_tensor(ids).cpu()
        if values.ndim > 1:
            raise ShapeError(
                f"Vocabulary.decode: expected ids of shape (N,), got {tuple(values.shape)}. "
                "Decode row by row."
            )
        if values.numel() == 0:
            return ""
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise ValueError(
                f"Vocabulary.decode: expected whole numbers as ids, got {values.dtype}. "
                "Pass ids, not scores."
            )
        if values.min() < 0 or values.max() >= len(self):
            raise ValueError(
                f"Vocabulary.decode: expected ids from 0 to {len(self) - 1}, got "
                f"{int(values.min())} to {int(values.max())}. Use the vocabulary they come from."
            )
        codes = self._codes[values.numpy()]
        return codes.tobytes().decode("utf-32-le", "surrogatepass")

    @cached_property
    def _codes(self) -> np.ndarray:
        """(V,) the code point of each id."""
        return _code_points("".join(self.tokens))

    @cached_property
    def _ids(self) -> np.ndarray:
        """The id of each code point, -1 where there is none; the last entry is always -1."""
        ids = np.full(int(self._codes.max(initial=0)) + 2, -1, dtype=np.int64)
        ids[self._codes] = np.arange(len(self))
        return ids

    def _unknown_characters(
        self, text: str, codes: np.ndarray, first: int
    ) -> UnknownCharacterError:
        distinct = [chr(code) for code in np.unique(codes)]
        shown = ", ".join(map(repr, distinct[:10])) + (", …" if len(distinct) > 10 else "")
        line = text.count("\n", 0, first) + 1
        column = first - text.rfind("\n", 0, first)
        return UnknownCharacterError(
            f"the text has {len(codes)} character(s) that the vocabulary of {len(self)} has not: "
            f"{shown}; the first in line {line}, column {column}. Leave them out, "
            "or learn from a text that has them."
        )


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
