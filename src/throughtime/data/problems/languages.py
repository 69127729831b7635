"""Formal languages: a model predicts the next symbol of a word at each step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from throughtime.data.problems.problem import Examples, Graded, Problem, one_hot

__all__ = ["CountingLanguage", "Dyck", "EmbeddedReber", "Language"]

Word = tuple[np.ndarray, np.ndarray]
"""A word as symbols (T + 1), and the legal next symbols after each of the first T, (T, V) bool."""


class Language(Problem):
    """A language: the target of each step is the next symbol of the word.

    ``$`` is the begin mark and the end mark of a word, unless the language has marks of its own.
    """

    def __init__(self, symbols: str) -> None:
        self.inputs = self.outputs = tuple(symbols)

    @abstractmethod
    def word(self, draw: np.random.Generator, length: int) -> Word:
        """Draws a word of at most the size ``length``, with its marks."""

    def examples(self, draw: np.random.Generator, number: int, length: int) -> Examples:
        return self._padded([self.word(draw, length) for _ in range(number)])

    def _padded(self, words: Sequence[Word]) -> Examples:
        symbols = [torch.from_numpy(word) for word, _ in words]
        lengths = torch.tensor([len(word) - 1 for word in symbols])
        inputs = pad_sequence([word[:-1] for word in symbols], batch_first=True)
        targets = pad_sequence([word[1:] for word in symbols], batch_first=True)
        legal = pad_sequence([torch.from_numpy(mask) for _, mask in words], batch_first=True)
        is_valid = torch.arange(inputs.shape[1]) < lengths[:, None]
        return Examples(
            one_hot(inputs, self.input_size) * is_valid[..., None],
            lengths,
            targets,
            is_valid,
            legal,
        )


class CountingLanguage(Language, Graded):
    """The words a^n b^n, or a^n b^n c^n, for n from 1 to ``length``.

    A step has a target, and is judged, if the next symbol is determined: from the first b to the
    end mark. Before it the number of a's to come is unknown; to learn its distribution would be to
    learn the largest n of the training.

    Source: Weiss, Goldberg and Yahav, "On the practical computational power of finite precision
        RNNs for language recognition", arXiv 1805.04908; Gers and Schmidhuber (2001).

    >>> language = CountingLanguage("anbn", "ab")
    >>> language.spelled(language.word_of(2)[0])
    '$aabb$'
    """

    measure, length = "n", 100

    def __init__(self, name: str, letters: str) -> None:
        super().__init__("$" + letters)
        self.name = name

    def word_of(self, n: int) -> Word:
        """The word of n letters of each kind."""
        num_letters = len(self.inputs) - 1
        word = np.concatenate([[0], np.repeat(np.arange(1, num_letters + 1), n), [0]])
        legal = np.zeros((len(word) - 1, len(self.inputs)), bool)
        determined = np.arange(n + 1, len(word) - 1)
        legal[determined, word[determined + 1]] = True
        return word, legal

    def word(self, draw: np.random.Generator, length: int) -> Word:
        return self.word_of(int(draw.integers(1, length + 1)))

    def _padded(self, words: Sequence[Word]) -> Examples:
        examples = super()._padded(words)
        return examples._replace(has_target=examples.legal.any(-1))

    def graded(self, sizes: Sequence[int]) -> Examples:
        return self._padded([self.word_of(n) for n in sizes])

    def spelled(self, word: np.ndarray) -> str:
        return "".join(self.inputs[symbol] for symbol in word)


class Dyck(Language):
    """Balanced brackets of one kind, uniform over all words of a length, which is uniform.

    Legal next symbols: ``(`` and ``)`` inside a bracket, ``(`` and ``$`` outside.
    """

    name, measure, length = "dyck-1", "brackets", 50

    def __init__(self) -> None:
        super().__init__("$()")

    def word(self, draw: np.random.Generator, length: int) -> Word:
        remaining = 2 * int(draw.integers(1, max(1, length // 2) + 1))
        word, depth, legal = [0], 0, []
        while remaining:
            legal.append([depth == 0, True, depth > 0])
            # The share of the balanced continuations that begin with an opening bracket.
            p = (remaining - depth) * (depth + 2) / (2 * remaining * (depth + 1))
            is_opening = draw.random() < p
            word.append(1 if is_opening else 2)
            depth, remaining = depth + (1 if is_opening else -1), remaining - 1
        legal.append([True, True, False])
        return np.array([*word, 0]), np.array(legal)


class EmbeddedReber(Language):
    """The embedded Reber grammar: the second symbol comes again as the last but one.

    B, T or P, a word of the Reber grammar, the same T or P, E. Each of two edges of a node is taken
    with probability 1/2, so that the words have no size. All steps are judged: both legal symbols
    must be more probable than the others, and before the last but one only one symbol is legal.

    Source: Hochreiter and Schmidhuber (1997), section 5.1.
    """

    name, measure, length = "reber", "", 1
    # By node: each symbol with the node that it leads to.
    edges = (
        (("B", 1),),
        (("T", 2), ("P", 3)),
        (("S", 2), ("X", 4)),
        (("T", 3), ("V", 5)),
        (("X", 3), ("S", 6)),
        (("P", 4), ("V", 6)),
        (("E", 7),),
    )

    def __init__(self) -> None:
        super().__init__("BTPSXVE")

    def word(self, draw: np.random.Generator, length: int) -> Word:
        outer = "TP"[int(draw.integers(2))]
        word, legal, node = "B" + outer, ["TP", "B"], 0
        while node < 7:
            choices = self.edges[node]
            symbol, node = choices[int(draw.integers(len(choices)))]
            word += symbol
            following = self.edges[node] if node < 7 else ((outer, 8),)
            legal.append("".join(symbol for symbol, _ in following))
        word, legal = word + outer + "E", [*legal, "E"]
        mask = np.array([[symbol in symbols for symbol in self.inputs] for symbols in legal])
        return np.array([self.inputs.index(symbol) for symbol in word]), mask
