"""inflection: spells an inflected form of a word, given its lemma and grammatical tags."""

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
    """The language, the size of the data, and the settings of all sequence-to-sequence tasks.

    Args:
        language: language of the words.
        size: size of the training split: low, 100 forms; medium, 1,000; high, 10,000.
    """

    language: Literal["english", "german", "spanish", "finnish", "turkish"] = "english"
    size: Literal["low", "medium", "high"] = "high"
    cell: str = "gru"
    hidden_size: int = 128
    embedding_size: int | None = 64
    batch_size: int = 32


class Inflection(SequenceToSequence):
    """An inflected form, from ``schmear<V><V.PTCP><PST>`` to ``schmeared``.

    The source is the lemma letter by letter, followed by its tags, each of which is one token.

    Metrics: ``exact_match``, the fraction of forms that are right, from 0 to 1; if a lemma has two
    forms for the same tags, both are right. ``edit_distance``, the mean edit distance in letters
    between an output and the nearest right form.

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
        """The source of a user's text: ``go V;PST`` as in the files of the shared task.

        A text that contains ``<`` is already a source and is returned unchanged.
        """
        lemma, _, tags = text.strip().rpartition(" ")
        if "<" in text or not lemma:
            return text
        return lemma.strip() + "".join(f"<{tag}>" for tag in tags.split(";"))

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        return inflection_figures(pairs, outputs)


def inflection_figures(pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
    """The fraction of forms that are right, and their mean distance from the nearest right form.

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
