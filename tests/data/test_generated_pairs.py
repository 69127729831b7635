import pytest

from throughtime.data.generated_pairs import addition, prefix_expressions, simplified, value_of

# Addition


@pytest.mark.parametrize("digits", [1, 2, 3, 5])
def test_the_target_is_the_sum_and_all_are_of_one_length(digits):
    num = 40 if digits == 1 else 500
    pairs = addition(digits, num, 5)
    for part in pairs.splits.values():
        for source, target in part:
            assert (len(source), len(target)) == (2 * digits + 1, digits + 1)
            a, b = source[::-1].split("+")
            assert int(a) + int(b) == int(target)


def test_sizes_are_those_of_keras_and_no_sum_is_there_twice():
    splits = addition().splits
    assert {split: len(part) for split, part in splits.items()} == {
        "train": 45_000,
        "valid": 5_000,
        "test": 5_000,
    }
    sums = [tuple(sorted(map(int, p.source[::-1].split("+")))) for s in splits.values() for p in s]
    assert len(set(sums)) == 55_000


def test_without_padding_and_turning_a_sum_reads_as_written():
    pairs = addition(2, 20, 0, is_reversed=False, is_padded=False)
    assert "test" not in pairs.splits
    for source, target in pairs.splits["train"]:
        assert eval(source.replace("+0", "+")) == int(target) if "+0" not in source else True
        assert source.strip() == source


@pytest.mark.parametrize("make", [addition, prefix_expressions])
def test_a_seed_gives_the_same_pairs_and_another_seed_others(make):
    one = make(num_pairs=60, num_test=5, seed=7).fingerprint()
    assert one == make(num_pairs=60, num_test=5, seed=7).fingerprint()
    assert one != make(num_pairs=60, num_test=5, seed=8).fingerprint()


def test_more_sums_than_there_are_are_refused():
    assert len(addition(1, 50, 5).splits["test"]) == 5
    with pytest.raises(ValueError, match=r"at most 55 pairs.*got num_pairs=50 and num_test=6"):
        addition(1, 50, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"digits": 0}, "expected digits of at least 1"),
        ({"num_pairs": 1}, "expected num_pairs of at least 2"),
        ({"num_test": -1}, "expected num_test of at least 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        addition(**options)


# Expressions


def parsed(text: str):
    """An expression, read by other means than it was written."""
    import ast

    listed = text.replace("(", "['").replace(")", "]").replace(" ", ",")
    listed = listed.replace("['+,", "['+',").replace("['-,", "['-',").replace("['*,", "['*',")
    tree = ast.literal_eval(listed.replace("x", "'x'"))
    return as_tuples(tree)


def as_tuples(tree):
    return tuple(map(as_tuples, tree)) if isinstance(tree, list) else tree


def depth_of(tree) -> int:
    return 1 + max(map(depth_of, tree[1:])) if isinstance(tree, tuple) else 0


def result(tree, x: int) -> int:
    """The value of an expression, calculated by Python."""

    def infix(tree) -> str:
        if isinstance(tree, tuple):
            return f"({infix(tree[1])} {tree[0]} {infix(tree[2])})"
        return str(tree)

    return eval(infix(tree), {"x": x})


@pytest.mark.parametrize("answer", ["value", "simplified"])
def test_the_answer_means_what_the_expression_means(answer):
    for part in prefix_expressions(answer, num_pairs=400, num_test=50).splits.values():
        for source, target in part:
            for x in (-3, 0, 7):
                assert result(parsed(source), x) == result(parsed(target), x)
            assert answer == "simplified" or int(target) == value_of(parsed(source))


def test_tests_are_deeper_than_the_training_and_no_expression_is_there_twice():
    splits = prefix_expressions(num_pairs=2000, num_test=100, depth=2, test_depths=(3, 5)).splits
    depths = {s: {depth_of(parsed(p.source)) for p in part} for s, part in splits.items()}
    assert depths["train"] == depths["test"] == {1, 2}
    assert (depths["depth3"], depths["depth5"]) == ({3}, {5})
    sources = [pair.source for part in splits.values() for pair in part]
    assert len(set(sources)) == len(sources) == 2300


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (("+", ("*", 2, 7), ("-", 3, 1)), 16),
        (("+", ("*", 1, "x"), ("-", 3, 3)), "x"),
        (("*", ("-", "x", "x"), 7), 0),
        (("-", 0, "x"), ("-", 0, "x")),
        (("*", ("+", 0, "x"), ("-", "x", 0)), ("*", "x", "x")),
    ],
)
def test_what_is_known_is_worked_out(expression, expected):
    assert simplified(expression) == expected


def test_wrong_wishes_are_refused():
    with pytest.raises(ValueError, match="expected test_depths of at least 4, got 3"):
        prefix_expressions(test_depths=(3,))
    with pytest.raises(ValueError, match='"value" or "simplified", got "values"'):
        prefix_expressions("values")
    with pytest.raises(ValueError, match="of depth 1 and less, found 300"):
        prefix_expressions(depth=1, num_pairs=301, num_test=0)
    with pytest.raises(ValueError, match="expected numbers alone, got the variable x"):
        value_of(("+", "x", 1))
