"""program: writes the tree of a text: a program, a logical form, a command."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.data import (
    UNK,
    RaggedBatches,
    Tokeniser,
    num_read,
    pad_rows,
    suspicions,
    tokeniser_from_json,
    warn_of_long_sources,
)
from throughtime.data.trees import (
    NOTATIONS,
    TREE_SETS,
    Tree,
    TreeBatch,
    TreeExample,
    TreeLabels,
    TreeSet,
    collate_trees,
    load_trees,
    read_trees,
)
from throughtime.layers.evaluation import evaluating
from throughtime.models import EncoderTreeDecoder, Grammar, TreeHypothesis, Trees
from throughtime.reading import Each, Entries, Maybe, Whole
from throughtime.tasks.alignments import tokens_of
from throughtime.tasks.program_settings import ProgramConfig, TreesToJudge, WritingOptions
from throughtime.tasks.run_data import COUNTS, LONGEST, check_unchanged, first_of, split_of
from throughtime.tasks.shown import Shown, Text
from throughtime.tasks.small_data import defaults_for
from throughtime.tasks.task import WHOLE, BatchTask, Default, Evaluation, Figure, Loss, Share
from throughtime.tasks.text_tokenisers import tokeniser_of_texts
from throughtime.tasks.tree_predictions import nothing_read, of_hypothesis
from throughtime.tasks.tree_writing import (
    Bounds,
    any_known_label,
    has_tests,
    text_of,
    tree_figures,
    trees_of,
)
from throughtime.tasks.unknown_tokens import UnknownTokens
from throughtime.tasks.uses import AttentionMap, Observation, Prediction

__all__ = ["ProgramConfig", "ProgramWriting"]

_log = logging.getLogger(__name__)

_ROWS_OF_SCORING = 256
_NUM_SHOWN = 4


class ProgramBatch(NamedTuple):
    """Texts and their trees.

    Args:
        source: (B, S) token ids.
        lengths: (B), the number of tokens of each text.
        trees: the B trees.
    """

    source: Tensor
    lengths: Tensor
    trees: TreeBatch


class ProgramWriting(BatchTask):
    r"""The prediction of the tree y of a text x, such as a program, by a doubly recurrent decoder:

        L = -1/N sum over examples of log P(y | x)

    with N the number of nodes of all trees. log P(y | x) is that of
    :class:`throughtime.models.EncoderTreeDecoder`.

    Figures, all from 0 to 1: ``exact_match``, the fraction of trees that are equal to that of their
    example, up to the order of children where the data set says that it does not matter;
    ``exact_match_seen`` and ``exact_match_unseen``, the same for skeletons (programs without
    constants and names) that occur in the training, and for others, if the data set marks them;
    ``passes``, the fraction of programs that pass their tests, if the data set has tests.

    Units: the loss is in nats per node.

    Source: Bednarek, Piaskowski and Krawiec, arXiv 1810.09717 (SAPS). Differs: one learned
        embedding of words instead of pretrained vectors.
    """

    name = "program"
    Config = ProgramConfig
    Assets = Entries(
        {
            "data": str,
            "data_sha256": str,
            "num_examples": COUNTS,
            "notation": Literal[tuple(NOTATIONS)],
            "commutative": Each(str),
            "has_tests": bool,
            "has_skeletons": bool,
            "tokeniser": tokeniser_from_json,
            "labels": TreeLabels.from_json,
            "longest_source": Whole(1, LONGEST),
            "most_nodes": Whole(1, LONGEST),
            "most_depth": Whole(0, LONGEST),
            "grammar": Maybe(Grammar.from_json),
        }
    )
    EvaluationOptions = TreesToJudge
    PredictionOptions = WritingOptions
    reads = "a text"
    writes = "the tree that the model predicts, in the notation of the training"
    unit = "nodes"
    monitor = "exact_match"
    has_outputs = True

    def __init__(self, config: ProgramConfig, assets: dict[str, Any] | None = None) -> None:
        super().__init__(config, assets)
        self._ids: dict[str, list[list[int]]] = {}

    # Which figures there are depends on the data, so the first use of them reads it.

    @cached_property
    def figures(self) -> Mapping[str, Figure]:  # pyright: ignore[reportIncompatibleVariableOverride]
        names = ["exact_match"]
        names += ["exact_match_seen", "exact_match_unseen"] if self.assets["has_skeletons"] else []
        names += ["passes"] if self.assets["has_tests"] else []
        shares = {name: Figure(better="higher") for name in names}
        return {"loss": Figure("nats per node"), **shares}

    # The data.

    @cached_property
    def trees(self) -> TreeSet:
        """The data. Raises a ValueError if they are not those of the training of a loaded run."""
        c = self.config
        trees = load_trees(
            c.data,
            notation=c.notation,
            encoding=c.encoding,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            cut=c.split,
        )
        sha256 = trees.fingerprint()
        check_unchanged(self.name, "the trees", trees.name, sha256, self._assets)
        return trees

    def examples(self, split: str) -> Sequence[TreeExample]:
        """The examples of a split."""
        return split_of(self.name, self.trees.name, self.trees.splits, split)

    @cached_property
    def tokeniser(self) -> Tokeniser:
        """The tokeniser of the texts."""
        if self._assets is not None:
            return tokeniser_from_json(self._assets["tokeniser"])
        texts = (example.source for example in self.examples("train"))
        return tokeniser_of_texts(self.config, "symbols", texts, self.config.min_count)

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

    @cached_property
    def _bounds(self) -> Bounds:
        """What limits the trees that are written."""
        a, rules = self.assets, self.assets["grammar"]
        grammar = any_known_label(len(self.labels)) if rules is None else Grammar.from_json(rules)
        limits = (math.ceil(1.5 * a["most_nodes"]) + 2, math.ceil(1.5 * a["most_depth"]) + 1)
        return Bounds(*limits, grammar)

    def new_assets(self) -> dict[str, Any]:
        data, train, valid = self.trees, self.examples("train"), self.examples("valid")
        grammar = None
        if self.config.constrained:
            batch = Trees(*collate_trees([example.tree for example in train], self.labels))
            grammar = Grammar.observed(len(self.labels), [batch]).to_json()
        marks = {getattr(example, "is_seen", None) for example in valid}
        return {
            "data": data.name,
            "data_sha256": data.fingerprint(),
            "num_examples": {split: len(examples) for split, examples in data.splits.items()},
            "notation": data.notation,
            "commutative": sorted(data.commutative),
            "has_tests": any(has_tests(example) for example in valid),
            "has_skeletons": {True, False} <= marks,
            "tokeniser": self.tokeniser.to_json(),
            "labels": self.labels.to_json(),
            "longest_source": max(map(len, self._sources("train"))),
            "most_nodes": max(len(example.tree) for example in train),
            "most_depth": max(max(example.tree.depths) for example in train),
            "grammar": grammar,
        }

    @property
    def title(self) -> str:
        c = self.config
        name = f"{self.trees.name}-{c.recurrence}-{c.cell}-{c.num_layers}x{c.hidden_size}"
        return name.replace(",", "-")

    def _encoded(self, text: str) -> list[int]:
        # A text without any token is read as one unknown token.
        return self.tokeniser.encode(text) or [UNK]

    def _sources(self, split: str) -> list[list[int]]:
        """The token ids of the texts of a split."""
        if split not in self._ids:
            self._ids[split] = [self._encoded(example.source) for example in self.examples(split)]
        return self._ids[split]

    def check(self) -> None:
        super().check()
        # A faulty validation split should not end a training after its first epoch.
        for split in ("valid", "test"):
            if split == "valid" or split in self.trees.splits:
                examples = self.examples(split)
                self._warn(f"{self.trees.name}, {split}", examples, self._sources(split))
        # A published data set has the splits that it has.
        if self.config.data not in TREE_SETS:
            write = NOTATIONS[self.trees.notation].write
            lines = {
                split: [f"{example.source}\t{write(example.tree)}" for example in examples]
                for split, examples in self.trees.splits.items()
            }
            for warning in suspicions(self.trees.name, lines, self.trees.cut, "examples"):
                _log.warning(warning)

    def _warn(
        self, where: str, examples: Sequence[TreeExample], sources: Sequence[Sequence[int]]
    ) -> None:
        """Logs which texts and trees the model cannot read or write as they are."""
        unknown = UnknownTokens(self.tokeniser)
        for example in examples:
            unknown.add(example.source)
        if warning := str(unknown):
            _log.warning("%s: of the texts %s", where, warning)
        known = set(self.labels.tokens)
        unseen = [example for example in examples if not known.issuperset(example.tree.labels)]
        if unseen:
            labels = sorted({label for e in unseen for label in e.tree.labels} - known)
            more = ", …" if len(labels) > 5 else ""
            _log.warning(
                "%s: %d of %d trees have labels that the training lacks, so they cannot be "
                "written: %s%s.",
                *(where, len(unseen), len(examples), ", ".join(map(repr, labels[:5])), more),
            )
        longest = self.assets["longest_source"]
        warn_of_long_sources(list(map(len, sources)), longest, self.tokeniser.unit)

    def defaults(self) -> dict[str, Default]:
        amount = len(self.examples("train"))
        return defaults_for(self.config, amount, "examples", per_row=1, least=8, few=5_000)

    def batches(self, split: str, share: Share = WHOLE) -> RaggedBatches[ProgramBatch]:
        c = self.config
        return self._batches(
            *(self.examples(split), self._sources(split), c.batch_size),
            seed=c.data_seed,
            **share._asdict(),
        )

    def _batches(
        self,
        examples: Sequence[TreeExample],
        sources: Sequence[Sequence[int]],
        size: int,
        **options: Any,
    ) -> RaggedBatches[ProgramBatch]:
        def collate(indices: Sequence[int]) -> ProgramBatch:
            trees = collate_trees([examples[i].tree for i in indices], self.labels)
            return ProgramBatch(*pad_rows([sources[i] for i in indices]), trees)

        return RaggedBatches([len(ids) for ids in sources], collate, size, **options)

    # The model and its loss.

    def model(self) -> EncoderTreeDecoder:
        c = self.config
        return EncoderTreeDecoder(
            len(self.tokeniser),
            len(self.labels),
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
        self, model: nn.Module, batch: ProgramBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        assert isinstance(model, EncoderTreeDecoder)
        trees = Trees(*batch.trees)
        logs = model.log_likelihood(batch.source, batch.lengths, trees)
        return Loss(-logs.sum(), int(trees.sizes.sum()))

    # Evaluation.

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: TreesToJudge | None = None
    ) -> Evaluation:
        if options is not None and options.data is not None:
            if split is not None:
                raise ValueError("--data is evaluated as a whole; leave --split out")
            about: dict[str, Any] = {"data": options.data}
            encoding = options.encoding or "utf-8"
            _, parts = read_trees(options.data, self.assets["notation"], encoding=encoding)
            examples = [example for part in parts.values() for example in part]
            sources = [self._encoded(example.source) for example in examples]
        else:
            split = split or "valid"
            about = {"split": split}
            examples, sources = self.examples(split), self._sources(split)
        if options is not None:
            self._warn(next(iter(about.values())), examples, sources)
        # The sources of the training are no longer than this.
        sources = [ids[: num_read(self.assets["longest_source"])] for ids in sources]
        beam_width = (options and options.beam_width) or self.config.beam_width
        trees = [self._tree(h) for h in trees_of(model, sources, self._bounds, beam_width)]
        figures = {
            "loss": self._mean_loss(model, examples, sources),
            **tree_figures(examples, trees, self.assets["commutative"]),
        }
        about |= {"examples": len(examples), "beam_width": beam_width}
        return Evaluation(figures, about, [self._text(tree) for tree in trees])

    def _mean_loss(
        self, model: nn.Module, examples: Sequence[TreeExample], sources: Sequence[Sequence[int]]
    ) -> float:
        device = next(model.parameters()).device
        total, count = 0.0, 0
        with evaluating(model):
            for batch in self._batches(examples, sources, _ROWS_OF_SCORING, is_shuffled=False):
                trees = TreeBatch(*(tensor.to(device) for tensor in batch.trees))
                moved = ProgramBatch(batch.source.to(device), batch.lengths.to(device), trees)
                loss = self.loss(model, moved)
                total, count = total + loss.total.item(), count + loss.count
        return total / count

    def _tree(self, hypothesis: TreeHypothesis) -> Tree | None:
        """The tree of a hypothesis; None if the search has written no node."""
        if not hypothesis.labels:
            return None
        return self.labels.decode_tree(hypothesis.labels, hypothesis.parents)

    def _text(self, tree: Tree | None) -> str:
        return "" if tree is None else text_of(tree, self.assets["notation"])[0]

    # Looking at the model, and using it.

    def show(self, model: nn.Module) -> list[Shown]:
        examples = self.examples("valid")[:_NUM_SHOWN]
        results = trees_of(model, self._sources("valid")[:_NUM_SHOWN], self._bounds)
        trees = [self._tree(result) for result in results]
        lines = []
        for example, tree in zip(examples, trees, strict=True):
            written, true = self._text(tree), self._text(example.tree)
            lines.append(f"{example.source} → {written}")
            if written != true:
                lines[-1] += f" ({true})"
        texts = [Text("\n".join(lines))]
        if trees and trees[0] is not None:
            texts.append(Text(f"{examples[0].source}\n{_indented(trees[0])}"))
        return [*texts]

    @property
    def nothing_to_explain(self) -> str:
        return "attention=none" if self.config.attention == "none" else ""

    def explanations(self, model: nn.Module) -> list[AttentionMap]:
        if self.nothing_to_explain:
            return []
        texts = [example.source for example in self.examples("valid")[:_NUM_SHOWN]]
        sources = self._sources("valid")[:_NUM_SHOWN]
        results = trees_of(model, sources, self._bounds, keep_attention=True)
        maps = [self._map(*each) for each in zip(texts, sources, results, strict=True)]
        return [each for each in maps if each is not None]

    def _map(
        self, text: str, ids: Sequence[int], hypothesis: TreeHypothesis
    ) -> AttentionMap | None:
        """The attention of the nodes, in prefix order, over the tokens of the text."""
        tree = self._tree(hypothesis)
        if hypothesis.attention is None or tree is None:
            return None
        words = tokens_of(self.tokeniser, ids, self.tokeniser.unknown(text))
        rows = [[round(weight, 4) for weight in row] for row in hypothesis.attention.tolist()]
        return AttentionMap(words, tree.labels, rows, f"{text} → {self._text(tree)}")

    def held_out(self, most: int) -> list[str]:
        texts = [example.source for example in self.examples("valid")]
        return first_of(texts, lambda text: len(self._encoded(text)), most)

    def observe(self, model: nn.Module, input: str) -> Observation:
        assert isinstance(model, EncoderTreeDecoder)
        if not input.strip():
            raise ValueError("expected at least one word, got an empty text.")
        ids = self._encoded(input)
        words = tuple(tokens_of(self.tokeniser, ids, self.tokeniser.unknown(input)))
        source = torch.tensor([ids], device=next(model.parameters()).device)

        def run() -> None:
            with evaluating(model):
                model.encode(source, [len(ids)])

        return Observation({"encoder": words}, run)

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: WritingOptions,
        say: Callable[[str], None],
        explain: bool = False,
    ) -> Iterator[Prediction]:
        if options.inputs is not None and not self.assets["has_tests"]:
            raise ValueError(
                "--inputs: the trees of this run are no programs of AlgoLisp, so they have no "
                "values. Leave it out."
            )
        unknown = UnknownTokens(self.tokeniser)
        longest, number = self.assets["longest_source"], 0
        limit = num_read(longest)
        beam_width = options.beam_width or self.config.beam_width
        try:
            for lines in inputs:
                texts = [line for line in lines if line.strip()]
                sources = [self._encoded(text)[:limit] for text in texts]
                results = iter(
                    zip(
                        sources,
                        trees_of(model, sources, self._bounds, beam_width, explain),
                        strict=True,
                    )
                )
                for line in lines:
                    number += 1
                    if not line.strip():
                        yield nothing_read()
                        continue
                    length = unknown.add(line)
                    if length > 2 * longest:
                        read = f" Only its first {limit:,} are read." if length > limit else ""
                        say(
                            f"line {number}: has {length:,} {self.tokeniser.unit}, the longest of "
                            f"the training {longest:,}.{read} The tree may be poor; write a "
                            "shorter text."
                        )
                    ids, hypothesis = next(results)
                    lines_of_tree, record, remarks = of_hypothesis(
                        hypothesis, self._tree(hypothesis), self.assets["notation"], options.values
                    )
                    for remark in remarks:
                        say(f"line {number}: {remark}")
                    attention = self._map(line, ids, hypothesis) if explain else None
                    yield Prediction(lines_of_tree, record, attention)
        finally:
            if warning := str(unknown):
                say(warning)


def _indented(tree: Tree) -> str:
    """A tree with a label on each line, indented by its depth."""
    return "\n".join(
        f"{'  ' * d}{label}" for label, d in zip(tree.labels, tree.depths, strict=True)
    )
