"""program-symbols: writes the tree of a text as a sequence of symbols with brackets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, Literal

from torch import nn

from throughtime.data import Pair, PairSet, Tokeniser, fit_tokeniser
from throughtime.data.trees import (
    TREE_SETS,
    Tree,
    TreeError,
    TreeExample,
    TreeSet,
    load_trees,
    read_symbols,
    read_trees,
    write_symbols,
)
from throughtime.reading import Entries
from throughtime.tasks.network import check_range
from throughtime.tasks.pair_predictions import SearchOptions
from throughtime.tasks.run_data import splits_joined
from throughtime.tasks.sequence_to_sequence import (
    JudgingOptions,
    SequenceToSequence,
    SequenceToSequenceConfig,
)
from throughtime.tasks.task import Figure
from throughtime.tasks.text_tokenisers import tokeniser_of_texts
from throughtime.tasks.tree_data import TREE_FACTS, TreeDataConfig, facts_of, figures_of
from throughtime.tasks.tree_overlap import overlap_figures
from throughtime.tasks.tree_predictions import WrittenTree, nothing_read, of_tree
from throughtime.tasks.tree_settings import WritingOptions
from throughtime.tasks.tree_writing import text_of, tree_figures
from throughtime.tasks.uses import Prediction

__all__ = ["ProgramSymbols", "ProgramSymbolsConfig", "SymbolWritingOptions"]

_LONGEST_SHOWN = 200


@dataclass
class ProgramSymbolsConfig(TreeDataConfig, SequenceToSequenceConfig):
    """The texts and trees, and the settings of all sequence-to-sequence tasks.

    Args:
        tokenisation: how a text is split into tokens: symbols, by spaces; or words, which also
            separates punctuation marks.
        lower_case: convert words to lower case.
        min_count: how often a word must occur in the training split to be in the vocabulary.
        vocab_size: largest size of the vocabulary of the texts (default: no limit).
    """

    _: KW_ONLY
    tokenisation: Literal["symbols", "words"] = "symbols"
    lower_case: bool = False
    min_count: int = 1
    vocab_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_data()
        check_range(self, ("min_count",), most=2**31 - 1)
        check_range(self, ("vocab_size",), least=5, most=2**31 - 1)


@dataclass
class SymbolWritingOptions(WritingOptions, SearchOptions):
    """How a tree is searched and written."""

    def __post_init__(self) -> None:
        WritingOptions.__post_init__(self)
        SearchOptions.__post_init__(self)


class TreePair(Pair):
    """A text and the symbols of its tree, with the example from which they come.

    Attributes:
        example: the example, with the tests and marks by which an output is judged.
    """

    example: TreeExample

    @classmethod
    def of(cls, example: TreeExample) -> TreePair:
        """The pair of an example."""
        pair = cls(example.source, write_symbols(example.tree))
        pair.example = example
        return pair


class ProgramSymbols(SequenceToSequence):
    """The tree of a text as a sequence, from ``add a and b`` to ``( + a b )``.

    This is the sequence-to-sequence model beside that of the task ``program``: the same examples,
    and the same figures, but the decoder writes labels and brackets one after another and knows of
    no tree. Symbols that are no tree count as wrong.

    Metrics: those of :class:`throughtime.tasks.source_to_tree.SourceToTree`.

    Source: Dong and Lapata, arXiv 1601.01280, the sequence-to-sequence model.
    """

    name = "program-symbols"
    Config = ProgramSymbolsConfig
    Assets = Entries(
        {**SequenceToSequence.Assets.required, **TREE_FACTS}, SequenceToSequence.Assets.optional
    )
    PredictionOptions = SymbolWritingOptions
    reads = "a text"
    writes = "the tree that the model predicts, in the notation of the training"
    monitor = "exact_match"

    # Which figures there are depends on the data, so the first use of them reads it.

    @cached_property
    def judged(self) -> Mapping[str, Figure]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return figures_of(self.assets)

    # The data.

    @cached_property
    def trees(self) -> TreeSet:
        """The texts and trees."""
        return self.config.trees()

    def read_pairs(self) -> PairSet:
        trees, kinds = self.trees, (self.config.tokenisation, "symbols")
        splits = {split: _pairs(examples) for split, examples in trees.splits.items()}
        return PairSet(trees.name, splits, kinds, cut=trees.cut)

    def own_pairs(self, split: str | None, options: JudgingOptions) -> list[Pair]:
        assert options.data is not None
        if options.data in TREE_SETS:
            name, splits = options.data, load_trees(options.data).splits
        else:
            name, splits = read_trees(
                options.data,
                self.assets["notation"],
                languages=options.languages,
                encoding=options.encoding or "utf-8",
            )
        pairs = {part: _pairs(examples) for part, examples in splits.items()}
        return splits_joined(self.name, name, pairs, split)

    def fit_tokenisers(self) -> tuple[Tokeniser, Tokeniser]:
        c, pairs = self.config, self.pairs.splits["train"]
        source = tokeniser_of_texts(c, "symbols", (pair.source for pair in pairs), c.min_count)
        return source, fit_tokeniser("symbols", [pair.target for pair in pairs])

    def new_assets(self) -> dict[str, Any]:
        return super().new_assets() | facts_of(self.trees, self.trees.splits["valid"])

    @property
    def title(self) -> str:
        return f"{super().title}-{self.config.attention}"

    # Evaluation.

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        examples = []
        for pair in pairs:
            assert isinstance(pair, TreePair)
            examples.append(pair.example)
        trees = [_tree(output) for output in outputs]
        figures = tree_figures(examples, trees, self.assets["commutative"])
        return figures | overlap_figures([example.tree for example in examples], trees)

    def shown_target(self, target: str) -> str:
        """The tree in the notation of the training; symbols that are no tree stay as they are."""
        tree = _tree(target)
        return target if tree is None else text_of(tree, self.assets["notation"])[0]

    # Uses of a trained model.

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: SearchOptions,
        say: Callable[[str], None],
        explain: bool = False,
    ) -> Iterator[Prediction]:
        assert isinstance(options, SymbolWritingOptions)
        if options.inputs is not None and not self.assets["has_tests"]:
            raise ValueError(
                "--inputs: the trees of this run are no programs of AlgoLisp, so they have no "
                "values. Leave it out."
            )
        waiting: deque[str] = deque()

        def noted() -> Iterator[Sequence[str]]:
            for lines in inputs:
                waiting.extend(lines)
                yield lines

        predictions = super().predictions(model, noted(), options, say, explain)
        for number, prediction in enumerate(predictions, 1):
            if not waiting.popleft().strip():
                yield nothing_read()
                continue
            lines, records = [], []
            for rank, output in enumerate(prediction.record["outputs"], 1):
                written = self._written(output["text"], options.values)
                lines += written.lines
                records.append(written.record | {"score": output["score"]})
                place = f"line {number}" + (f", output {rank}" if options.n_best else "")
                for remark in written.remarks:
                    say(f"{place}: {remark}")
            if options.n_best is not None:
                scores = [f"{number}\t{record['score']:.4f}" for record in records]
                lines = [f"{score}\t{line}" for score, line in zip(scores, lines, strict=True)]
            yield Prediction(lines, {**records[0], "outputs": records}, prediction.attention)

    def _written(self, symbols: str, values: Mapping[str, Any] | None) -> WrittenTree:
        """What is written of an output."""
        try:
            return of_tree(read_symbols(symbols), self.assets["notation"], values)
        except TreeError as error:
            shown = symbols if len(symbols) < _LONGEST_SHOWN else f"{symbols[:_LONGEST_SHOWN]}…"
            why = f"{error.place}: {error.what}"
            reason = f"the model wrote no tree, but the symbols {shown!r}; {why}"
            record = {"text": "", "tree": None, "symbols": symbols, "error": why}
            if values is None:
                return WrittenTree([""], record, [reason])
            return WrittenTree(["\t"], record | {"value": None}, [reason])


def _pairs(examples: Iterable[TreeExample]) -> list[Pair]:
    return [TreePair.of(example) for example in examples]


def _tree(symbols: str) -> Tree | None:
    """The tree of an output; None if it is none."""
    try:
        return read_symbols(symbols)
    except TreeError:
        return None
