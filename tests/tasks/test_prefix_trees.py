"""Prefix expressions as trees: learned, written digit by digit, and judged depth by depth."""

import pytest

from throughtime import tasks
from throughtime.data.trees import TreeExample, TreeSet, expression_trees, read_sexpr, spelled
from throughtime.tasks.prefix import Prefix, PrefixConfig
from throughtime.tasks.prefix_trees import PrefixTrees, PrefixTreesConfig

from .learning import learned

SMALL = {"num_pairs": 200, "num_test": 10, "hidden_size": 24, "embedding_size": 12}
SIX = {
    "(+ 1 2)": "(# 3)",
    "(- 3 7)": "(# - 4)",
    "(* 2 7)": "(# 1 4)",
    "(+ (* 2 7) 1)": "(# 1 5)",
    "(+ (* 2 7) (- 3 1))": "(# 1 6)",
    "(- 9 (+ 1 1))": "(# 7)",
}
EXAMPLES = [
    TreeExample(source, read_sexpr(tree), source_tree=read_sexpr(source))
    for source, tree in SIX.items()
]


def task_of(**options):
    return PrefixTrees(PrefixTreesConfig(**{**SMALL, "depth": 2, **options}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param(
            {"source": "sequence", "tokenisation": "characters", "cell": "gru"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_six_expressions_are_learned_by_heart(monkeypatch, options):
    assert tasks.get("prefix-trees") is PrefixTrees
    few = TreeSet("few", {"train": EXAMPLES, "valid": EXAMPLES[:2]}, "s-expression")
    monkeypatch.setattr(PrefixTrees, "read_trees", lambda self: few)
    task = task_of(**options)
    model = learned(task, 60, 0.03)
    result = task.evaluate(model, "train")
    assert list(result.outputs) == list(SIX.values())
    assert result.figures["exact_match_depth_1"] == result.figures["exact_match_depth_2"] == 1.0


def test_the_expressions_are_those_of_the_task_prefix():
    task, other = task_of(answer="simplified"), Prefix(PrefixConfig(answer="simplified", **SMALL))
    assert task.trees.splits.keys() == other.pairs.splits.keys()
    for split, examples in task.trees.splits.items():
        for example, pair in zip(examples, other.pairs.splits[split], strict=True):
            assert example.source == pair.source
            assert example.source_tree == read_sexpr(pair.source)
            assert example.tree == spelled(read_sexpr(pair.target))
    assert expression_trees(other.pairs).fingerprint() == task.trees.fingerprint()


@pytest.mark.parametrize("answer", ["value", "simplified"])
def test_every_depth_has_its_figure_and_the_test_the_greater_ones(answer):
    task = task_of(answer=answer, deeper=2)
    task.check()
    model = task.model()
    own = {"exact_match", "exact_match_depth_1", "exact_match_depth_2"}
    own |= {"loss", "node_f1", "edge_f1"}
    assert set(task.evaluate(model, "valid").figures) == set(task.figures) == own
    deeper = {"exact_match_depth_3", "exact_match_depth_4"}
    assert set(task.evaluate(model, "test").figures) == own | deeper


def test_the_figure_of_a_greater_depth_is_that_of_its_own_expressions(monkeypatch):
    task = task_of(deeper=2)
    deep = [example for d in (3, 4) for example in task.examples(f"depth{d}")]
    encoded = [source for d in (3, 4) for source in task._sources(f"depth{d}")]
    answers = {tuple(s.ids): example.tree for s, example in zip(encoded, deep, strict=True)}
    for source in task._sources("depth4")[:4]:
        answers[tuple(source.ids)] = None

    def knows(self, model, sources, beam_width):
        return [answers.get(tuple(source.ids)) for source in sources]

    monkeypatch.setattr(PrefixTrees, "written", knows)
    figures = task.evaluate(task.model(), "test").figures
    assert figures["exact_match"] < 0.1
    assert figures["exact_match_depth_3"] == 1.0
    assert figures["exact_match_depth_4"] == 0.6


def test_longer_sources_may_have_larger_trees():
    bounds = task_of(answer="simplified").bounds
    assert bounds.longest_source == 7
    assert [bounds.growth(length) for length in (1, 7, 16, 17, 32, 33)] == [1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deeper": -1}, "--deeper: expected 0 or more, got -1"),
        ({"depth": 0}, "expected depth of at least 1, got 0"),
        ({"answer": "valeu"}, 'expected answer "value" or "simplified"'),
        ({"tokenisation": "characters"}, "--tokenisation characters: is for texts"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        task_of(**options).check()
