"""AlgoLisp: values, types, bounds, records."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.data.trees import (
    NoEndError,
    Program,
    ProgramError,
    ProgramExample,
    Tree,
    TreeError,
    from_lists,
    load_trees,
    passes,
    program_type,
    read_metaset,
    read_sexpr,
    read_type,
    skeleton,
)
from throughtime.data.trees.algolisp import UNITS, equal_values, read_records, record_of, type_name

TYPES = {"a": "int[]", "b": "int[]", "n": "int", "k": "int", "s": "string", "t": "string[]"}
KINDS = {name: read_type(kind) for name, kind in TYPES.items()}


def run(text, most_steps=100_000, **inputs):
    return Program(read_sexpr(text), list(inputs)).run(inputs, most_steps)


def prefix_length(a, b):
    length = 0
    for x in a:
        if x == (b[length] if length < len(b) else 0):
            length += 1
    return length


def digit_steps(n):
    return 0 if n < 10 else 1 + digit_steps(sum(map(int, str(n))))


# Programs, and the same in Python. The fourth is that of the lecture notes.
IN_PYTHON = {
    "(reduce a 0 +)": lambda a, **_: sum(a),
    "(reduce (filter a (partial0 n <)) inf min)": lambda a, n, **_: min(
        [x for x in a if x > n], default=math.inf
    ),
    "(map (filter a (lambda1 (== (% arg1 2) 0))) square)": lambda a, **_: [
        x * x for x in a if x % 2 == 0
    ],
    "(reduce a 0 (lambda2 "
    "(if (== arg2 (if (< arg1 (len b)) (deref b arg1) 0)) (+ arg1 1) arg1)))": (
        lambda a, b, **_: prefix_length(a, b)
    ),
    "(invoke1 (lambda1 (if (== (len (digits arg1)) 1) 0 "
    "(+ 1 (self (reduce (digits arg1) 0 +))))) n)": lambda n, **_: digit_steps(n),
    "(invoke1 (lambda1 (if (<= arg1 1) 1 (* (self (- arg1 1)) arg1))) k)": lambda k, **_: (
        math.factorial(k)
    ),
    "(slice (sort a) k (len a))": lambda a, k, **_: sorted(a)[k:],
    "(reverse (tail (append a n)))": lambda a, n, **_: [*a, n][1:][::-1],
    "(map (range 0 k) (combine (partial0 n +) square))": lambda n, k, **_: [
        n + i * i for i in range(k)
    ],
    "(map a (partial1 n -))": lambda a, n, **_: [x - n for x in a],
    "(map a (lambda1 (reduce (map b (lambda1 (* arg1 2))) arg1 +)))": lambda a, b, **_: [
        x + 2 * sum(b) for x in a
    ],
    "(map a (lambda1 (len (filter b (lambda1 (== arg1 n))))))": lambda a, b, n, **_: (
        [b.count(n)] * len(a)
    ),
    "(filter (range 2 n) is_prime)": lambda n, **_: [
        p for p in range(2, n) if all(p % q for q in range(2, p))
    ],
    "(reduce (map a (partial0 n ==)) false ||)": lambda a, n, **_: n in a,
    "(&& (is_sorted a) (contains b n))": lambda a, b, n, **_: a == sorted(a) and n in b,
    "(reduce t s str_concat)": lambda s, t, **_: s + "".join(t),
    '(map (str_split s " ") strlen)': lambda s, **_: [len(w) for w in s.split(" ") if w],
    "(reduce (map (range 0 (strlen s)) (lambda1 (str_index arg1 s))) "
    '"" (lambda2 (str_concat arg2 arg1)))': lambda s, **_: s[::-1],
    "(reduce t s str_max)": lambda s, t, **_: max([s, *t]),
    "(if (! (> n k)) (max n k) (min (abs (- 0 n)) 1000))": lambda n, k, **_: (
        max(n, k) if n <= k else min(n, 1000)
    ),
    "(floor (sqrt (pow k 2)))": lambda k, **_: k,
    "(reduce a (array-new int) (lambda2 (if (contains arg1 arg2) arg1 (append arg1 arg2))))": (
        lambda a, **_: list(dict.fromkeys(a))
    ),
    "(map (map a digits) (partial1 0 (lambda2 (reduce arg1 arg2 +))))": lambda a, **_: [
        sum(map(int, str(abs(x)))) for x in a
    ],
    "(/ n (+ k 1))": lambda n, k, **_: n // (k + 1),
}
NUMBERS = st.lists(st.integers(-50, 50), max_size=6)
WORDS = st.text("ab ", max_size=6)
INPUTS = st.fixed_dictionaries(
    {
        **{"a": NUMBERS, "b": NUMBERS, "n": st.integers(0, 60), "k": st.integers(0, 8)},
        **{"s": WORDS, "t": st.lists(WORDS, max_size=4)},
    }
)


@pytest.mark.parametrize("text", IN_PYTHON)
@settings(max_examples=10, deadline=None)
@given(inputs=INPUTS)
def test_a_program_has_the_value_of_the_same_program_in_python(text, inputs):
    assert run(text, **inputs) == IN_PYTHON[text](**inputs)


@pytest.mark.parametrize("text", IN_PYTHON)
def test_these_programs_have_a_type(text):
    kind = program_type(read_sexpr(text), KINDS)
    inputs = {"a": [3, 1, 2], "b": [3], "n": 4, "k": 2, "s": "b a", "t": ["x"]}
    value = run(text, **inputs)
    one = value[0] if isinstance(value, list) else value
    name = {bool: "bool", str: "string"}.get(type(one), "int")
    assert type_name(kind) == name + "[]" * isinstance(value, list)


def test_every_function_has_a_type_and_a_value():
    tried = set().union(*(read_sexpr(text).labels for text in IN_PYTHON))
    others = [
        *("(partial2 3 slice)", "(int-deref a 0)", "(head a)", "(str_min s s)", "(<= n n)"),
        *("(>= n n)", "(!= n n)", "(is_prime n)", "(is_sorted a)"),
    ]
    inputs = {"a": [2, 5], "n": 7, "s": "x"}
    for text in others:
        tried |= set(read_sexpr(text).labels)
        program_type(read_sexpr(text), KINDS)
        run(text, **inputs)
    assert UNITS.keys() <= tried
    assert run("(int-deref a 1)", **inputs) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(head (tail a))", r"node 0 \(head\): expected an array with items, got an empty one"),
        ("(+ 1 (/ 1 (- n n)))", r"node 2 \(/\): expected a divisor other than 0"),
        ("(% 1 0)", r"node 0 \(%\): expected a divisor other than 0"),
        ("(deref a 1)", r"node 0 \(deref\): expected an index from 0 to 0, got 1"),
        ("(deref a (- 0 1))", "expected an index from 0 to 0, got -1"),
        ("(str_index 5 s)", "expected an index from 0 to 0, got 5"),
        ("(+ n s)", r"node 0 \(\+\): expected a number, got text"),
        ("(+ (== n n) 1)", "expected a number, got a Boolean"),
        ("(if n 1 2)", "expected a Boolean as the condition, got a number"),
        ("(filter a (partial0 n +))", "expected a Boolean for each item, got a number"),
        ("(filter a (lambda1 arg1))", "expected a Boolean for each item, got a number"),
        ("(< n s)", "expected two values that can be compared, got a number and text"),
        ("(== + +)", "expected two values that can be compared, got a function and a function"),
        ("(n 1)", r"node 0 \(n\): expected a function, got a number"),
        ("(map a (partial0 1 (partial0 2 (partial0 3 +))))", "with 2 arguments, got 4"),
        ("(map n square)", "expected an array, got a number"),
        ("(sort (map a (lambda1 (if (== arg1 n) arg1 s))))", None),
        ("(sqrt (- 0 n))", "expected arguments for which it has a value"),
        ("(floor inf)", "expected arguments for which it has a value"),
        ("(digits inf)", "expected a whole number, got another one"),
        ('(str_split s "")', "expected a separator of at least one character"),
        ("(foo a)", 'node 0: unknown function "foo"; did you mean "floor"'),
        ("(+ 1 z)", 'node 2: unknown symbol "z". The arguments here: a, n, s'),
        ("(+ 1 arg1)", 'node 2: unknown symbol "arg1"'),
        ("(lambda1 (+ arg1 arg2))", 'node 3: unknown symbol "arg2"'),
        ("(+ 1)", r"node 0: expected 2 arguments of \+, got 1"),
        ("(map a lambda1)", "node 2: expected arguments of lambda1, got none"),
    ],
)
def test_a_program_without_a_value_says_where_and_why(text, message):
    inputs = {"a": [7], "n": 7, "s": "x"}
    if message is None:
        assert run(text, **inputs) == [7]
        return
    with pytest.raises(ProgramError, match=message):
        run(text, **inputs)


@pytest.mark.parametrize(
    "text",
    [
        "(invoke1 (lambda1 (self arg1)) 1)",
        "(invoke1 (lambda1 (+ 1 (self arg1))) 1)",
        "(reduce (range 0 1000000000) 0 +)",
        "(len (range 0 1000000000000000000000))",
        "(reduce (range 0 100) s (lambda2 (str_concat arg1 arg1)))",
        "(reduce (range 0 100) a (lambda2 (reduce arg1 arg1 append)))",
        "(is_prime (pow 10 300))",
        "(reduce (range 0 900) a append)",
    ],
)
def test_a_program_that_does_not_end_is_stopped(text):
    with pytest.raises(NoEndError, match="expected an end within 20,000 steps"):
        run(text, 20_000, a=[1], s="x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(reduce (range 0 100) 2 (lambda2 (* arg1 arg1)))", "at most 4,096 bits"),
        ("(pow 7 (pow 10 9))", "at most 4,096 bits"),
        ("(pow 2 5000)", "at most 4,096 bits"),
        # Each array holds the one before it twice.
        (
            "(== (reduce (range 0 60) a (lambda2 (append (append (array-new int) arg1) arg1))) a)",
            "at most 1,000,000 items in all",
        ),
        (
            "(== (reduce (range 0 200) a (lambda2 (append (array-new int) arg1))) a)",
            "nested at most 100 deep",
        ),
    ],
)
def test_a_value_that_grows_without_bound_is_refused(text, message):
    with pytest.raises(ProgramError, match=message):
        run(text, a=[1])


def test_programs_of_any_depth_are_run_and_checked():
    N = 10_000
    tree = Tree.from_arities(["+", "1"] * N + ["1"], [2, 0] * N + [0])
    assert Program(tree, ()).run({}) == N + 1
    assert program_type(tree, {}) == "int"
    left = Tree.from_arities(["+"] * N + ["1"] * (N + 1), [2] * N + [0] * (N + 1))
    assert Program(left, ()).run({}) == N + 1
    nested = Tree.from_arities(["lambda1"] * N + ["arg1"], [1] * N + [0])
    assert type_name(program_type(nested, {})).startswith("(?) -> (?) -> ")
    # A recursion of the program is none of the machine.
    deep = "(invoke1 (lambda1 (if (<= arg1 0) 0 (+ 1 (self (- arg1 1))))) 9000)"
    assert run(deep, 200_000) == 9000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(+ s 1)", r"node 0 \(\+\): expected int as argument 1, got string"),
        ("(head n)", r"node 0 \(head\): expected \?\[\] as argument 1, got int"),
        (
            "(filter a (partial0 1 +))",
            r"expected \(int\) -> bool as argument 2, got \(int\) -> int",
        ),
        ("(append a s)", "expected int as argument 2, got string"),
        ("(reduce a s +)", "argument 3"),
        ("(map a (lambda1 (append arg1 arg1)))", r"expected \? as argument 2, got \?\[\]"),
        ("(if n 1 2)", "expected bool as argument 1, got int"),
        ("(if (== n n) 1 s)", "expected int as argument 3, got string"),
        ("(map a (partial1 1 head))", "expected a function of at least 2 arguments"),
        ("(partial0 1 n)", "expected a function as argument 2, got int"),
        ("(n 1)", "expected a call that suits the function, got int"),
        ("(foo 1)", 'node 0: unknown function "foo"'),
        ("(+ 1 z)", 'node 2: unknown symbol "z"'),
        ("(+ 1)", r"expected 2 arguments of \+, got 1"),
    ],
)
def test_a_program_of_wrong_types_is_refused_with_its_node(text, message):
    with pytest.raises(ProgramError, match=message):
        program_type(read_sexpr(text), KINDS)


def test_the_type_of_the_value_is_checked_and_types_have_names():
    assert program_type(read_sexpr("(+ n 1)"), KINDS, "int") == "int"
    with pytest.raises(ProgramError, match=r"expected a program of type int\[\], got int"):
        program_type(read_sexpr("(+ n 1)"), KINDS, read_type("int[]"))
    assert type_name(read_type("string[][]")) == "string[][]"
    with pytest.raises(ValueError, match=r'got "float\[\]"'):
        read_type("float[]")


def test_functions_that_come_with_a_program_can_be_called_and_call_each_other():
    functions = {
        "twice": (read_sexpr("(* x 2)"), ["x"]),
        "down": (read_sexpr("(if (<= x 0) 0 (+ (twice 1) (down (- x 1))))"), ["x"]),
    }
    program = Program(read_sexpr("(map a (lambda1 (down (twice arg1))))"), ["a"], functions)
    assert program.run({"a": [1, 2]}) == [4, 8]
    assert Program(read_sexpr("(map a twice)"), ["a"], functions).run({"a": [3]}) == [6]


def test_inputs_of_other_types_are_refused():
    program = Program(read_sexpr("(len a)"), ["a"])
    with pytest.raises(ProgramError, match="lists of these in the argument a, got NoneType"):
        program.run({"a": [1, [None]]})
    with pytest.raises(ProgramError, match="expected a value for the argument a, got none"):
        program.run({"b": [1]})


def test_equal_values_are_of_one_kind():
    assert equal_values([1, [2.0]], [1, [2]])
    assert not equal_values(1, True)
    assert not equal_values("1", 1)
    assert not equal_values(UNITS["+"], UNITS["+"])


RECORD = {
    "text": ["find", "the", "sum", "of", "a"],
    "short_tree": ["reduce", "a", "0", "+"],
    "args": {"a": "int[]"},
    "return_type": "int",
    "tests": [{"input": {"a": [1, 2]}, "output": 3}, {"input": {"a": []}, "output": 0}],
    "nodes": ["l1_sum"],
    "tags": [],
}


def write_metaset(folder, **parts):
    for part in ("train", "dev", "test"):
        lines = [json.dumps(record) for record in parts.get(part, [RECORD])]
        (folder / f"metaset3.{part}.jsonl").write_text("\n".join(lines) + "\n")


def test_the_published_files_are_read(tmp_path):
    other = {
        **RECORD,
        "short_tree": ["len", "a"],
        "text": "how long is a",
        "args": [["a", "int[]"]],
    }
    same_skeleton = {**RECORD, "short_tree": ["reduce", "a", "7", "+"]}
    write_metaset(tmp_path, dev=[same_skeleton], test=[other, RECORD])
    programs = read_metaset(tmp_path)
    assert {split: len(part) for split, part in programs.splits.items()} == {
        **{"train": 1, "valid": 1, "test": 2}
    }
    example = programs.splits["train"][0]
    assert isinstance(example, ProgramExample)
    assert (example.source, example.returns) == ("find the sum of a", "int")
    assert example.arguments == (("a", "int[]"),)
    assert example.nodes == ("l1_sum",)
    assert example.tests[0].output == 3
    assert [e.is_seen for e in programs.splits["test"]] == [False, True]
    assert [e.is_seen for e in programs.splits["valid"]] == [True]
    assert passes(example, example.tree)
    assert passes(example, from_lists(["reduce", "a", "0", ["lambda2", ["+", "arg2", "arg1"]]]))
    assert not passes(example, from_lists(["len", "a"]))
    assert not passes(example, from_lists(["nonsense"]))
    assert not passes(example, from_lists(["invoke1", ["lambda1", ["self", "arg1"]], "a"]))
    with pytest.raises(ValueError, match="expected an example with tests"):
        passes(replace(example, tests_json="[]"), example.tree)
    assert load_trees(str(tmp_path)) == programs
    assert list(read_records([record_of(example)], "f")) == [example]


def test_a_record_may_have_functions_of_its_own():
    function = {"name": "next", "short_tree": ["+", "x", "1"], "args": {"x": "int"}}
    record = {**RECORD, "short_tree": ["next", ["reduce", "a", "-1", "+"]], "funcs": [function]}
    (example,) = read_records([json.dumps(record), ""], "f")
    assert passes(example, example.tree)
    assert list(read_records([record_of(example)], "f")) == [example]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": []}, "line 2: expected a specification in text, got an empty one"),
        ({"short_tree": None}, 'line 2: expected "short_tree" as list .*, got NoneType'),
        ({"short_tree": ["+", None]}, "line 2: expected lists of text and numbers, got NoneType"),
        ({"tests": [{"input": 3}]}, r'line 2: expected an object with "input" .* tests\[0\]'),
        ({"args": [["a"]]}, 'line 2: expected names with types in "args"'),
    ],
)
def test_a_line_that_is_no_record_is_refused_with_its_number(tmp_path, change, message):
    write_metaset(tmp_path, train=[RECORD, {**RECORD, **change}])
    with pytest.raises(TreeError, match=message):
        read_metaset(tmp_path)


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"got no metaset3.train.jsonl. Give the folder"):
        read_metaset(tmp_path)
    write_metaset(tmp_path)
    (tmp_path / "metaset3.dev.jsonl").write_text('{"text": [\n')
    with pytest.raises(TreeError, match=r"metaset3.dev.jsonl, line 1: expected a JSON object"):
        read_metaset(tmp_path)
    (tmp_path / "metaset3.dev.jsonl").unlink()
    (tmp_path / "metaset3.dev.jsonl.gz").write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(TreeError, match=r"metaset3.dev.jsonl.gz: expected lines of JSON"):
        read_metaset(tmp_path)


def test_a_skeleton_has_neither_constants_nor_names():
    tree = read_sexpr('(map (filter a (partial0 10 <)) (lambda1 (+ arg1 (strlen "x"))))')
    assert skeleton(tree).labels == (
        *("map", "filter", "_", "partial0", "_", "<", "lambda1", "+", "arg1", "strlen", "_"),
    )
