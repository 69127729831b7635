"""Trees are read and written: by a task with its commands, and bad trees are answered."""

import json

import pytest
import torch

from throughtime.cli.main import main
from throughtime.data.trees import load_trees, read_sexpr
from throughtime.inspection.recording import record
from throughtime.models import Trees
from throughtime.tasks.program import ProgramConfig, ProgramWriting
from throughtime.tasks.tree_overlap import overlap_figures
from throughtime.tasks.tree_settings import TreesToJudge, WritingOptions
from throughtime.tasks.tree_sources import collate_sources

from .learning import learned
from .small_trees import written

# Each operation is written in words, with its arguments exchanged.
FIVE = [
    ("(+ a b)", "(plus b a)"),
    ("(+ b a)", "(plus a b)"),
    ("(len a)", "(length a)"),
    ("(* 2 (len b))", "(times (length b) 2)"),
    ("(+ 1 (+ a b))", "(plus (plus b a) 1)"),
]
TEXT = "".join(f"{source}\t{tree}\n" for source, tree in FIVE)


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path / "data", TEXT)


def task_of(data, **options):
    small = {"hidden_size": 32, "dropout": 0.0, "batch_size": 5, "source": "n-ary"}
    return ProgramWriting(ProgramConfig(data=str(data), **{**small, **options}))


@pytest.mark.parametrize("options", [{}, {"attention": "none", "encoder": {"hidden_size": 20}}])
def test_trees_are_translated_exactly(folder, options):
    task = task_of(folder, **options)
    task.check()
    model = learned(task, 50, 0.03)
    result = task.evaluate(model)
    assert list(result.outputs) == [tree for _, tree in FIVE]
    assert {result.figures[name] for name in ("exact_match", "node_f1", "edge_f1")} == {1.0}
    # A loaded run needs its assets only.
    loaded = ProgramWriting(task.config, json.loads(json.dumps(task.assets)))
    said = []
    lines = ["(* 2 (len b))", " ", "(+ a  b )", "(len zebra)"]
    predictions = list(loaded.predictions(model, [lines], WritingOptions(), said.append, True))
    written = [prediction.lines for prediction in predictions]
    assert written[:3] == [["(times (length b) 2)"], [""], ["(plus b a)"]]
    assert [("zebra" in line, "labels" in line) for line in said] == [(True, True)]
    drawn = [prediction.attention for prediction in predictions]
    if options:
        assert drawn == [None] * 4
    else:
        assert list(drawn[0].source) == ["*", "2", "len", "b"]
        assert list(drawn[3].source) == ["len", "zebra"]
        assert len(drawn[0].weights) == 4


def test_the_order_of_children_has_no_influence_on_a_child_sum(folder):
    task = task_of(folder, source="child-sum")
    model = task.model().double()
    one, other = (
        collate_sources([task.source_of_line(text, "").encoded(task.tokeniser)])[0]
        for text in ("(+ a b)", "(+ b a)")
    )
    ordered = task_of(folder).model().double()
    for reader, is_equal in ((model, True), (ordered, False)):
        (h, _), (h_other, _) = (reader.encoder(Trees(*tree))[1] for tree in (one, other))
        assert torch.allclose(h, h_other) == is_equal


def test_synthetic_trees_are_the_sources_of_an_autoencoder(monkeypatch):
    task = task_of("synthetic-trees")
    assert task.assets["most_children"] == 3
    example = task.examples("valid")[0]
    assert example.tree == example.source_tree
    text = task.held_out(1)[0]
    assert read_sexpr(text) == example.tree
    recording = record(task, task.model(), text)
    assert list(recording.steps.values()) == [example.tree.labels]
    # The units of the Tree-LSTM at each node.
    assert recording.values["encoder.h_l0"].shape == (len(example.tree), 32)


