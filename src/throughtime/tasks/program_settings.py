"""The settings of the task program."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from throughtime.checks import unknown
from throughtime.data.splits import Cut
from throughtime.data.trees import NOTATIONS, TREE_SETS
from throughtime.reading import json_value
from throughtime.tasks.network import NetworkConfig, check_range
from throughtime.tasks.run_data import absolute_files
from throughtime.tasks.sequence_settings import MOST_BEAMS

__all__ = ["ProgramConfig", "TreesToJudge", "WritingOptions"]


@dataclass
class ProgramConfig(NetworkConfig):
    """The texts and trees, the model, and the batches.

    Args:
        data: name of a data set (algolisp, geoquery, atis-logic, django, nl2bash, sst-trees,
            synthetic-trees); a file with a text, a tab and a tree on each line; a folder with such
            files for train, valid and test; SOURCE,TARGET, two files with corresponding lines; or
            a folder with the published files of AlgoLisp.
        notation: notation of the trees in your own files: s-expression, json, treebank, python or
            shell (default: s-expression).
        encoding: encoding of the files of --data, as Python names it.
        valid_fraction: fraction of the examples that is kept for validation, if the data have no
            splits (default: 0.1).
        test_fraction: fraction of the examples that is kept for the test (default: 0).
        split: how one file is cut into training, validation and test: order, one after the other;
            random, single examples (those of equal texts together); blocks, parts of ten blocks of
            consecutive examples.
        tokenisation: how a text is split into tokens: symbols, by spaces; or words, which also
            separates punctuation marks.
        lower_case: convert words to lower case.
        min_count: how often a word must occur in the training split to be in the vocabulary.
        vocab_size: largest size of the vocabulary of the texts (default: no limit).
        recurrence: the recurrences of the decoder: V, down the tree; H, across siblings; or VH.
        topology: how the decoder ends siblings and branches: predicted, by two decisions at each
            node; or end, by an end symbol.
        sibling_cell: cell of the recurrence across siblings (default: that of --cell).
        num_layers: number of recurrent layers of the encoder, and of the decoder.
        encoder: settings of the encoder that differ from the shared ones, for example
            --encoder.num_layers 2.
        decoder: settings of the decoder that differ from the shared ones, for example
            --decoder.num_layers 2.
        embedding_size: width of the embeddings of words and labels (default: hidden_size).
        bidirectional: let the encoder also read the text from its end.
        attention: how the decoder scores the words of the text at each node; with none it sees
            only the last state of the encoder.
        dropout: probability to drop a unit of embeddings, between layers, and before the scores.
        constrained: write only trees whose labels have the numbers of children, and below each
            label at each position the labels, that occur in the training.
        batch_size: examples of a batch, summed over all processes.
        data_seed: seed of the order of the examples.
        beam_width: width of the beam when a split is evaluated; 1 is greedy search.
    """

    data: str = "geoquery"
    notation: str | None = None
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    split: Cut = "order"
    _: KW_ONLY
    tokenisation: Literal["symbols", "words"] = "symbols"
    lower_case: bool = False
    min_count: int = 1
    vocab_size: int | None = None
    recurrence: Literal["V", "H", "VH"] = "VH"
    topology: Literal["predicted", "end"] = "predicted"
    sibling_cell: str | None = None
    embedding_size: int | None = None
    bidirectional: bool = True
    encoder: dict[str, Any] | None = field(default=None)
    decoder: dict[str, Any] | None = field(default=None)
    attention: Literal["none", "dot", "general", "additive"] = "general"
    constrained: bool = False
    batch_size: int = 32
    data_seed: int = 0
    beam_width: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute_files(self.data, TREE_SETS)
        for side in ("encoder", "decoder"):
            self.override(side, getattr(self, side))
        self.sibling()
        if self.notation is not None and self.notation not in NOTATIONS:
            raise ValueError(f"--notation: {unknown('notation', self.notation, NOTATIONS)}")
        check_range(self, ("min_count", "batch_size"), most=2**31 - 1)
        check_range(self, ("vocab_size",), least=5, most=2**31 - 1)
        check_range(self, ("beam_width",), most=MOST_BEAMS)

    def sibling(self) -> Any:
        """The cell of the recurrence across siblings; None if it is that of ``cell``."""
        if self.sibling_cell is None:
            return None
        if self.recurrence != "VH":
            raise ValueError(
                f"--sibling_cell {self.sibling_cell}: is for two recurrences, and would have no "
                f"effect with --recurrence {self.recurrence}. Use --cell."
            )
        return self.override("sibling", {"cell": self.sibling_cell})["cell"]


@dataclass
class TreesToJudge:
    """What is evaluated, and how.

    Args:
        data: your own examples instead of a split of the run's own data: a file with a text, a tab
            and a tree on each line, SOURCE,TARGET, or a folder; all of them are evaluated. The
            trees are written in the notation of the training.
        encoding: encoding of the files of --data (default: utf-8).
        beam_width: width of the beam; 1 is greedy search (default: the setting of the run).
    """

    data: str | None = None
    encoding: str | None = None
    beam_width: int | None = None

    def __post_init__(self) -> None:
        check_range(self, ("beam_width",), most=MOST_BEAMS)
        if self.encoding is not None and self.data is None:
            raise ValueError("--encoding is that of the files at --data, which is not given")


@dataclass
class WritingOptions:
    """How a tree is written.

    Args:
        beam_width: width of the beam; 1 is greedy search (default: the setting of the run).
        inputs: inputs of the program by name, as a JSON object (for example '{"a": [3, 1, 2]}');
            after each program its value follows, separated by a tab. For runs on AlgoLisp.
    """

    beam_width: int | None = None
    inputs: str | None = None

    def __post_init__(self) -> None:
        check_range(self, ("beam_width",), most=MOST_BEAMS)
        if self.inputs is not None and not isinstance(json_value("--inputs", self.inputs), dict):
            raise ValueError(
                "--inputs: expected a JSON object with a value for each name, such as '{\"a\": 1}',"
                f" got {self.inputs}."
            )

    @property
    def values(self) -> dict[str, Any] | None:
        """The inputs of the program by name; None if no value is asked for."""
        return None if self.inputs is None else json_value("--inputs", self.inputs)
