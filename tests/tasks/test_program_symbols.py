"""program-symbols: trees are learned as symbols, judged as trees, and written in their notation."""

import json
import re
from dataclasses import asdict, fields, replace

import pytest
import torch

from throughtime.cli.main import main
from throughtime.data.trees import TreeSet, write_symbols
from throughtime.tasks.program_symbols import (
    ProgramSymbols,
    ProgramSymbolsConfig,
    SymbolWritingOptions,
    TreePair,
)
from throughtime.tasks.sequence_to_sequence import JudgingOptions, SequenceToSequenceConfig

from .learning import learned
from .small_trees import FAULTY_LINES, FOUR, SETTINGS_WITHOUT_SENSE, TEXT, program, written


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path / "data")


def task_of(data, **options):
    small = {"hidden_size": 32, "dropout": 0.0, "batch_size": 4}
    return ProgramSymbols(ProgramSymbolsConfig(data=str(data), **{**small, **options}))


def written_as(task, monkeypatch, *symbols):
    """Lets the model of a task write these symbols for its inputs, one after another."""
    target, texts = task.tokenisers[1], iter(symbols)

    def search(model, sources, **how):
        torch.manual_seed(0)
        results = type(task).search(task, model, sources, **how)
        return [
            [replace(each, tokens=target.encode(next(texts))) for each in best] for best in results
        ]

    monkeypatch.setattr(task, "search", search)


@pytest.mark.parametrize("options", [{}, {"attention": "none", "tokenisation": "words"}])
def test_four_trees_are_learned_exactly(folder, options):
    task = task_of(folder, **options)
    task.check()
    model = learned(task, 60, 0.04)
    result = task.evaluate(model)
    assert set(result.figures) == set(task.figures)
    assert set(task.figures) == {"loss", "exact_match", "node_f1", "edge_f1"}
    assert result.figures["exact_match"] == 1
    assert list(result.outputs) == [tree for _, tree in FOUR]
    # A loaded run needs its assets only.
    loaded = ProgramSymbols(task.config, json.loads(json.dumps(task.assets)))
    said = []
    texts = ["add a and b", "", "the length of zebras"]
    first, empty, _ = loaded.predictions(model, [texts], SymbolWritingOptions(), said.append)
    assert first.lines == ["(+ a b)"]
    assert first.record["tree"] == ["+", "a", "b"]
    assert empty.lines == [""]
    assert empty.record == {"text": "", "tree": None}
    assert "zebras" in said[-1]
    (shown,) = task.show(model)
    assert shown.text.splitlines()[0] == "add a and b → (+ a b)"


def test_the_notation_of_the_data_is_written(tmp_path):
    path = tmp_path / "own.tsv"
    path.write_text("".join(f'text {i}\t["a b", "%", ["(", "x"]]\n' for i in range(20)))
    task = task_of(path, notation="json", valid_fraction=0.2)
    (batch, *_) = task.batches("train")
    symbols = task.tokenisers[1].decode(batch.target_out[0].tolist())
    assert symbols == "( a%20b %25 ( %28 x ) )"
    assert task.shown_target(symbols) == '["a b", "%", ["(", "x"]]'
    assert task.evaluate(learned(task, 30, 0.04)).outputs == ['["a b", "%", ["(", "x"]]'] * 4


def test_it_is_judged_as_program_is(monkeypatch, folder):
    task = task_of(folder)
    tests = [({"a": 1, "b": 2}, 3), ({"a": 2, "b": 2}, 4)]
    data = TreeSet(
        "own",
        {
            "train": [program(text, tree, None, tests) for text, tree in FOUR],
            "valid": [
                program(*FOUR[0], True, tests),
                program("sum", "(+ 1 (+ a b))", True, tests),
                program("y", "(+ a b)", False, tests),
                program("z", "(len a)", False),
            ],
        },
        "s-expression",
        frozenset({"+"}),
    )
    monkeypatch.setattr(task, "trees", data)
    assert set(task.figures) == {
        *("loss", "exact_match", "exact_match_seen", "exact_match_unseen", "passes"),
        *("node_f1", "edge_f1"),
    }
    # The second tree is right up to the order of the arguments; the third output is no tree.
    outputs = ["( + a b )", "( + ( + b a ) 1 )", "( + a b", "( len b )"]
    figures = task.judge(task.split("valid"), outputs)
    # The last tree has one of two nodes right; the output that is no tree has none of three.
    recall = (1 + 1 + 0 + 1 / 2) / 4
    precision = (1 + 1 + 1 + 1 / 2) / 4
    assert figures.pop("node_f1") == pytest.approx(2 * precision * recall / (precision + recall))
    assert figures.pop("edge_f1") > 0
    assert figures == {
        "exact_match": 0.5,
        "exact_match_seen": 1.0,
        "exact_match_unseen": 0.0,
        "passes": 1 / 3,
    }
    model = task.model()
    written_as(task, monkeypatch, *outputs[:3], "( len a )")
    options = SymbolWritingOptions(inputs='{"a": 5, "b": 2}')
    said = []
    results = list(task.predictions(model, [["add", "sum"], ["b", "a"]], options, said.append))
    assert [result.lines for result in results] == [
        ["(+ a b)\t7"],
        ["(+ (+ b a) 1)\t8"],
        ["\t"],
        ["(len a)\t"],
    ]
    assert results[0].record["value"] == 7
    assert results[2].record["tree"] is results[2].record["value"] is None
    assert results[2].record["symbols"] == "( + a b"
    remarks = [line for line in said if line.startswith("line ")]
    assert [re.match(r"line \d+: \w+ \w+", line)[0] for line in remarks] == [
        "line 3: the model",
        "line 4: the program",
    ]
    assert remarks[0] == (
        "line 3: the model wrote no tree, but the symbols '( + a b'; at the end: expected 1 more "
        "closing brackets, got none."
    )


