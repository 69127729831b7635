"""pronunciation: translates the letters of an English word into its phonemes."""

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
    """Whether to write the stress, and the settings of all sequence-to-sequence tasks.

    Args:
        stress: mark the stress of vowels, as AH0, AH1 or AH2 instead of AH.
    """

    stress: bool = False
    embedding_size: int | None = 64
    batch_size: int = 128


class Pronunciation(SequenceToSequence):
    """The American pronunciation of a word, from ``hello`` to ``HH AH L OW``.

    The words are those of the CMU dictionary: 85 % are for training, 10 % for the test and the
    rest for validation. All pronunciations of a word are in the same split.

    Metrics: ``word_error_rate``, the fraction of words whose output is none of their
    pronunciations; ``phoneme_error_rate``, the edit distance between the outputs and the nearest
    pronunciations, summed over all words, divided by the number of phonemes of those
    pronunciations. A word counts once, however many pronunciations it has.

    Source: Rao et al., Grapheme-to-phoneme conversion using long short-term memory recurrent
    neural networks (2015); Yao and Zweig, arXiv 1506.00196. Differs: the split into training and
    test, because theirs is not part of the dictionary.
    """

    name = "pronunciation"
    Config = PronunciationConfig
    judged: Mapping[str, Figure] = {"word_error_rate": Figure(), "phoneme_error_rate": Figure()}

    def read_pairs(self) -> PairSet:
        pairs, stress = load_pairs("cmudict"), self.config.stress
        splits = {
            # Two pronunciations that differ in stress only become equal, so duplicates are removed.
            # One word of the dictionary is not all in capitals: BABAR's.
            split: list(
                dict.fromkeys(
                    Pair(word.upper(), phonemes if stress else _unstressed(phonemes))
                    for word, phonemes in entries
                )
            )
            for split, entries in pairs.splits.items()
        }
        name = "cmudict" if stress else "cmudict-unstressed"
        return PairSet(name, splits, pairs.kinds, pairs.num_left_out)

    def shown(self, source: str) -> str:
        return source.lower()

    def read(self, text: str) -> str:
        # The words of the dictionary are in capitals.
        return text.upper()

    def read_target(self, text: str) -> str:
        return text if self.config.stress else _unstressed(text)

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        return pronunciation_figures(pairs, outputs)


def pronunciation_figures(pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
    """The word error rate and the phoneme error rate; see :class:`Pronunciation`.

    >>> pairs = [Pair("a", "AH"), Pair("a", "EY"), Pair("hat", "HH AE T")]
    >>> pronunciation_figures(pairs, ["EY", "EY", "AE T"])
    {'word_error_rate': 0.5, 'phoneme_error_rate': 0.25}
    """
    pronunciations: dict[str, list[list[str]]] = {}
    for pair in pairs:
        pronunciations.setdefault(pair.source, []).append(pair.target.split())
    words = {pair.source: output for pair, output in zip(pairs, outputs, strict=True)}
    # (distance, length) of the nearest pronunciation; of two equally near, the shorter one.
    nearest = [
        min((edit_distance(output.split(), right), len(right)) for right in pronunciations[word])
        for word, output in words.items()
    ]
    return {
        "word_error_rate": sum(errors > 0 for errors, _ in nearest) / len(words),
        "phoneme_error_rate": sum(errors for errors, _ in nearest)
        / max(1, sum(length for _, length in nearest)),
    }


def _unstressed(phonemes: str) -> str:
    return " ".join(phoneme.rstrip("012") for phoneme in phonemes.split())
