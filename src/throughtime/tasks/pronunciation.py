"""pronunciation: from the letters of a word to its phonemes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from throughtime.data import Pair, PairSet, load_pairs
from throughtime.tasks.edit_distance import edit_distance
from throughtime.tasks.sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig
from throughtime.tasks.task import Figure

__all__ = ["Pronunciation", "PronunciationConfig", "pronunciation_figures"]


@dataclass
class PronunciationConfig(SequenceToSequenceConfig):
    """What is heard, and the settings of all tasks from one sequence to another.

    Args:
        stress: tell stressed vowels from others: AH0, AH1 and AH2, where else there is AH.
    """

    stress: bool = False
    embedding_size: int | None = 64
    batch_size: int = 128


class Pronunciation(SequenceToSequence):
    """Words as they are said in America: ``hello`` to ``HH AH L OW``.

    The words are those of the CMU dictionary, of which 85 % are learned from and 10 % are the
    test; a word's pronunciations are all in one part.

    Metrics: ``word_error_rate``, the part of the words whose output is none of their
    pronunciations; ``phoneme_error_rate``, the insertions, deletions and replacements that make
    an output its nearest pronunciation, of all words, over the phonemes of those pronunciations.
    A word counts once, however many pronunciations it has.

    Source: Rao et al., Grapheme-to-phoneme conversion using long short-term memory recurrent
    neural networks (2015); Yao and Zweig, arXiv 1506.00196. Differs: the split, as theirs are not
    in the dictionary.
    """

    name = "pronunciation"
    Config = PronunciationConfig
    judged: Mapping[str, Figure] = {"word_error_rate": Figure(), "phoneme_error_rate": Figure()}

    def read_pairs(self) -> PairSet:
        pairs, stress = load_pairs("cmudict"), self.config.stress
        splits = {
            # Two pronunciations that differ in stress alone become one. All words but one are in
            # capitals: BABAR's.
            split: list(
                dict.fromkeys(
                    Pair(word.upper(), said if stress else _unstressed(said)) for word, said in part
                )
            )
            for split, part in pairs.splits.items()
        }
        name = "cmudict" if stress else "cmudict-unstressed"
        return PairSet(name, splits, pairs.kinds, pairs.num_left_out)

    def shown(self, source: str) -> str:
        return source.lower()

    def read(self, text: str) -> str:
        # The dictionary has capitals alone.
        return text.upper()

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        return pronunciation_figures(pairs, outputs)


def pronunciation_figures(pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
    """How many words are wrong, and how many phonemes.

    >>> pairs = [Pair("a", "AH"), Pair("a", "EY"), Pair("hat", "HH AE T")]
    >>> pronunciation_figures(pairs, ["EY", "EY", "AE T"])
    {'word_error_rate': 0.5, 'phoneme_error_rate': 0.25}
    """
    said: dict[str, list[list[str]]] = {}
    for pair in pairs:
        said.setdefault(pair.source, []).append(pair.target.split())
    words = {pair.source: output for pair, output in zip(pairs, outputs, strict=True)}
    # The nearest; of two as near, the shorter.
    nearest = [
        min((edit_distance(output.split(), right), len(right)) for right in said[word])
        for word, output in words.items()
    ]
    return {
        "word_error_rate": sum(errors > 0 for errors, _ in nearest) / len(words),
        "phoneme_error_rate": sum(errors for errors, _ in nearest)
        / max(1, sum(length for _, length in nearest)),
    }


def _unstressed(phonemes: str) -> str:
    return " ".join(phoneme.rstrip("012") for phoneme in phonemes.split())
