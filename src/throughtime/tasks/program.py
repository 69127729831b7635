"""program: writes the tree of a text or of a tree: a program, a logical form, a command."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from throughtime.checks import unknown
from throughtime.data import suspicions
from throughtime.data.splits import Cut
from throughtime.data.trees import NOTATIONS, TREE_SETS, TreeSet, load_trees
from throughtime.tasks.run_data import absolute_files
from throughtime.tasks.source_to_tree import SourceToTree
from throughtime.tasks.tree_settings import SourceToTreeConfig

__all__ = ["ProgramConfig", "ProgramWriting"]

_log = logging.getLogger(__name__)


@dataclass
class ProgramConfig(SourceToTreeConfig):
    """The texts and trees, and the settings of all tasks that write trees.

    Args:
        data: name of a data set (algolisp, geoquery, atis-logic, django, nl2bash, sst-trees,
            synthetic-trees); a file with a text, a tab and a tree on each line; a folder with such
            files for train, valid and test; SOURCE,TARGET, two files with corresponding lines; or
            a folder with the published files of AlgoLisp.
        notation: notation of the trees in your own files, with --source of a tree on both sides:
            s-expression, json, treebank, python or shell (default: s-expression).
        encoding: encoding of the files of --data, as Python names it.
        valid_fraction: fraction of the examples that is kept for validation, if the data have no
            splits (default: 0.1).
        test_fraction: fraction of the examples that is kept for the test (default: 0).
        split: how one file is cut into training, validation and test: order, one after the other;
            random, single examples (those of equal texts together); blocks, parts of ten blocks of
            consecutive examples.
    """

    data: str = "geoquery"
    notation: str | None = None
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    split: Cut = "order"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute_files(self.data, TREE_SETS)
        if self.notation is not None and self.notation not in NOTATIONS:
            raise ValueError(f"--notation: {unknown('notation', self.notation, NOTATIONS)}")


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
        c = self.config
        return load_trees(
            c.data,
            notation=c.notation,
            has_source_trees=c.reads_trees,
            encoding=c.encoding,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            cut=c.split,
        )

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