def test_node_and_edge_f1_are_those_of_the_multisets_of_labels_and_pairs():
    true = [read_sexpr(tree) for tree in ("(a (b c) c)", "a")]
    written = [read_sexpr(tree) for tree in ("(a (b c c))", "(a b)")]
    # Nodes: 4 of 4 and 4 of 4; 1 of 2 and 1 of 1. P = 3/4, R = 1.
    # Edges: 2 of 3 (a b, b c) and 2 of 3; 0 of 1 and all of none. P = 1/3, R = 5/6.
    figures = overlap_figures(true, written)
    assert figures["node_f1"] == pytest.approx(2 * 0.75 / 1.75)
    assert figures["edge_f1"] == pytest.approx(2 * (1 / 3) * (5 / 6) / (1 / 3 + 5 / 6))
    assert overlap_figures(true, true) == {"node_f1": 1.0, "edge_f1": 1.0}
    assert overlap_figures(true, [None, None])["node_f1"] == 0
    # The place of a node or an edge does not matter.
    moved = [read_sexpr("(a c (b c))"), read_sexpr("a")]
    assert overlap_figures(true, moved) == {"node_f1": 1.0, "edge_f1": 1.0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("(+ a b\ta", r"own.tsv, line 6, source, character 1: expected balanced brackets"),
        ("a b\ta", r"own.tsv, line 6, source"),
        ("(+ a b)\t(plus", r"own.tsv, line 6, character 1: expected balanced brackets"),
        ("\t(plus b a)", r"own.tsv, line 6.*empty"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, line, message):
    path = tmp_path / "own.tsv"
    path.write_text(f"{TEXT}{line}\n")
    with pytest.raises(ValueError, match=message):
        _ = task_of(path, valid_fraction=0.4).assets


def test_a_source_with_more_children_than_the_training_is_named(tmp_path, folder):
    task = task_of(folder)
    with pytest.raises(ValueError, match=r"line 2, node 1 \(len\): expected at most 2 children"):
        list(task.predictions(task.model(), [["a", "(+ (len a b a) b)"]], WritingOptions(), print))
    own = tmp_path / "own.tsv"
    own.write_text("(+ a b a)\t(plus a b a)\n")
    with pytest.raises(ValueError, match=r"own.tsv, example 1, source, node 0 \(\+\)"):
        task.evaluate(task.model(), None, TreesToJudge(data=str(own)))
    (folder / "valid.tsv").write_text("(+ a b a)\t(plus a b a)\n")
    with pytest.raises(ValueError, match=r"valid, example 1, source, node 0 \(\+\)"):
        task_of(folder).check()
    task = task_of(folder, source="child-sum")
    task.check()
    (prediction,) = task.predictions(task.model(), [["(+ a b a)"]], WritingOptions(), print)
    assert prediction.lines


def test_a_line_that_is_no_tree_is_named(folder):
    task = task_of(folder)
    for line, message in (
        ("(+ a b", "line 2, character 1: expected balanced brackets"),
        ("a b", "line 2"),
    ):
        with pytest.raises(ValueError, match=message):
            list(task.predictions(task.model(), [["a", line]], WritingOptions(), print))
        with pytest.raises(ValueError, match="expected"):
            task.observe(task.model(), line)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lower_case": True}, "--lower_case True: is for texts"),
        ({"tokenisation": "words"}, "--tokenisation words: is for texts"),
        ({"bidirectional": False}, "--bidirectional False: is for texts"),
        ({"merge": "sum"}, "merge is of the encoder of sequences"),
        ({"encoder": {"num_layers": 2}}, "encoder_options num_layers is of the encoder of seq"),
    ],
)
def test_options_of_sequences_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        task_of(folder, **options).model()


def test_a_data_set_of_texts_has_no_source_trees(monkeypatch):
    trees = load_trees("synthetic-trees")
    assert load_trees("synthetic-trees", has_source_trees=True).fingerprint() == trees.fingerprint()
    with pytest.raises(ValueError, match="those of geoquery are texts"):
        load_trees("geoquery", has_source_trees=True)


@pytest.mark.slow
def test_it_is_trained_judged_and_used_by_commands(folder, capsys):
    run = str(folder / "run")
    words = f"train program --source child-sum --data {folder} --hidden_size 12 --epochs 1"
    assert main([*words.split(), "--batch_size", "4", "--run", run]) == 0
    assert "(+ a b) → " in (folder / "run" / "report.html").read_text()
    capsys.readouterr()
    assert main(["evaluate", run, "--beam_width", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert {"exact_match", "node_f1", "edge_f1"} <= set(figures)
    assert main(["predict", run, "--text", "(+ a (len b))", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) >= {"text", "tree", "score"}
    assert main(["predict", run, "--text", "(+ a (len b)"]) != 0
    assert "line 1, character 1: expected balanced brackets" in capsys.readouterr().err