def test_several_outputs_of_a_line_are_ranked(folder):
    task = task_of(folder)
    model = learned(task, 60, 0.04)
    said = []
    options = SymbolWritingOptions(n_best=3)
    (result,) = task.predictions(model, [["add a and b"]], options, said.append)
    ranked = [line.split("\t") for line in result.lines]
    assert [number for number, _, _ in ranked] == ["1"] * 3
    assert ranked[0][2] == result.record["text"] == "(+ a b)"
    assert [each["text"] for each in result.record["outputs"]] == [text for *_, text in ranked]
    # What is no tree is told, with its line and its rank.
    wrong = [i for i, each in enumerate(result.record["outputs"], 1) if each["tree"] is None]
    assert [line.partition(":")[0] for line in said] == [f"line 1, output {i}" for i in wrong]


def test_settings_have_the_defaults_of_all_sequence_to_sequence_tasks():
    config, usual = ProgramSymbolsConfig(), SequenceToSequenceConfig()
    assert config.bidirectional
    assert {field.name: getattr(config, field.name) for field in fields(usual)} == asdict(usual)


def test_a_pair_holds_its_example():
    example = program(*FOUR[3], False)
    pair = TreePair.of(example)
    assert pair == ("add one to the sum of a and b", write_symbols(example.tree))
    assert pair.example is example


@pytest.mark.parametrize(("line", "message"), FAULTY_LINES)
def test_a_faulty_line_is_named(tmp_path, line, message):
    path = tmp_path / "own.tsv"
    path.write_text(f"{TEXT}{line}\n")
    with pytest.raises(ValueError, match=message):
        _ = task_of(path).assets


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *SETTINGS_WITHOUT_SENSE,
        ({"feed": "scheduled"}, "--forcing: expected a probability"),
    ],
)
def test_settings_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ProgramSymbolsConfig(**options)


def test_options_without_sense_are_refused(folder):
    task = task_of(folder)
    with pytest.raises(ValueError, match="--inputs: expected a JSON object"):
        SymbolWritingOptions(inputs="[1]")
    with pytest.raises(ValueError, match="--n_best: expected at least 1"):
        SymbolWritingOptions(n_best=0)
    with pytest.raises(ValueError, match="--inputs: the trees of this run are no programs"):
        list(task.predictions(task.model(), [["a"]], SymbolWritingOptions(inputs="{}"), print))
    with pytest.raises(ValueError, match="--lower_case is for words"):
        _ = task_of(folder, lower_case=True).assets
    (folder / "bad.tsv").write_text("add a and b\t(+ a b\n")
    with pytest.raises(ValueError, match=r"bad.tsv, line 1, character 1: expected balanced"):
        task.evaluate(task.model(), None, JudgingOptions(data=str(folder / "bad.tsv")))


def test_it_is_trained_judged_and_used_by_commands(folder, capsys):
    run = str(folder / "run")
    words = f"train program-symbols --data {folder} --hidden_size 12 --epochs 1 --run {run}"
    assert main(words.split()) == 0
    assert "add a and b" in (folder / "run" / "report.html").read_text()
    own = folder / "own.tsv"
    own.write_text("add b and a\t(+ b a)\n")
    capsys.readouterr()
    assert main(["evaluate", run, "--data", str(own), "--beam_width", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["pairs"] == 1
    assert figures["exact_match"] in (0, 1)
    assert main(["predict", run, "--text", "add a and b", "--json"]) == 0
    assert {"text", "tree", "score"} <= set(json.loads(capsys.readouterr().out))
    assert main(["predict", run, "--text", "a", "--attention", str(folder / "map.html")]) == 0
    assert (folder / "map.html").is_file()
