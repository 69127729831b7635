"""The settings of the task program."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from throughtime.tasks.network import check_range
from throughtime.tasks.sequence_settings import MOST_BEAMS
from throughtime.tasks.tree_settings import ProgramInputs, TreeTextsConfig

__all__ = ["ProgramConfig", "TreesToJudge", "WritingOptions"]


@dataclass
class ProgramConfig(TreeTextsConfig):
    """The texts and trees, the model, and the batches.

    Args:
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

    _: KW_ONLY
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
        check_range(self, ("batch_size",), most=2**31 - 1)
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
class WritingOptions(ProgramInputs):
    """How a tree is written.

    Args:
        beam_width: width of the beam; 1 is greedy search (default: the setting of the run).
    """

    beam_width: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, ("beam_width",), most=MOST_BEAMS)
