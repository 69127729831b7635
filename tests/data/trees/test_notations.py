"""Trees as text: each notation reads what it writes, at any depth; errors name their place."""

import ast
import json
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings

from throughtime.data.trees import (
    NOTATIONS,
    Tree,
    TreeError,
    from_lists,
    from_prefix,
    from_symbols,
    read_json,
    read_python,
    read_sexpr,
    read_shell,
    read_symbols,
    read_term,
    read_treebank,
    to_lists,
    to_prefix,
    to_symbols,
    write_json,
    write_python,
    write_sexpr,
    write_shell,
    write_symbols,
    write_treebank,
)

from .drawn_trees import trees

DEEP = Tree(("f",) * 10_000, tuple(range(-1, 9_999)))


@settings(max_examples=80, deadline=None)
@given(trees())
def test_lisp_and_json_read_what_they_write_whatever_the_labels(tree):
    assert read_sexpr(write_sexpr(tree)) == tree
    assert read_json(write_json(tree)) == tree
    # The text is what the library for JSON makes of the lists.
    assert write_json(tree) == json.dumps(to_lists(tree), ensure_ascii=False)
    assert from_lists(to_lists(tree)) == tree
    assert "\n" not in write_sexpr(tree) + write_json(tree)
    assert read_symbols(write_symbols(tree)) == tree


@settings(max_examples=50, deadline=None)
@given(trees(labels=("a", "+", "()", '"', "\\", "é\u00a0b")))
def test_treebanks_and_symbols_read_what_they_write(tree):
    assert read_treebank(write_treebank(tree)) == [tree]
    assert from_symbols(to_symbols(tree)) == tree


def test_a_text_of_symbols_holds_every_label():
    labels = ("f", "%28", "100%", "(", ")", "()", "a\u00a0b", " ", "\r\n", "(a)", "<unk>")
    tree = Tree(labels, (-1, *(0,) * 10))
    text = "( f %2528 100%25 %28 %29 () a%C2%A0b %20 %0D%0A (a) <unk> )"
    assert write_symbols(tree) == text
    assert read_symbols(text) == tree
    assert len(text.split()) == len(to_symbols(tree.with_labels("abcdefghijk")))


def test_trees_of_any_depth_are_read_and_written():
    assert read_sexpr(write_sexpr(DEEP)) == DEEP
    assert read_json(write_json(DEEP)) == DEEP
    assert read_treebank(write_treebank(DEEP)) == [DEEP]
    assert from_lists(to_lists(DEEP)) == DEEP
    assert from_symbols(to_symbols(DEEP)) == DEEP
    assert read_symbols(write_symbols(DEEP)) == DEEP
    assert from_prefix([*to_prefix(DEEP)[:-1], "x"], {"f": 1}).depth == 9_999
    assert read_term("f(" * 9_999 + "f" + ")" * 9_999) == DEEP
    nested = read_shell("( " * 500 + "ls" + " )" * 500)
    assert nested.depth == 500
    assert read_shell(write_shell(nested)) == nested


