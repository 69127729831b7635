"""inflection: from a lemma and what is asked of it, tag by tag, to the form, letter by letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from throughtime.data import Pair, PairSet, load_pairs
from throughtime.tasks.edit_distance import edit_distance
from throughtime.tasks.sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig
from throughtime.tasks.task import Figure

__all__ = ["Inflection", "InflectionConfig", "inflection_figures"]


@dataclass
class InflectionConfig(SequenceToSequenceConfig):
    """The language, how much of it is learned from, and the settings of sequence to sequence.

    Args:
        language: whose words are inflected.
        size: forms to learn from: low, 100; medium, 1,000; high, 10,000.
    """

    language: Literal["english", "german", "spanish", "finnish", "turkish"] = "english"
    size: Literal["low", "medium", "high"] = "high"
    cell: str = "gru"
    hidden_size: int = 128
    embedding_size: int | None = 64
    batch_size: int = 32


class Inflection(SequenceToSequence):
    """Forms of words: ``schmear<V><V.PTCP><PST>`` to ``schmeared``.

    Metrics: ``exact_match``, the part of the forms that are right, from 0 to 1; a lemma that has
    two forms for the same tags may be given either. ``edit_distance``, from a form to the nearest
    right one, in the mean of all, in letters.

    Source: Cotterell et al., CoNLL-SIGMORPHON 2017, task 1, arXiv 1706.09031; Kann and Schütze,
    MED: the LMU system for the SIGMORPHON 2016 shared task (the tags as tokens of the source).
    """

    name = "inflection"
    Config = InflectionConfig
    judged: Mapping[str, Figure] = {
        "exact_match": Figure(better="higher"),
        "edit_distance": Figure("letters"),
    }

    def read_pairs(self) -> PairSet:
        c = self.config
        return load_pairs(f"sigmorphon2017-{c.language}-{c.size}")

    def shown(self, source: str) -> str:
        lemma, *tags = source.replace(">", "").split("<")
        return f"{lemma} {';'.join(tags)}"

    def read(self, text: str) -> str:
        """``go V;PST``, as the files of the shared task have it, or already as a source."""
        lemma, _, tags = text.strip().rpartition(" ")
        if "<" in text or not lemma:
            return text
        return lemma.strip() + "".join(f"<{tag}>" for tag in tags.split(";"))

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        return inflection_figures(pairs, outputs)


def inflection_figures(pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
    """How many forms are right, and how far they are from right.

    >>> inflection_figures([Pair("go<PST>", "went"), Pair("be<PST>", "was")], ["goed", "was"])
    {'exact_match': 0.5, 'edit_distance': 2.0}
    """
    forms: dict[str, set[str]] = {}
    for pair in pairs:
        forms.setdefault(pair.source, set()).add(pair.target)
    distances = [
        min(edit_distance(output, form) for form in forms[pair.source])
        for pair, output in zip(pairs, outputs, strict=True)
    ]
    return {
        "exact_match": distances.count(0) / len(pairs),
        "edit_distance": sum(distances) / len(pairs),
    }
