"""What all tasks share whose models read a text or a tree, and write a tree."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor, nn

from throughtime.data import RaggedBatches, Tokeniser, num_read, warn_of_long_sources
from throughtime.data.trees import (
    NOTATIONS,
    Tree,
    TreeBatch,
    TreeExample,
    TreeLabels,
    TreeSet,
    collate_trees,
    read_trees,
)
from throughtime.layers.evaluation import evaluating
from throughtime.models import EncoderTreeDecoder, Grammar, TreeHypothesis, Trees
from throughtime.reading import Entries, Maybe, Whole
from throughtime.tasks.alignments import MOST_TOKENS
from throughtime.tasks.run_data import COUNTS, LONGEST, check_unchanged, first_of, split_of
from throughtime.tasks.shown import Shown, Text
from throughtime.tasks.small_data import defaults_for
from throughtime.tasks.task import WHOLE, BatchTask, Default, Evaluation, Figure, Loss, Share
from throughtime.tasks.text_tokenisers import tokeniser_of_texts
from throughtime.tasks.tree_data import TREE_FACTS, facts_of, figures_of
from throughtime.tasks.tree_overlap import overlap_figures
from throughtime.tasks.tree_predictions import predict_trees
from throughtime.tasks.tree_settings import SourceToTreeConfig, TreesToJudge, WritingOptions
from throughtime.tasks.tree_sources import (
    EncodedSource,
    Source,
    check_children,
    collate_sources,
    for_model,
    source_tokeniser,
)
from throughtime.tasks.tree_warnings import warn_of_unknown, warn_of_unwritable
from throughtime.tasks.tree_writing import (
    Bounds,
    any_known_label,
    moved,
    text_of,
    tree_figures,
    trees_of,
)
from throughtime.tasks.uses import AttentionMap, Observation, Prediction

__all__ = ["SourceToTree"]

_ROWS_OF_SCORING = 256
_NUM_SHOWN = 4


class SourceToTreeBatch(NamedTuple):
    """Sources and the trees that belong to them.

    Args:
        source: (B, S) token ids, or source trees.
        lengths: (B), the number of tokens of each text; None for trees, which have their sizes.
        trees: the B trees.
    """

    source: Tensor | TreeBatch
    lengths: Tensor | None
    trees: TreeBatch


class SourceToTree(BatchTask):
    r"""The prediction of the tree y of a text or tree x by a doubly recurrent decoder:

        L = -1/N sum over examples of log P(y | x)

    with N the number of nodes of all trees. log P(y | x) is that of
    :class:`throughtime.models.EncoderTreeDecoder`.

    A subclass defines :meth:`read_trees`.

    Figures, all from 0 to 1: ``exact_match``, the fraction of trees that are equal to that of their
    example, up to the order of children where the data set says that it does not matter;
    ``node_f1`` and ``edge_f1``, how many nodes and edges are right
    (:func:`throughtime.tasks.tree_overlap.overlap_figures`); ``exact_match_seen`` and
    ``exact_match_unseen``, the exact match for skeletons (programs without constants and names)
    that occur in the training, and for others, if the data set marks them; ``passes``, the fraction
    of programs that pass their tests, if the data set has tests.

    Units: the loss is in nats per node.
    """

    Assets = Entries(
        {
            "data": str,
            "data_sha256": str,
            "num_examples": COUNTS,
            **TREE_FACTS,
            "tokeniser": source_tokeniser,
            "labels": TreeLabels.from_json,
            "longest_source": Whole(1, LONGEST),
            "most_nodes": Whole(1, LONGEST),
            "most_depth": Whole(0, LONGEST),
            "grammar": Maybe(Grammar.from_json),
        },
        # Runs that read texts have no children in their sources.
        {"most_children": Whole(0, LONGEST)},
    )
    EvaluationOptions = TreesToJudge
    PredictionOptions = WritingOptions
    reads = "a text, or a tree in the notation of the training"
    writes = "the tree that the model predicts, in the notation of the training"
    unit = "nodes"
    monitor = "exact_match"
    has_outputs = True

    def __init__(self, config: SourceToTreeConfig, assets: dict[str, Any] | None = None) -> None:
        super().__init__(config, assets)
        self._encoded_splits: dict[str, list[EncodedSource]] = {}

    @abstractmethod
    def read_trees(self) -> TreeSet:
        """Reads or generates the data; the examples have source trees if these are read."""

    # Which figures there are depends on the data, so the first use of them reads it.

    @cached_property
    def figures(self) -> Mapping[str, Figure]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return {"loss": Figure("nats per node"), **figures_of(self.assets)}

    # The data.

    @cached_property
    def trees(self) -> TreeSet:
        """The data. Raises a ValueError if they are not those of the training of a loaded run."""
        trees = self.read_trees()
        sha256 = trees.fingerprint()
        check_unchanged(self.name, "the trees", trees.name, sha256, self._assets)
        return trees

    def examples(self, split: str) -> Sequence[TreeExample]:
        """The examples of a split."""
        return split_of(self.name, self.trees.name, self.trees.splits, split)

    @cached_property
    def tokeniser(self) -> Tokeniser:
        """The tokeniser of the texts, or the labels of the source trees."""
        if self._assets is not None:
            return source_tokeniser(self._assets["tokeniser"])
        c, parts = self.config, [p for e in self.examples("train") for p in self._source(e).parts]
        if c.reads_trees:
            return TreeLabels.fit(parts, min_count=c.min_count, max_size=c.vocab_size)
        return tokeniser_of_texts(c, "symbols", parts, c.min_count)

    @property
    def tokenisers_by_name(self) -> Mapping[str, Any]:
        return {"source": self.tokeniser, "target": self.labels}

    @cached_property
    def labels(self) -> TreeLabels:
        """The labels of the trees of the training."""
        if self._assets is not None:
            return TreeLabels.from_json(self._assets["labels"])
        train = self.examples("train")
        return TreeLabels.fit(label for example in train for label in example.tree.labels)

    @property
    def notation(self) -> str:
        """The name of the notation of the trees."""
        return self.trees.notation if self._assets is None else self._assets["notation"]

    @cached_property
    def bounds(self) -> Bounds:
        """What limits the trees that are written."""
        a, rules = self.assets, self.assets["grammar"]
        grammar = any_known_label(len(self.labels)) if rules is None else Grammar.from_json(rules)
        limits = (math.ceil(1.5 * a["most_nodes"]) + 2, math.ceil(1.5 * a["most_depth"]) + 1)
        return Bounds(*limits, grammar, a["longest_source"])

    def new_assets(self) -> dict[str, Any]:
        data, train, valid = self.trees, self.examples("train"), self.examples("valid")
        grammar = None
        if self.config.constrained:
            batch = Trees(*collate_trees([example.tree for example in train], self.labels))
            grammar = Grammar.observed(len(self.labels), [batch]).to_json()
        assets: dict[str, Any] = {
            "data": data.name,
            "data_sha256": data.fingerprint(),
            "num_examples": {split: len(examples) for split, examples in data.splits.items()},
            **facts_of(data, valid),
            "tokeniser": self.tokeniser.to_json(),
            "labels": self.labels.to_json(),
            "longest_source": max(map(len, self._sources("train"))),
            "most_nodes": max(len(example.tree) for example in train),
            "most_depth": max(max(example.tree.depths) for example in train),
            "grammar": grammar,
        }
        if self.config.reads_trees:
            trees = [example.source_tree for example in train if example.source_tree is not None]
            assets["most_children"] = max(max(tree.arities) for tree in trees)
        return assets

    @property
    def title(self) -> str:
        c = self.config
        name = f"{self.trees.name}-{c.recurrence}-{c.cell}-{c.num_layers}x{c.hidden_size}"
        return name.replace(",", "-")

    def _source(self, example: TreeExample) -> Source:
        """What the model reads of an example."""
        tree = example.source_tree
        if not self.config.reads_trees or tree is None:
            return Source(example.source)
        return Source(text_of(tree, self.notation)[0], tree)

    def source_of_line(self, text: str, where: str) -> Source:
        """What the model reads of a line that a user has written.

        Raises:
            TreeError: if trees are read, and the line is none, or one that the model cannot read.
        """
        if not self.config.reads_trees:
            return Source(text)
        source = Source(text, NOTATIONS[self.notation].read(text, where))
        self._check_source(source, where)
        return source

    def _check_source(self, source: Source, where: str) -> None:
        """Raises a TreeError if the encoder cannot read a source tree."""
        if self.config.source == "n-ary":
            check_children(where, source, self.assets["most_children"])

    def _encoded(self, examples: Sequence[TreeExample]) -> list[EncodedSource]:
        return [self._source(example).encoded(self.tokeniser) for example in examples]

    def _sources(self, split: str) -> list[EncodedSource]:
        """The sources of a split."""
        if split not in self._encoded_splits:
            self._encoded_splits[split] = self._encoded(self.examples(split))
        return self._encoded_splits[split]

    def check(self) -> None:
        super().check()
        # A faulty validation split should not end a training after its first epoch.
        for split in ("valid", "test"):
            if split == "valid" or split in self.trees.splits:
                examples = self.examples(split)
                self._warn(f"{self.trees.name}, {split}", examples, self._sources(split))

    def _warn(
        self, where: str, examples: Sequence[TreeExample], sources: Sequence[EncodedSource]
    ) -> None:
        """Logs which sources and trees the model cannot read or write as they are.

        Raises:
            TreeError: for a source tree that the model cannot read at all.
        """
        for number, example in enumerate(examples, 1):
            self._check_source(self._source(example), f"{where}, example {number}, source")
        kind = "source trees" if self.config.reads_trees else "texts"
        parts = (part for example in examples for part in self._source(example).parts)
        warn_of_unknown(f"{where}: of the {kind}", self.tokeniser, parts)
        warn_of_unwritable(where, self.labels, [example.tree for example in examples])
        longest = self.assets["longest_source"]
        warn_of_long_sources(list(map(len, sources)), longest, self.tokeniser.unit)

    def defaults(self) -> dict[str, Default]:
        amount = len(self.examples("train"))
        return defaults_for(self.config, amount, "examples", per_row=1, least=8, few=5_000)

    def batches(self, split: str, share: Share = WHOLE) -> RaggedBatches[SourceToTreeBatch]:
        c = self.config
        return self._batches(
            *(self.examples(split), self._sources(split), c.batch_size),
            seed=c.data_seed,
            **share._asdict(),
        )

    def _batches(
        self,
        examples: Sequence[TreeExample],
        sources: Sequence[EncodedSource],
        size: int,
        **options: Any,
    ) -> RaggedBatches[SourceToTreeBatch]:
        def collate(indices: Sequence[int]) -> SourceToTreeBatch:
            trees = collate_trees([examples[i].tree for i in indices], self.labels)
            return SourceToTreeBatch(*collate_sources([sources[i] for i in indices]), trees)

        return RaggedBatches(list(map(len, sources)), collate, size, **options)

    # The model and its loss.

    def model(self) -> EncoderTreeDecoder:
        c = self.config
        return EncoderTreeDecoder(
            len(self.tokeniser),
            len(self.labels),
            source=c.source,
            # A tree-LSTM of trees that are all single nodes has weights for one child at least.
            max_children=max(1, self.assets["most_children"]) if c.source == "n-ary" else None,
            recurrence=c.recurrence,
            topology=c.topology,
            sibling_cell=c.sibling(),
            embedding_size=c.embedding_size,
            attention=c.attention,
            encoder_options=c.override("encoder", c.encoder),
            decoder_options=c.override("decoder", c.decoder),
            **{"bidirectional": c.bidirectional} | c.recurrent(),
        )

    def loss(
        self, model: nn.Module, batch: SourceToTreeBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        assert isinstance(model, EncoderTreeDecoder)
        trees = Trees(*batch.trees)
        logs = model.log_likelihood(for_model(batch.source), batch.lengths, trees)
        return Loss(-logs.sum(), int(trees.sizes.sum()))

    # Evaluation.

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: TreesToJudge | None = None
    ) -> Evaluation:
        if options is not None and options.data is not None:
            if split is not None:
                raise ValueError("--data is evaluated as a whole; leave --split out")
            about: dict[str, Any] = {"data": options.data}
            _, parts = read_trees(
                options.data,
                self.notation,
                has_source_trees=self.config.reads_trees,
                encoding=options.encoding or "utf-8",
            )
            examples = [example for part in parts.values() for example in part]
        else:
            split = split or "valid"
            about = {"split": split}
            examples = self.examples(split)
        sources = self._encoded(examples) if split is None else self._sources(split)
        if options is not None:
            self._warn(next(iter(about.values())), examples, sources)
        beam_width = (options and options.beam_width) or self.config.beam_width
        # The sources of the training are no longer than this.
        sources = [source.first(num_read(self.assets["longest_source"])) for source in sources]
        trees = self.written(model, sources, beam_width)
        figures = {
            "loss": self._mean_loss(model, examples, sources),
            **self.judge(examples, trees),
        }
        about |= {"examples": len(examples), "beam_width": beam_width}
        return Evaluation(figures, about, [self._text(tree) for tree in trees])

    def judge(
        self, examples: Sequence[TreeExample], trees: Sequence[Tree | None]
    ) -> dict[str, float]:
        """The figures of written trees."""
        figures = tree_figures(examples, trees, self.assets["commutative"])
        return figures | overlap_figures([example.tree for example in examples], trees)

    def written(
        self, model: nn.Module, sources: Sequence[EncodedSource], beam_width: int
    ) -> list[Tree | None]:
        """The tree that the model writes for each source; None if the search writes no node."""
        return [self.tree(h) for h in trees_of(model, sources, self.bounds, beam_width)]

    def _mean_loss(
        self, model: nn.Module, examples: Sequence[TreeExample], sources: Sequence[EncodedSource]
    ) -> float:
        device = next(model.parameters()).device
        total, count = 0.0, 0
        with evaluating(model):
            for batch in self._batches(examples, sources, _ROWS_OF_SCORING, is_shuffled=False):
                loss = self.loss(model, moved(batch, device))
                total, count = total + loss.total.item(), count + loss.count
        return total / count

    def tree(self, hypothesis: TreeHypothesis) -> Tree | None:
        """The tree of a hypothesis; None if the search has written no node."""
        if not hypothesis.labels:
            return None
        return self.labels.decode_tree(hypothesis.labels, hypothesis.parents)

    def _text(self, tree: Tree | None) -> str:
        return "" if tree is None else text_of(tree, self.notation)[0]

    # Looking at the model, and using it.

    def show(self, model: nn.Module) -> list[Shown]:
        examples = self.examples("valid")[:_NUM_SHOWN]
        trees = self.written(model, self._sources("valid")[:_NUM_SHOWN], 1)
        lines = []
        for example, tree in zip(examples, trees, strict=True):
            written, true = self._text(tree), self._text(example.tree)
            lines.append(f"{self._source(example).text} → {written}")
            if written != true:
                lines[-1] += f" ({true})"
        texts = [Text("\n".join(lines))]
        if trees and trees[0] is not None:
            texts.append(Text(f"{self._source(examples[0]).text}\n{_indented(trees[0])}"))
        return [*texts]

    @property
    def nothing_to_explain(self) -> str:
        return "attention=none" if self.config.attention == "none" else ""

    def explanations(self, model: nn.Module) -> list[AttentionMap]:
        if self.nothing_to_explain:
            return []
        sources = [self._source(example) for example in self.examples("valid")[:_NUM_SHOWN]]
        encoded = self._sources("valid")[:_NUM_SHOWN]
        results = trees_of(model, encoded, self.bounds, keep_attention=True)
        maps = [self.map(*each) for each in zip(sources, encoded, results, strict=True)]
        return [each for each in maps if each is not None]

    def map(
        self, source: Source, encoded: EncodedSource, hypothesis: TreeHypothesis
    ) -> AttentionMap | None:
        """The attention of the nodes of a tree over its source, both in prefix order.

        Args:
            source: the source.
            encoded: the part of it that the model has read.
            hypothesis: the tree. The map is None if it has no node, or there is no attention.
        """
        tree = self.tree(hypothesis)
        if hypothesis.attention is None or tree is None:
            return None
        weights = hypothesis.attention[:MOST_TOKENS, :MOST_TOKENS]
        T, S = weights.shape
        texts = [source.text, self._text(tree)]
        if (T, S) != (len(tree), len(encoded)):
            texts = [text if len(text) < 200 else f"{text[:199]}…" for text in texts]
            texts[1] += f" (the first {S:,} of {len(encoded):,}, the first {T:,} of {len(tree):,})"
        return AttentionMap(
            source.names(self.tokeniser, encoded.ids)[:S],
            tree.labels[:T],
            [[round(weight, 4) for weight in row] for row in weights.tolist()],
            " → ".join(texts),
            () if encoded.parents is None else encoded.parents[:S],
            tree.parents[:T],
        )

    def held_out(self, most: int) -> list[str]:
        texts = [self._source(example).text for example in self.examples("valid")]
        lengths = dict(zip(texts, map(len, self._sources("valid")), strict=True))
        return first_of(texts, lengths.__getitem__, most)

    def observe(self, model: nn.Module, input: str) -> Observation:
        assert isinstance(model, EncoderTreeDecoder)
        if not input.strip():
            raise ValueError("expected at least one word, got an empty text.")
        source = self.source_of_line(input, "")
        encoded = source.encoded(self.tokeniser)
        device = next(model.parameters()).device
        read, lengths = moved(collate_sources([encoded]), device)

        def run() -> None:
            with evaluating(model):
                model.encode(for_model(read), lengths)

        return Observation({"encoder": tuple(source.names(self.tokeniser, encoded.ids))}, run)

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: WritingOptions,
        say: Callable[[str], None],
        explain: bool = False,
    ) -> Iterator[Prediction]:
        return predict_trees(self, model, inputs, options, say, explain)


def _indented(tree: Tree) -> str:
    """A tree with a label on each line, indented by its depth."""
    return "\n".join(
        f"{'  ' * d}{label}" for label, d in zip(tree.labels, tree.depths, strict=True)
    )
