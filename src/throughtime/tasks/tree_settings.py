"""The settings that all tasks share whose models write trees, and the options of their commands."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Literal

from throughtime.reading import json_value
from throughtime.tasks.network import MAY_BE_MISSING, NetworkConfig, check_range
from throughtime.tasks.sequence_settings import MOST_BEAMS

__all__ = ["SourceToTreeConfig", "TreesToJudge", "WritingOptions"]

_OF_TEXTS = ("tokenisation", "lower_case", "bidirectional")


@dataclass
class SourceToTreeConfig(NetworkConfig):
    """What is read and how, the model, and the batches.

    Args:
        source: what the encoder reads: sequence, the tokens of the text; or the text as a tree, by
            a child-sum Tree-LSTM, to which the order of children does not matter, or by an n-ary
            one, which has weights for each position of a child.
        tokenisation: how a text is split into tokens: symbols, by spaces; words, which also
            separates punctuation marks; or characters.
        lower_case: convert words to lower case.
        min_count: how often a word, or a label of a source tree, must occur in the training split
            to be in the vocabulary.
        vocab_size: largest size of the vocabulary of the sources (default: no limit).
        recurrence: the recurrences of the decoder: V, down the tree; H, across siblings; or VH.
        topology: how the decoder ends siblings and branches: predicted, by two decisions at each
            node; or end, by an end symbol.
        sibling_cell: cell of the recurrence across siblings (default: that of --cell).
        num_layers: number of recurrent layers of the encoder of texts, and of the decoder.
        encoder: settings of the encoder that differ from the shared ones, for example
            --encoder.num_layers 2.
        decoder: settings of the decoder that differ from the shared ones, for example
            --decoder.num_layers 2.
        embedding_size: width of the embeddings of words and labels (default: hidden_size).
        bidirectional: let the encoder also read the text from its end.
        attention: how the decoder scores the words of the text, or the nodes of the source tree, at
            each node; with none it sees only the last state of the encoder.
        dropout: probability to drop a unit of embeddings, between layers, and before the scores.
        constrained: write only trees whose labels have the numbers of children, and below each
            label at each position the labels, that occur in the training.
        batch_size: examples of a batch, summed over all processes.
        data_seed: seed of the order of the examples, and of examples that are generated.
        beam_width: width of the beam when a split is evaluated; 1 is greedy search.
    """

    _: KW_ONLY
    source: Literal["sequence", "child-sum", "n-ary"] = field(
        default="sequence", metadata=MAY_BE_MISSING
    )
    tokenisation: Literal["symbols", "words", "characters"] = "symbols"
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
        for side in ("encoder", "decoder"):
            self.override(side, getattr(self, side))
        self.sibling()
        for option in fields(self) if self.reads_trees else ():
            if option.name in _OF_TEXTS and getattr(self, option.name) != option.default:
                raise ValueError(
                    f"--{option.name} {getattr(self, option.name)}: is for texts, and would have "
                    f"no effect with --source {self.source}. Leave it out."
                )
        check_range(self, ("min_count", "batch_size"), most=2**31 - 1)
        check_range(self, ("vocab_size",), least=5, most=2**31 - 1)
        check_range(self, ("beam_width",), most=MOST_BEAMS)

    @property
    def reads_trees(self) -> bool:
        """Whether the sources are read as trees."""
        return self.source != "sequence"

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
