"""The named data sets of texts with trees, and their splits."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from throughtime.data.download import FILES, fetch
from throughtime.data.line_ends import lines
from throughtime.data.splits import cut_items
from throughtime.data.trees.algolisp.stored import stored_programs
from throughtime.data.trees.brackets import read_sexpr, read_treebank
from throughtime.data.trees.examples import TreeExample, TreeSet
from throughtime.data.trees.notations import NOTATIONS
from throughtime.data.trees.synthetic import synthetic_trees
from throughtime.data.trees.terms import read_term
from throughtime.data.trees.tree import Tree, TreeError

__all__ = ["TREE_SETS"]

_PLACE = re.compile(r"\bvar\d+\b")
_VARIABLE = re.compile(r"\$\w+")
# A constant and its type, or a function and the type of its value: `boston : ci`, `airline : e`.
_TYPED = re.compile(r"(\S+) : (\S+)")


def _text(name: str, part: str) -> str:
    return fetch(FILES[name][part]).decode("utf-8")


def _geoquery() -> TreeSet:
    """Questions about the geography of the United States and their logical forms.

    The split is that of the file by questions, 549 / 49 / 279. Names of places are variables in
    text and form, and a variable is called after the kind that the file gives for it (state0,
    river0). The root is ``answer``, above the variable that is asked for and a condition; the
    conditions that hold together are below ``and``.
    """
    splits: dict[str, list[TreeExample]] = {"train": [], "valid": [], "test": []}
    for number, entry in enumerate(json.loads(_text("geoquery", "logic")), 1):
        form = read_term(entry["logic"][0], f"geography-logic.txt, entry {number}")
        labels = ["and" if label == "()" else label for label in form.labels]
        named = _by_kind(entry["variables"])
        tree = form.with_labels(["answer", *map(named, labels[1:])])
        for sentence in entry["sentences"]:
            split = sentence["question-split"].replace("dev", "valid")
            splits[split].append(TreeExample(named(sentence["text"]), tree))
    return TreeSet("geoquery", splits, "s-expression", frozenset({"and"}))


def _by_kind(variables: Sequence[Mapping[str, str]]) -> Callable[[str], str]:
    """Replaces the names of variables (var0) by their kind and their number in it (state0)."""
    names: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for variable in sorted(variables, key=lambda variable: variable["name"]):
        kind = variable["type"]
        names[variable["name"]] = f"{kind}{numbers[kind]}"
        numbers[kind] += 1
    return lambda text: _PLACE.sub(lambda match: names[match[0]], text)


def _atis() -> TreeSet:
    """Questions about flights and their forms in the lambda calculus.

    The file has no split and is nearly sorted, so 10 % of the different questions each are drawn
    for validation and test; equal questions are in the same split. A constant and its type are one
    label (``boston:ci``). The file does not name variables by one rule: they are numbered in the
    order in which they occur ($0, $1). In 224 lines closing brackets are missing at the end; they
    are added.
    """
    examples = []
    for number, line in enumerate(lines(_text("atis-logic", "logic")), 1):
        question, _, form = line.partition(" ||| ")
        where = f"atis-logic.txt, line {number}"
        tree = read_sexpr(_TYPED.sub(r"\1:\2", form), where, closes=True)
        examples.append(TreeExample(question, _with_numbered_variables(tree)))
    splits = cut_items(
        *("atis-logic", examples, 0.1, 0.1, "questions", "random"), lambda example: example.source
    )
    return TreeSet("atis-logic", splits, "s-expression", frozenset({"and", "or", "="}))


def _with_numbered_variables(tree: Tree) -> Tree:
    names: dict[str, str] = {}
    for label in tree.labels:
        if _VARIABLE.fullmatch(label):
            names.setdefault(label, f"${len(names)}")
    return tree.with_labels([names.get(label, label) for label in tree.labels])


def _django() -> TreeSet:
    """Lines of the source of Django with a description of each in English.

    The split is the published one, by the order of the file: 16,000 / 1,000 / 1,805.
    """
    sources, codes = (lines(_text("django", part)) for part in ("anno", "code"))
    read = NOTATIONS["python"].read
    examples = [
        TreeExample(" ".join(source.split()), read(code, f"all.code, line {number}"))
        for number, (source, code) in enumerate(zip(sources, codes, strict=True), 1)
    ]
    splits = {
        "train": examples[:16_000],
        "valid": examples[16_000:17_000],
        "test": examples[17_000:],
    }
    return TreeSet("django", splits, "python")


def _nl2bash() -> TreeSet:
    """Commands of bash with a description of each in English.

    There is no published split in the repository: 10 % of the different descriptions each are drawn
    for validation and test. 65 of the 12,607 lines are no commands that a shell could run, such as
    one with a quotation that does not end; they are left out.
    """
    sources, commands = (lines(_text("nl2bash", part)) for part in ("nl", "cm"))
    examples, num_left_out = [], 0
    for number, (source, command) in enumerate(zip(sources, commands, strict=True), 1):
        try:
            tree = NOTATIONS["shell"].read(command, f"all.cm, line {number}")
        except TreeError:
            num_left_out += 1
            continue
        examples.append(TreeExample(" ".join(source.split()), tree))
    splits = cut_items(
        *("nl2bash", examples, 0.1, 0.1, "descriptions", "random"), lambda example: example.source
    )
    return TreeSet("nl2bash", splits, "shell", left_out={"all": num_left_out})


def _sst() -> TreeSet:
    """Sentences of movie reviews as trees of phrases, with a sentiment from 0 to 4 at each.

    The published split, 8,544 / 1,101 / 2,210. The words are the leaves.
    """
    splits = {}
    for split, part in {"train": "train", "valid": "dev", "test": "test"}.items():
        trees = read_treebank(_text("sst", f"trees.{part}"), f"trees/{part}.txt")
        splits[split] = [TreeExample(_words(tree), tree) for tree in trees]
    return TreeSet("sst-trees", splits, "treebank")


def _words(tree: Tree) -> str:
    """The leaves of a tree, separated by spaces."""
    leaves = [label for label, arity in zip(tree.labels, tree.arities, strict=True) if not arity]
    return " ".join(leaves)


TREE_SETS: dict[str, Callable[[], TreeSet]] = {
    "algolisp": stored_programs,
    "geoquery": _geoquery,
    "atis-logic": _atis,
    "django": _django,
    "nl2bash": _nl2bash,
    "sst-trees": _sst,
    "synthetic-trees": synthetic_trees,
}
"""The reader of each data set of texts with trees, by name."""