@pytest.mark.parametrize(
    ("text", "labels", "parents"),
    [
        ("(+ a (len b))", ("+", "a", "len", "b"), (-1, 0, 0, 2)),
        ("(a)", ("a",), (-1,)),
        ("((a b) c)", ("()", "a", "b", "c"), (-1, 0, 1, 0)),
        ("(() a)", ("()", "a"), (-1, 0)),
        ("()", ("()",), (-1,)),
        ('(f "x (y" a\\ b)', ("f", '"x (y"', "a b"), (-1, 0, 0)),
    ],
)
def test_what_an_s_expression_means(text, labels, parents):
    assert read_sexpr(text) == Tree(labels, parents)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_sexpr, "(a (b)", "f, character 1: expected balanced .* no closing one"),
        (read_sexpr, "(a\n (b", r"f, line 2, character 2: .* \(2 are open at the end\)"),
        (read_sexpr, "(a))", "f, character 4: .* a closing one without an opening one"),
        (read_sexpr, '(a "b)', "f, character 4: expected a closing quotation mark"),
        (read_sexpr, "a b", "f, character 3: expected one s-expression, got a second one"),
        (read_sexpr, " ", "f: expected one s-expression, got no text"),
        (read_sexpr, "(a \\", "f, character 4: expected a character after the backslash"),
        (read_treebank, "(3 (2 It)", "f, character 1: expected balanced brackets"),
        (read_json, '["a" "b"]', "f, character 6: expected a comma or ], got '\"b\"]'"),
        (read_json, '["a",]', "f, character 6: expected an item, got ']'"),
        (read_json, '["a"', "f: expected a JSON list, got a text in which 1 lists do not end"),
        (read_json, "[true]", "f, character 2: expected an item or ], got 'true]'"),
        (read_json, '[""]', "f, character 2: expected a label of at least one character"),
        (read_json, "", "f: expected a JSON list, got no text"),
        (read_term, "f ( A , )", r"f, character 9: expected a term, got \)"),
        (read_term, "f ( A", "f, character 3: expected a closing bracket"),
        (read_term, "f ( A ) )", r"f, character 9: expected the end of the text, got \)"),
        (read_term, "( A ) B", "f, character 6: expected a comma or a closing bracket, got 'B'"),
        (read_shell, "ls |", "f, character 5: expected a command, got the end of the line"),
        (read_shell, "ls 'a", "f, character 4: expected ' to end what begins here"),
        (read_shell, "(ls", "f, character 1: expected a closing bracket"),
        (read_shell, "ls)", r"f, character 3: expected an operator, got \)"),
        (read_shell, "cat <<END", "f, character 5: .* Here-documents are not read"),
        (read_shell, "a $(b", r"f, character 3: expected \) to end what begins here"),
        (read_python, "a = = 1", "f, character 5: expected Python source"),
        (read_python, "a = '\0'", "f: expected Python source"),
        (read_python, "(" * 1000 + ")" * 1000, "f.*: expected (Python source|source that Python)"),
    ],
)
def test_an_error_names_the_place(read, text, message):
    with pytest.raises(TreeError, match=message):
        read(text, "f")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a", None], "got NoneType in them"),
        (["a", ["b", True]], "got bool in them"),
        ([""], "got an empty text in them"),
        ({"a": 1}, "got dict in them"),
    ],
)
def test_lists_of_other_things_are_refused(value, message):
    with pytest.raises(TreeError, match=message):
        from_lists(value)


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ("( a", "at the end: expected 1 more closing brackets"),
        ("a b", "symbol 2: expected the end of the tree before it, got b"),
        (") a", "symbol 1: expected an opening bracket"),
        ("", "expected a tree, got no symbol"),
    ],
)
def test_symbols_of_no_tree_are_refused(symbols, message):
    with pytest.raises(TreeError, match=message):
        from_symbols(symbols.split())


def test_a_label_without_notation_is_refused():
    with pytest.raises(TreeError, match="write_treebank, node 0: expected a label without"):
        write_treebank(Tree(("a b",), (-1,)))
    with pytest.raises(TreeError, match="to_symbols, node 1: expected a label that is no bracket"):
        to_symbols(Tree(("a", "("), (-1, 0)))


SOURCES = [
    *(
        "x = 1",
        "f(*a, k=2, **b)",
        "a[1:2, ::3]",
        "x: int = 3",
        "print(f'{a!r:>{n}} b')",
        "del a, b",
    ),
    *(
        "lambda a, /, b=1, *, c, **d: a",
        "{**a, 'b': [c for c in d if c if e]}",
        "1e999 + 2j",
        "...",
    ),
    *(
        "from . import a as b",
        "import a.b",
        "from .. import *",
        "global a",
        "x = yield",
        "not a < b",
    ),
    *("a = b'\\x00'", "raise A from b", "assert a, 'b'", "a @= b"),
    *("if a:\n    b\nelif c:\n    d\nelse:\n    e", "try:\n    a\nexcept* B as c:\n    d"),
    *("async def f(a: int = 1) -> str:\n    async with a as b:\n        await c", "a\nb"),
    "match a:\n    case {'x': [1, *_], **r} | C(1, k=2) as y if y:\n        pass",
    "@d\nclass A(B, m=C):\n    x = 1",
]
HEADERS = [
    *(
        "case = 1",
        "match = [a]",
        "if a:",
        "while a < 1:",
        "for a, b in c:",
        "else:",
        "elif a:",
        "try:",
        "finally:",
        "except:",
    ),
    *("except A as e:", "def f(a, b=1):", "class A:", "class A(B):", "with a as b:", "@a.b(1)"),
    *("match a:", "case [1, _]:"),
]


