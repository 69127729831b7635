"""Reads texts with trees from a named data set or from files of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from throughtime.checks import unknown
from throughtime.data.pairs import Pair, read_pairs
from throughtime.data.splits import Cut, check_own_splits, cut_own
from throughtime.data.trees.algolisp.records import read_metaset
from throughtime.data.trees.examples import TreeExample, TreeSet
from throughtime.data.trees.notations import NOTATIONS
from throughtime.data.trees.tree import TreeError
from throughtime.data.trees.tree_sets import TREE_SETS

__all__ = ["load_trees", "read_trees"]

_METASET = ("metaset3.train.jsonl", "metaset3.train.jsonl.gz")


def load_trees(
    data: str | Sequence[str],
    *,
    notation: str | None = None,
    has_source_trees: bool = False,
    languages: str | None = None,
    encoding: str = "utf-8",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    cut: Cut = "order",
) -> TreeSet:
    """Reads texts with trees, in splits for training, validation and test.

    Args:
        data: the name of one of `TREE_SETS`; a folder with the published files of AlgoLisp,
            metaset3.train.jsonl and so on; or files of the user's own, in one of the forms that
            :func:`throughtime.data.load_pairs` reads, with a tree as the target of each text.
        notation: one of `NOTATIONS`, in which the user's own trees are written; by default
            s-expression.
        has_source_trees: whether the texts must be trees, too. The user's own are read in the same
            notation.
        languages, encoding, valid_fraction, test_fraction, cut: see
            :func:`throughtime.data.load_pairs`; they are for the user's own files. Pairs of equal
            texts are equal.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for an unknown name, or an option without effect.
            A data set whose texts are no trees is refused with ``has_source_trees``.
        TreeError: if a line is not a tree in this notation, or a text is empty; it names the place.
        DownloadError, ChecksumError: see `throughtime.data.fetch`.

    >>> load_trees("geoquery").splits["train"][0].source  # doctest: +SKIP
    'can you tell me the capital of state0'
    """
    is_metaset = isinstance(data, str) and any(
        (Path(data).expanduser() / name).is_file() for name in _METASET
    )
    if isinstance(data, str) and (data in TREE_SETS or is_metaset):
        options = {"languages": languages, "notation": notation}
        options["encoding"] = None if encoding == "utf-8" else encoding
        for option, value in options.items():
            if value is not None:
                raise ValueError(
                    f'load_trees: expected no {option} because "{data}" comes with its own, got '
                    f"{value}. Leave --{option} out."
                )
        check_own_splits("load_trees", data, valid_fraction, test_fraction, cut)
        trees = read_metaset(data) if is_metaset else TREE_SETS[data]()
        if has_source_trees and trees.splits["train"][0].source_tree is None:
            raise ValueError(
                f"load_trees: expected sources that are trees, but those of {trees.name} are "
                "texts. Take synthetic-trees, or files of your own with a tree, a tab and a tree "
                "on each line."
            )
        return trees
    notation = notation or "s-expression"
    name, splits = read_trees(
        data,
        notation,
        has_source_trees=has_source_trees,
        languages=languages,
        encoding=encoding,
    )
    fractions = (valid_fraction, test_fraction)
    splits, how = cut_own(
        "load_trees", name, splits, *fractions, "trees", cut, lambda example: example.source
    )
    return TreeSet(name, splits, notation, cut=how)


def read_trees(
    data: str | Sequence[str],
    notation: str = "s-expression",
    *,
    has_source_trees: bool = False,
    languages: str | None = None,
    encoding: str = "utf-8",
) -> tuple[str, dict[str, list[TreeExample]]]:
    """Reads the user's own files as they are, without cutting them into splits.

    Args:
        data, notation, has_source_trees, languages, encoding: see :func:`load_trees`.

    Returns:
        A name for the data, and the examples of each split; those of a single file are "all".

    Raises:
        FileNotFoundError, ValueError, TreeError: see :func:`load_trees`.
    """
    if notation not in NOTATIONS:
        raise unknown("notation", notation, NOTATIONS)
    if isinstance(data, str) and "," not in data and languages is None:
        _check_exists(data)
    name, parts = read_pairs(data, languages, encoding)
    return name, {
        split: _read(name, split, pairs, notation, has_source_trees)
        for split, pairs in parts.items()
    }


def _check_exists(data: str) -> None:
    path = Path(data).expanduser()
    if path.exists():
        return
    if data != path.name:
        raise FileNotFoundError(
            f"{data}: no such file or folder. Give --data a path that exists, or a data set: "
            f"{', '.join(TREE_SETS)}."
        )
    raise ValueError(
        f"{unknown('data set', data, TREE_SETS)} Nor is there a file or folder of that name here."
    )


def _read(
    name: str, split: str, pairs: Sequence[Pair], notation: str, has_source_trees: bool
) -> list[TreeExample]:
    """The examples of pairs of a text and a tree that is written in a notation."""
    read = NOTATIONS[notation].read
    examples = []
    for number, (source, target) in enumerate(pairs, 1):
        where = f"{name}{'' if split == 'all' else f' ({split})'}, line {number}"
        if not source.strip():
            raise TreeError(where, "", "expected a text and its tree, got an empty text.")
        source_tree = read(source, f"{where}, source") if has_source_trees else None
        examples.append(TreeExample(source, read(target, where), source_tree=source_tree))
    return examples
