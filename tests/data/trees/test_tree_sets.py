"""The named sets of trees, where the mirror has them, and the user's own files."""

import ast
import functools
import logging

import pytest

from throughtime.data.download import FILES
from throughtime.data.trees import (
    NOTATIONS,
    TREE_SETS,
    Tree,
    TreeError,
    TreeSet,
    from_prefix,
    load_trees,
    read_sexpr,
    synthetic_trees,
    write_python,
    write_sexpr,
)
from throughtime.data.trees.synthetic import ARITIES

from ..mirror import needs_files


@functools.cache
def read(name: str) -> TreeSet:
    """A named set from the local mirror; the test is skipped where it is not there."""
    needs_files("sst" if name == "sst-trees" else name)
    return load_trees(name)


def sizes(trees: TreeSet) -> dict[str, int]:
    return {split: len(part) for split, part in trees.splits.items()}


def test_geoquery_has_the_split_of_its_questions_and_names_as_variables():
    trees = read("geoquery")
    assert sizes(trees) == {"train": 549, "valid": 49, "test": 279}
    example = trees.splits["train"][0]
    assert example.source == "can you tell me the capital of state0"
    form = "(answer A (and (_capital A) (_loc A B) (_const B (_stateid state0))))"
    assert write_sexpr(example.tree) == form
    texts = [e.source for part in trees.splits.values() for e in part]
    assert not any("var0" in text for text in texts)
    # A variable has the number of its kind, so that a city and a state are both the first.
    assert "what is the population of city0 state0" in texts
    labels = {label for part in trees.splits.values() for e in part for label in e.tree.labels}
    assert "()" not in labels
    assert "texas" not in labels


def test_atis_is_split_by_its_questions_and_its_variables_are_numbered():
    trees = read("atis-logic")
    assert sizes(trees) == {"train": 4029, "valid": 504, "test": 504}
    sources = {split: {e.source for e in part} for split, part in trees.splits.items()}
    assert not sources["train"] & (sources["valid"] | sources["test"])
    forms = {e.source: e.tree for part in trees.splits.values() for e in part}
    # The line lacks its last bracket, and its variable is $v0.
    question = "a flight from baltimore to san francisco arriving between 5 and 8pm"
    assert forms[question] == read_sexpr(
        "(lambda $0 e (and (flight $0) (> (arrival_time $0) 1700:ti) (< (arrival_time $0) 2000:ti) "
        "(from $0 baltimore:ci) (to $0 san_francisco:ci)))"
    )
    labels = {label for tree in forms.values() for label in tree.labels}
    assert ":" not in labels
    assert not any(label.startswith("$v") for label in labels)
    # The file also has $x, $y, $f and $airline.
    assert {label for label in labels if label.startswith("$")} == {"$0", "$1", "$2", "$3"}


@pytest.mark.slow
def test_sentiments_of_phrases_are_trees_with_the_words_as_leaves():
    trees = read("sst-trees")
    assert sizes(trees) == {"train": 8544, "valid": 1101, "test": 2210}
    example = trees.splits["valid"][0]
    assert example.source.startswith("It 's a lovely film with lovely performances")
    assert example.tree.labels[:3] == ("3", "2", "It")
    assert trees.notation == "treebank"


@pytest.mark.slow
def test_every_line_of_django_is_a_tree_and_python_again():
    trees = read("django")
    assert sizes(trees) == {"train": 16_000, "valid": 1_000, "test": 1_805}
    for part in trees.splits.values():
        for example in part:
            write_python(example.tree)


def test_a_sentence_of_phrases_is_the_words_of_its_tree(monkeypatch):
    tree = b"(3 (2 It) (4 (4 (2 's) (3 good)) (2 .)))\n"
    monkeypatch.setattr("throughtime.data.trees.tree_sets.fetch", lambda file: tree)
    (example,) = load_trees("sst-trees").splits["test"]
    assert example.source == "It 's good ."
    assert example.tree.labels == ("3", "2", "It", "4", "4", "2", "'s", "3", "good", "2", ".")


def test_lines_of_django_are_python(monkeypatch):
    read_first = {"anno": b"let x be one .\nif x ,\n", "code": b"  x = 1\n     if x :\n"}
    monkeypatch.setattr(
        "throughtime.data.trees.tree_sets.fetch",
        lambda file: read_first[file.mirror.rpartition(".")[2]],
    )
    first, second = load_trees("django").splits["train"]
    assert first.source == "let x be one ."
    assert ast.dump(ast.parse(write_python(first.tree))) == ast.dump(ast.parse("x = 1"))
    assert write_python(second.tree) == "if x:"