@pytest.mark.parametrize("source", SOURCES)
def test_python_becomes_a_tree_and_python_again(source):
    tree = read_python(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ast.dump(ast.parse(write_python(tree))) == ast.dump(ast.parse(source))
    assert read_python(write_python(tree)) == tree
    assert read_sexpr(write_sexpr(tree)) == tree


@pytest.mark.parametrize("line", HEADERS)
def test_the_first_line_of_a_statement_is_a_tree_without_a_body(line):
    assert write_python(read_python(f"    {line}")) == line


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (["Assign", "x"], "node 1: expected a node of the kind expr, got 'x'"),
        (["Assign"], "node 0: expected a child for the field value, got 'Assign'"),
        (["Name", "a"], "node 0: expected a statement, got 'Name'"),
        (["AugAssign", ["Call", ["Name", "f"]], "Add", ["Name", "a"]], "expected Python source"),
        (["Expr", ["Nmae", "a"]], "node 1: expected a node of the kind expr, got 'Nmae'"),
        (["Expr", ["Name", "a", "b"]], "node 3: expected no more children of Name, got 'b'"),
        (["Expr", ["Name", "1a"]], "node 2: expected a name, got '1a'"),
        (["Expr", ["Constant", "f(1)"]], "node 2: expected a constant"),
        (["Expr", ["BinOp", ["Name", "a"], "If", ["Name", "b"]]], "node 4: expected a node of the"),
        (["Expr", ["Dict", ["keys", ["Name", "a"]]]], "got one that is not the tree of '{}'"),
    ],
)
def test_a_tree_that_is_no_python_is_refused_with_its_node(lists, message):
    with pytest.raises(TreeError, match=message):
        write_python(from_lists(lists))


def test_a_whole_file_becomes_a_tree_and_the_same_syntax_again():
    source = Path(__file__).read_text(encoding="utf-8")
    written = write_python(read_python(source))
    assert ast.dump(ast.parse(written)) == ast.dump(ast.parse(source))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ls|wc  -l", "(| ls (wc -l))"),
        ("a && b || c && d", "(&& (|| (&& a b) c) d)"),
        ("a; b & c", "(; a (& b) c)"),
        ("(a; b) > c; d;", "(; (\\(\\ \\) (; a b) (> c)) d)"),
        ("x 2>&1 >> f", "(x (2>& 1) (>> f))"),
        ("> f", "((> f))"),
        ("find . \\( -name '*.c' -o -name \"$(a; b)\" \\)", None),
        ("for i in *; do rm `ls $i`; done", "(; (for i in *) (do rm `ls\\ $i`) done)"),
        ("diff <(ls a) <(ls b)", "(diff <\\(ls\\ a\\) <\\(ls\\ b\\))"),
    ],
)
def test_lines_of_a_shell(line, expected):
    tree = read_shell(line)
    assert read_shell(write_shell(tree)) == tree
    if expected is not None:
        assert write_sexpr(tree) == expected
    else:
        assert write_shell(tree) == line


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (["|", "a"], "node 0: expected 2 or more children, got '|'"),
        (["|", "a", ["&&", "b", "c"]], r"node 2: expected '\( \)' between | and it"),
        (["a", ["b", "c"]], "node 1: expected a word without children"),
        (["a", "b c"], "node 1: expected a word without children, got 'b c'"),
        (["a", ">"], "node 1: expected one file below it"),
    ],
)
def test_a_tree_that_is_no_line_of_a_shell_is_refused(lists, message):
    with pytest.raises(TreeError, match=message):
        write_shell(from_lists(lists))


def test_each_notation_has_a_name_and_reads_one_tree():
    assert set(NOTATIONS) == {"s-expression", "json", "treebank", "python", "shell"}
    with pytest.raises(TreeError, match="f: expected one tree in brackets, got 2"):
        NOTATIONS["treebank"].read("(a) (b)", "f")
