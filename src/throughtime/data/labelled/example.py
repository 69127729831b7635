"""An example with a label, and a set of such examples."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from throughtime.data.splits import Cut

__all__ = ["Example", "Labelled"]


class Example(NamedTuple):
    """A sequence and its label.

    Args:
        label: the class.
        content: a text; a series as (T, I) float32 with NaN where a value is missing; the samples
            of a sound as (N) float32; or the array of a trajectory of a pen, see
            `throughtime.data.pen.Trajectory`.
    """

    label: str
    content: str | np.ndarray


@dataclass(frozen=True)
class Labelled:
    """Examples in splits for training, validation and test.

    Args:
        name: the name of the data set, file or folder.
        splits: the examples of "train", "valid" and "test"; a split without any is absent.
        kind: "text"; "series" for numbers; "audio" for sounds; or "pen" for ways of a pen.
        is_tokenised: whether the words and punctuation marks of the texts are separated by spaces.
        parts: further labelled parts of the training texts (phrases), to train on if wanted.
        cut: how the examples were cut into splits; None if they came in splits.
        rate: the samples per second of sounds; None for other kinds.
    """

    name: str
    splits: dict[str, list[Example]] = field(repr=False)
    kind: str = "text"
    is_tokenised: bool = False
    parts: list[Example] = field(default_factory=list, repr=False)
    cut: Cut | None = None
    rate: int | None = None

    def fingerprint(self) -> str:
        """The sha256 of all splits; two runs with equal fingerprints have the same examples."""
        digest = hashlib.sha256(b"" if self.rate is None else f"{self.rate}\n".encode())
        for split, examples in [*sorted(self.splits.items()), ("parts", self.parts)]:
            digest.update(f"{split} {len(examples)}\n".encode())
            for label, content in examples:
                digest.update(f"{label}\t".encode("utf-8", "surrogatepass"))
                if isinstance(content, str):
                    digest.update(f"{content}\n".encode("utf-8", "surrogatepass"))
                else:
                    digest.update(f"{content.shape}\n".encode() + content.tobytes())
        return digest.hexdigest()
