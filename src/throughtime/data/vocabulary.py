"""The vocabulary of a character model, which converts characters to ids and back."""

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
    """A text has characters that are not in the vocabulary."""


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows; the id of a character is its index in ``tokens``.

    Args:
        tokens: single characters, each once.

    Raises:
        ValueError: if a token is not a single character, or occurs twice.

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
            repeated = next(t for i, t in enumerate(self.tokens) if t in self.tokens[:i])
            raise ValueError(
                f"Vocabulary: expected each character once, got {repeated!r} again. Remove it."
            )

    @classmethod
    def from_text(cls, *texts: str) -> Vocabulary:
        """Creates the vocabulary of all characters of the texts, sorted by code point."""
        return cls(tuple(sorted(set().union(*texts))))

    @classmethod
    def from_json(cls, tokens: object) -> Vocabulary:
        """Restores a vocabulary from the result of `to_json`, with the same ids.

        Raises:
            ValueError: if ``tokens`` is not a list of single characters, each once.
        """
        if not isinstance(tokens, list):
            raise ValueError(
                "Vocabulary.from_json: expected a list of characters, got "
                f"{type(tokens).__name__}. Pass what Vocabulary.to_json returned."
            )
        return cls(tuple(tokens))

    def to_json(self) -> list[str]:
        """The characters in the order of their ids, as a JSON list."""
        return list(self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, character: object) -> bool:
        return character in self.tokens

    def encode(self, text: str, *, unknown: Literal["error", "skip"] = "error") -> Tensor:
        """The ids of the characters of a text.

        Args:
            text: any string; an empty string gives an empty tensor.
            unknown: what to do with characters that are not in the vocabulary.

        Shapes:
            returns (N,) of int64, with N the number of characters that are not skipped.

        Raises:
            UnknownCharacterError: if there are unknown characters and ``unknown="error"``.
        """
        if unknown not in ("error", "skip"):
            raise unknown_name("choice of unknown", unknown, ["error", "skip"])
        codes = _code_points(text)
        # All code points beyond the table use its last entry, which is -1 for unknown.
        ids = self._ids[np.minimum(codes, len(self._ids) - 1)]
        is_known = ids >= 0
        if not is_known.all():
            if unknown == "error":
                raise self._unknown_characters(text, codes[~is_known], int(is_known.argmin()))
            ids = ids[is_known]
        return torch.from_numpy(ids)

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The text of character ids.

        Shapes:
            ids: (N,), or () for one character.

        Raises:
            ShapeError: if ids have more than one dimension.
            ValueError: if an id is not an integer from 0 to V-1.
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
        """The code point of each id (V,)."""
        return _code_points("".join(self.tokens))

    @cached_property
    def _ids(self) -> np.ndarray:
        """The id of each code point, -1 for unknown ones; the last entry is always -1."""
        ids = np.full(int(self._codes.max(initial=0)) + 2, -1, dtype=np.int64)
        ids[self._codes] = np.arange(len(self))
        return ids

    def _unknown_characters(
        self, text: str, codes: np.ndarray, first: int
    ) -> UnknownCharacterError:
        """The error for unknown code points, of which the first has the index ``first``."""
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