def test_commands_are_trees_and_lines_that_are_none_are_left_out():
    trees = read("nl2bash")
    assert sizes(trees) == {"train": 10_033, "valid": 1_256, "test": 1_253}
    assert trees.left_out == {"all": 65}
    sources = {split: {e.source for e in part} for split, part in trees.splits.items()}
    assert not sources["train"] & (sources["valid"] | sources["test"])


def test_every_set_has_its_files_and_a_notation():
    assert TREE_SETS.keys() - FILES.keys() == {"algolisp", "sst-trees", "synthetic-trees"}
    for name in ("geoquery", "atis-logic"):
        trees = read(name)
        notation = NOTATIONS[trees.notation]
        for part in trees.splits.values():
            for example in part[:50]:
                assert notation.read(notation.write(example.tree), "") == example.tree


def test_synthetic_trees_are_different_and_told_by_their_letters():
    trees = load_trees("synthetic-trees")
    assert sizes(trees) == {"train": 4000, "valid": 500, "test": 500}
    examples = [example for part in trees.splits.values() for example in part]
    assert len({example.source for example in examples}) == 5000
    for example in examples[:200]:
        assert from_prefix(example.source.split(), ARITIES) == example.tree
        assert 3 <= len(example.tree) <= 30
    assert synthetic_trees(5, 1, 1) == synthetic_trees(5, 1, 1)
    assert synthetic_trees(5, 1, 1) != synthetic_trees(5, 1, 1, seed=1)
    with pytest.raises(ValueError, match="expected most_nodes of at least 3, got 2"):
        synthetic_trees(most_nodes=2)
    with pytest.raises(ValueError, match="different trees of at most 3 nodes, found"):
        synthetic_trees(most_nodes=3)


# The user's own files.


def test_own_pairs_of_a_text_and_a_tree(tmp_path, caplog):
    lines = [f"add {i} to a\t(+ a {i})" for i in range(10)]
    (tmp_path / "own.tsv").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        trees = load_trees(str(tmp_path / "own.tsv"), test_fraction=0.2)
    assert sizes(trees) == {"train": 7, "valid": 1, "test": 2}
    assert trees.splits["train"][1].tree == Tree(("+", "a", "1"), (-1, 0, 0))
    assert not caplog.records
    assert trees.fingerprint() != load_trees(str(tmp_path / "own.tsv")).fingerprint()
    (tmp_path / "text").write_text("count\nlist\n")
    (tmp_path / "code").write_text("ls | wc -l\nls\n")
    both = f"{tmp_path}/text,{tmp_path}/code"
    trees = load_trees(both, notation="shell", valid_fraction=0.5)
    assert trees.splits["train"][0].tree.labels == ("|", "ls", "wc", "-l")
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.tsv").write_text(f"{split}\t[1, 2]\n")
    (tmp_path / "own.tsv").unlink()
    trees = load_trees(str(tmp_path), notation="json")
    assert sizes(trees) == {"train": 1, "valid": 1, "test": 1}
    assert trees.notation == "json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\nc\t(b (c)\n", r"own.tsv, line 2, character 1: expected balanced brackets"),
        ("\tb\nc\t(b)\n", "own.tsv, line 1: expected a text and its tree, got an empty text"),
        ("a\tb\nc\t\n", "own.tsv, line 2: expected one s-expression, got no text"),
        ("a\n", "own.tsv, line 1: expected the source, a tab and the target"),
    ],
)
def test_a_line_without_a_text_or_a_tree_is_refused_with_its_number(tmp_path, text, message):
    (tmp_path / "own.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_trees(str(tmp_path / "own.tsv"))


def test_wrong_names_and_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'unknown data set "geoqery"; did you mean "geoquery"\?'):
        load_trees("geoqery")
    with pytest.raises(FileNotFoundError, match=r"no such file or folder\. Give --data"):
        load_trees(f"{tmp_path}/none")
    with pytest.raises(ValueError, match=r'unknown notation "lisp"'):
        load_trees(str(tmp_path), notation="lisp")
    with pytest.raises(ValueError, match='expected no notation because "geoquery" comes with its'):
        load_trees("geoquery", notation="json")
    with pytest.raises(ValueError, match="expected no fractions"):
        load_trees("algolisp", test_fraction=0.5)
    for split in ("train", "valid"):
        (tmp_path / f"{split}.tsv").write_text("a\tb\n")
    with pytest.raises(ValueError, match="expected no fractions"):
        load_trees(str(tmp_path), valid_fraction=0.5)
    assert issubclass(TreeError, ValueError)
