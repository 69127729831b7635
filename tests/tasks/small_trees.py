"""Four sentences with their programs, on which the tasks that write trees are tried."""

import json

from throughtime.data.trees import ProgramExample, read_sexpr

FOUR = [
    ("add a and b", "(+ a b)"),
    ("the length of a", "(len a)"),
    ("double the length of b", "(* 2 (len b))"),
    ("add one to the sum of a and b", "(+ 1 (+ a b))"),
]
TEXT = "".join(f"{text}\t{tree}\n" for text, tree in FOUR)

FAULTY_LINES = [
    ("add a\t(+ a b", r"own.tsv, line 5, character 1: expected balanced brackets"),
    ("\t(+ a b)", r"own.tsv.*line 5.*empty"),
    ("add a", r"own.tsv.*line 5"),
]
"""Lines that cannot stand behind TEXT in a file own.tsv, and a pattern of the message."""

SETTINGS_WITHOUT_SENSE = [
    ({"notation": "sexpr"}, "--notation: unknown notation .sexpr.. Known: s-expression, json"),
    ({"min_count": 0}, "--min_count: expected at least 1, got 0"),
    ({"beam_width": 0}, "--beam_width: expected at least 1, got 0"),
]
"""Options of any task that writes trees, and a pattern of the message that refuses them."""


def written(data, text=TEXT):
    """Writes a folder whose training and validation are the same text; returns the folder."""
    data.mkdir()
    for split in ("train", "valid"):
        (data / f"{split}.tsv").write_text(text)
    return data


def program(text, tree, is_seen=None, tests=()):
    """An example with tests, which are pairs of an input and its output."""
    cases = [{"input": i, "output": o} for i, o in tests]
    arguments = (("a", "int"), ("b", "int"))
    return ProgramExample(
        text, read_sexpr(tree), arguments, "int", json.dumps(cases), is_seen=is_seen
    )
