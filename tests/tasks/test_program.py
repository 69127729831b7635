"""program: four trees are learned exactly, are judged and written, and bad input is answered."""

import json
import re

import pytest
import torch

from throughtime import tasks
from throughtime.cli.main import main
from throughtime.data import UNK
from throughtime.data.trees import (
    Tree,
    TreeExample,
    TreeSet,
    read_sexpr,
    to_lists,
)
from throughtime.models import TreeHypothesis
from throughtime.tasks.program import ProgramConfig, ProgramWriting
from throughtime.tasks.tree_predictions import of_hypothesis
from throughtime.tasks.tree_settings import TreesToJudge, WritingOptions
from throughtime.tasks.tree_writing import any_known_label, text_of, tree_figures

from .learning import learned
from .small_trees import FAULTY_LINES, FOUR, SETTINGS_WITHOUT_SENSE, TEXT, program, written


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path / "data")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model that has learned the four trees."""
    return learned(task_of(written(tmp_path_factory.mktemp("trained") / "data")), 40, 0.04)


def task_of(data, **options):
    small = {"hidden_size": 32, "dropout": 0.0, "batch_size": 4}
    return ProgramWriting(ProgramConfig(data=str(data), **{**small, **options}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"attention": "none", "topology": "end"}, marks=pytest.mark.slow),
        pytest.param(
            {"sibling_cell": "gru", "constrained": True, "beam_width": 3, "tokenisation": "words"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"recurrence": "H", "attention": "additive", "encoder": {"num_layers": 2}},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_four_trees_are_learned_exactly(folder, trained, options):
    task = task_of(folder, **options)
    task.check()
    model = learned(task, 40, 0.04) if options else trained
    result = task.evaluate(model)
    assert result.figures["exact_match"] == 1
    assert result.figures["loss"] < 0.2
    assert list(result.outputs) == [tree for _, tree in FOUR]
    names = {"loss", "exact_match", "node_f1", "edge_f1"}
    assert set(result.figures) == set(task.figures) == names
    assert result.figures["node_f1"] == result.figures["edge_f1"] == 1
    # A loaded run needs its assets only.
    loaded = ProgramWriting(task.config, json.loads(json.dumps(task.assets)))
    texts = ["add a and b", "", "the length of zebras"]
    said = []
    first, empty, _ = loaded.predictions(model, [texts], WritingOptions(), said.append)
    assert first.lines == ["(+ a b)"]
    assert first.record["tree"] == ["+", "a", "b"]
    assert first.record["is_finished"] is True
    assert -2 < first.record["score"] < 0
    assert empty.lines == [""]
    assert [bool(re.search("zebras", line)) for line in said] == [True]


def test_the_loss_is_minus_the_log_likelihood_per_node(folder):
    task = task_of(folder)
    model = task.model().double()
    (batch,) = task.batches("train")
    loss = task.loss(model, batch)
    assert loss.count == 3 + 2 + 4 + 5
    for i in range(4):
        alone = task._batches(
            task.examples("train")[i : i + 1], task._sources("train")[i : i + 1], 1
        )
        loss.total.data -= task.loss(model, next(iter(alone))).total.data
    assert loss.total.item() == pytest.approx(0, abs=1e-9)


def test_trees_are_right_up_to_the_order_of_commutative_arguments():
    examples = [TreeExample("x", read_sexpr(tree)) for tree in ("(+ a b)", "(- a b)", "a", "b")]
    trees = [read_sexpr("(+ b a)"), read_sexpr("(- b a)"), None, read_sexpr("b")]
    assert tree_figures(examples, trees, {"+"}) == {"exact_match": 0.5}
    assert tree_figures(examples, trees) == {"exact_match": 0.25}


def test_programs_are_judged_by_their_tests_and_by_whether_their_skeleton_is_known():
    tests = [({"a": 1, "b": 2}, 3), ({"a": 2, "b": 2}, 4)]
    examples = [
        program("x", "(+ a b)", True, tests),
        program("y", "(+ a b)", False, tests),
        program("z", "(+ a b)", False, tests),
        program("u", "(+ a b)"),
    ]
    trees = [read_sexpr(tree) for tree in ("(+ a b)", "(- a (- 0 b))", "(nothing)", "(+ a b)")]
    assert tree_figures(examples, trees) == {
        "exact_match": 0.5,
        "exact_match_seen": 1.0,
        "exact_match_unseen": 0.0,
        "passes": 2 / 3,
    }


def test_the_value_of_a_program_is_written(monkeypatch, folder, trained):
    task = task_of(folder)
    tests = [({"a": 1, "b": 2}, 3)]
    data = TreeSet(
        "own",
        {
            "train": [program(text, tree, None, tests) for text, tree in FOUR],
            "valid": [program(*FOUR[0], True, tests), program(*FOUR[1], False, tests)],
        },
        "s-expression",
        frozenset({"+"}),
    )
    monkeypatch.setattr(task, "trees", data)
    figures = task.evaluate(trained).figures
    assert set(figures) == set(task.figures)
    assert figures["exact_match"] == figures["exact_match_unseen"] == 1
    # `len` of a number has no value, so the second program passes no test.
    assert figures["passes"] == 0.5
    options = WritingOptions(inputs='{"a": 5, "b": [1, 2, 3]}')
    said = []
    lines = [["double the length of b", "the length of a"]]
    double, length = task.predictions(trained, lines, options, said.append)
    assert double.lines == ["(* 2 (len b))\t6"]
    assert double.record["value"] == 6
    assert length.lines == ["(len a)\t"]
    assert "len" in length.record["error"]
    assert len(said) == 1
    assert said[0].startswith("line 2: the program has no value: ")


def test_special_ids_are_never_written():
    allowed = any_known_label(9).labels(torch.tensor([9, 4, 8]), torch.tensor([0, 1, 70]))
    assert allowed.int().tolist() == [[0] * UNK + [1] * (9 - UNK)] * 3


def test_the_search_may_write_nothing():
    nothing = TreeHypothesis([], [], -1.0, False)
    written = of_hypothesis(nothing, None, "json", {"a": 1})
    assert written.lines == ["\t"]
    assert written.record["tree"] is written.record["value"] is None
    assert len(written.remarks) == 1


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ("(reduce a inf min)", '"inf"'),
        ("(map a (partial0 1 +))", "[]"),
        ("(partial0 1 +)", ""),
        ("(> b 1)", "true"),
        ("(+ c 1)", ""),
    ],
)
def test_each_kind_of_value_is_written_as_json(tree, line):
    hypothesis = TreeHypothesis([1], [-1], -1.0, True)
    values = {"a": [], "b": 2}
    written = of_hypothesis(hypothesis, read_sexpr(tree), "s-expression", values)
    assert written.lines == [f"{tree}\t{line}"]
    assert json.loads(json.dumps(written.record["value"], allow_nan=False)) == (
        json.loads(line) if line else None
    )
    assert ("error" in written.record) == (not line) == bool(written.remarks)


def test_a_tree_that_its_notation_cannot_hold_is_an_s_expression():
    tree = Tree(("If", "x"), (-1, 0))
    text, reason = text_of(tree, "python")
    assert text == "(If x)"
    assert reason


@pytest.mark.parametrize("notation", ["json", "treebank", "python", "shell"])
def test_a_tree_of_any_form_is_written_in_each_notation(notation):
    labels = ["Name", "id", "Call", "args", "()", "command", "x", "If", "|", '"'] * 3
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(labels), (7,), generator=generator).tolist()
        # Each node is below the one before it or below one of the ancestors of that.
        parents = [-1]
        for node in range(1, 7):
            path = [node - 1]
            while parents[path[-1]] >= 0:
                path.append(parents[path[-1]])
            parents.append(path[int(torch.randint(len(path), (1,), generator=generator))])
        text, _ = text_of(Tree(tuple(labels[i] for i in chosen), tuple(parents)), notation)
        assert text
        assert "\n" not in text


def test_what_the_report_shows(folder, trained):
    task = task_of(folder)
    lines, tree = task.show(trained)
    assert lines.text.splitlines()[0] == "add a and b → (+ a b)"
    assert tree.text == "add a and b\n+\n  a\n  b"
    one = task.explanations(trained)[0]
    assert (list(one.source_parents), list(one.target_parents)) == ([], [-1, 0, 0])
    assert (list(one.source), list(one.target)) == (["add", "a", "and", "b"], ["+", "a", "b"])
    assert [sum(row) for row in one.weights] == pytest.approx([1, 1, 1], abs=1e-3)
    assert task.held_out(4) == ["add a and b"]
    observation = task.observe(trained, "add a and c")
    assert observation.steps == {"encoder": ("add", "a", "and", "c")}
    assert observation.run() is None
    with pytest.raises(ValueError, match="expected at least one word"):
        task.observe(trained, " ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        *FAULTY_LINES,
        (f"deep\t{'(a ' * 10_000}{')' * 9_999}", r"own.tsv, line 5.*expected balanced brackets"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, line, message):
    path = tmp_path / "own.tsv"
    path.write_text(f"{TEXT}{line}\n")
    with pytest.raises(ValueError, match=message):
        _ = task_of(path).assets


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *SETTINGS_WITHOUT_SENSE,
        ({"sibling_cell": "gru", "recurrence": "H"}, "--sibling_cell gru: is for two recurrences"),
        ({"sibling_cell": "gruu"}, "gru"),
        ({"encoder": {"hiden_size": 3}}, "unknown option --encoder.hiden_size; did you mean"),
    ],
)
def test_settings_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ProgramConfig(**options)


def test_options_without_sense_are_refused(folder):
    task = task_of(folder)
    with pytest.raises(ValueError, match="--inputs: expected a JSON object"):
        WritingOptions(inputs="[1]")
    with pytest.raises(ValueError, match="--inputs"):
        WritingOptions(inputs="{")
    with pytest.raises(ValueError, match="--inputs: the trees of this run are no programs"):
        list(task.predictions(task.model(), [["a"]], WritingOptions(inputs="{}"), print))
    with pytest.raises(ValueError, match="--encoding is that of the files at --data"):
        TreesToJudge(encoding="latin-1")
    with pytest.raises(ValueError, match="evaluated as a whole; leave --split out"):
        task.evaluate(task.model(), "valid", TreesToJudge(data=str(folder)))
    with pytest.raises(ValueError, match="--lower_case is for words"):
        _ = task_of(folder, lower_case=True).assets


def test_unknown_words_and_labels_and_long_texts_are_told(tmp_path, caplog):
    (tmp_path / "train.tsv").write_text(TEXT)
    (tmp_path / "valid.tsv").write_text(f"add q\t(+ zeta b)\n{'add ' * 30}a\t(+ a b)\n")
    task_of(tmp_path).check()
    assert "of the texts 1 of 33 symbols (3.03 %) are unknown" in caplog.text
    assert (
        "1 of 2 trees have labels that the training lacks, so they cannot be written: 'zeta'"
        in (caplog.text)
    )
    assert "the source has 31 symbols, the longest of the training 9" in caplog.text


def test_suspicious_splits_of_one_file_are_told(tmp_path, caplog):
    path = tmp_path / "own.tsv"
    path.write_text("".join(f"text {i:03}\t(+ {'ab'[i >= 150]} b)\n" for i in range(300)))
    task_of(path).check()
    assert "own.tsv: the examples are sorted, and the validation is the last of them" in caplog.text
    caplog.clear()
    for split, begin in (("train", 0), ("valid", 270)):
        lines = path.read_text().splitlines(keepends=True)[begin : begin + 270]
        (tmp_path / f"{split}.tsv").write_text("".join(lines))
    path.unlink()
    task_of(tmp_path).check()
    assert "sorted" not in caplog.text


def test_it_is_trained_judged_and_used_by_commands(folder, capsys):
    assert tasks.get("program") is ProgramWriting
    run = str(folder / "run")
    words = f"train program --data {folder} --hidden_size 12 --epochs 1 --batch_size 4 --run {run}"
    assert main(words.split()) == 0
    assert "add a and b" in (folder / "run" / "report.html").read_text()
    capsys.readouterr()
    own = folder / "own.tsv"
    own.write_text("add b and a\t(+ b a)\n")
    assert main(["evaluate", run, "--data", str(own), "--beam_width", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["examples"] == 1
    assert 0 <= figures["exact_match"] <= 1
    assert main(["predict", run, "--text", "add a and b", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {"text", "tree", "score", "is_finished"} <= set(record)
    assert to_lists(read_sexpr(record["text"])) == record["tree"]
    assert main(["predict", run, "--text", "a", "--attention", str(folder / "map.html")]) == 0
    assert (folder / "map.html").is_file()
