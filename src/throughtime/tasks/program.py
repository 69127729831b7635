"""program: writes the tree of a text or of a tree: a program, a logical form, a command."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from throughtime.data import suspicions
from throughtime.data.trees import NOTATIONS, TREE_SETS, TreeSet
from throughtime.tasks.source_to_tree import SourceToTree
from throughtime.tasks.tree_data import TreeDataConfig
from throughtime.tasks.tree_settings import SourceToTreeConfig

__all__ = ["ProgramConfig", "ProgramWriting"]

_log = logging.getLogger(__name__)


@dataclass
class ProgramConfig(TreeDataConfig, SourceToTreeConfig):
    """The texts and trees, and the settings of all tasks that write trees."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_data()


class ProgramWriting(SourceToTree):
    """The tree of a text, such as a program, a logical form or a command; or of another tree.

    With ``--source child-sum`` or ``n-ary`` the texts of the data are trees, too, and are read by a
    Tree-LSTM.

    Source: Bednarek, Piaskowski and Krawiec, arXiv 1810.09717 (SAPS). Differs: one learned
        embedding of words instead of pretrained vectors.
    """

    name = "program"
    Config = ProgramConfig

    def read_trees(self) -> TreeSet:
        return self.config.trees(has_source_trees=self.config.reads_trees)

    def check(self) -> None:
        super().check()
        # A published data set has the splits that it has.
        if self.config.data not in TREE_SETS:
            write = NOTATIONS[self.trees.notation].write
            lines = {
                split: [f"{example.source}\t{write(example.tree)}" for example in examples]
                for split, examples in self.trees.splits.items()
            }
            for warning in suspicions(self.trees.name, lines, self.trees.cut, "examples"):
                _log.warning(warning)
