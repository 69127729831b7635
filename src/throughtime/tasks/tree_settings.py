"""The settings of all tasks whose examples are texts and their trees."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from throughtime.checks import unknown
from throughtime.data.splits import Cut
from throughtime.data.trees import NOTATIONS, TREE_SETS
from throughtime.reading import json_value
from throughtime.tasks.network import NetworkConfig, check_range
from throughtime.tasks.run_data import absolute_files

__all__ = ["ProgramInputs", "TreeTextsConfig"]


@dataclass
class TreeTextsConfig(NetworkConfig):
    """The texts and trees.

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

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute_files(self.data, TREE_SETS)
        if self.notation is not None and self.notation not in NOTATIONS:
            raise ValueError(f"--notation: {unknown('notation', self.notation, NOTATIONS)}")
        check_range(self, ("min_count",), most=2**31 - 1)
        check_range(self, ("vocab_size",), least=5, most=2**31 - 1)


@dataclass
class ProgramInputs:
    """The inputs on which written programs are run.

    Args:
        inputs: inputs of the program by name, as a JSON object (for example '{"a": [3, 1, 2]}');
            after each program its value follows, separated by a tab. For runs on AlgoLisp.
    """

    inputs: str | None = None

    def __post_init__(self) -> None:
        if self.inputs is not None and not isinstance(json_value("--inputs", self.inputs), dict):
            raise ValueError(
                "--inputs: expected a JSON object with a value for each name, such as '{\"a\": 1}',"
                f" got {self.inputs}."
            )

    def values(self, has_tests: bool) -> dict[str, Any] | None:
        """The inputs of the program by name; None if no value is asked for.

        Args:
            has_tests: whether the trees of the run are programs that can be run.

        Raises:
            ValueError: if there are inputs for trees that are no programs.
        """
        if self.inputs is None:
            return None
        if not has_tests:
            raise ValueError(
                "--inputs: the trees of this run are no programs of AlgoLisp, so they have no "
                "values. Leave it out."
            )
        return json_value("--inputs", self.inputs)
