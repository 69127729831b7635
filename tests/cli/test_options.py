"""How options are written, what cells lists, and settings as a recipe."""

import json

import pytest
import yaml

from throughtime import cells
from throughtime.checks import unknown
from throughtime.cli.parser import Parser
from throughtime.training import progress

TEXT = "def cat():\n    return 'mat'\n\n" * 60
SMALL = "--hidden_size 8 --num_layers 1 --batch_size 4 --num_steps 10 --epochs 1".split()


# How options are written.


def parsed(*words):
    parser = Parser(prog="test")
    parser.add_argument("--hidden_size", type=int)
    parser.add_argument("--is_tied", type=bool)
    parser.add_argument("--maybe", type=bool | None)
    parser.add_argument("--name", type=str | None)
    parser.add_argument("--encoder", type=dict[str, object] | None)
    parser.add_argument("files", type=str, nargs="*")
    return parser.parse(words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--hidden-size", "3"], {"hidden_size": 3}),
        (["--hidden-size=3"], {"hidden_size": 3}),
        (["--hidden_size", "3"], {"hidden_size": 3}),
        (["--is-tied"], {"is_tied": True}),
        (["--is-tied", "--hidden-size", "3"], {"is_tied": True, "hidden_size": 3}),
        (["--is_tied", "False"], {"is_tied": False}),
        (["--is-tied=no"], {"is_tied": False}),
        (["--maybe"], {"maybe": True}),
        (["--maybe", "null"], {"maybe": None}),
        # A value keeps its hyphens, a word after -- is no option.
        (["--name", "a-b"], {"name": "a-b"}),
        (["--name=--hidden-size"], {"name": "--hidden-size"}),
        (["--is-tied", "--", "--hidden-size"], {"is_tied": True, "files": ["--hidden-size"]}),
        # The entries of an option that is a dict.
        (["--encoder.num-layers", "2"], {"encoder": {"num_layers": 2}}),
        (["--encoder.residual"], {"encoder": {"residual": True}}),
        (
            ["--encoder.residual", "--encoder.hidden-size=4", "--is-tied"],
            {"encoder": {"residual": True, "hidden_size": 4}, "is_tied": True},
        ),
    ],
    ids=" ".join,
)
def test_hyphens_are_underscores_and_switches_need_no_value(words, expected):
    values = parsed(*words)
    assert {name: value for name, value in values.items() if value not in ([], None)} == {
        name: value for name, value in expected.items() if value is not None
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hiden-size", "3"], 'unknown option --hiden-size; did you mean "--hidden_size"?'),
        (["--hidden-size", "x"], "--hidden_size: expected int, got x"),
        (["--hidden-size"], "expected one argument"),
    ],
)
def test_a_wrong_option_with_hyphens_is_explained(words, message, capsys):
    with pytest.raises(SystemExit):
        parsed(*words)
    assert message in capsys.readouterr().err


def test_a_training_takes_hyphens(tmp_path, said, monkeypatch):
    (tmp_path / "text.py").write_text(TEXT)
    small = [word.replace("_", "-") for word in SMALL]
    run = tmp_path / "run"
    status, _, err = said(
        *("train", "char-lm", "--data", tmp_path / "text.py", *small, "--learned-state"),
        *("--sample-every", 0, "--run", run),
    )
    assert (status, err) == (0, "")
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert settings["hidden_size"] == 8
    assert settings["learned_state"] is True
    # --sample_every 0 shows no samples, not even after the validation.
    assert not (run / "samples.txt").read_text()
    # A log gets the progress of an evaluation, and the output gets the figures alone.
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_UPDATES", -1.0)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", -1.0)
    status, out, err = said("evaluate", run, "--json")
    assert status == 0
    assert "loss" in json.loads(out)
    assert "evaluation: scoring · 100% · 0:00:00 left\n" in err


# Settings as a recipe.


def test_all_settings_are_printed_as_a_recipe_that_gives_them_again(tmp_path, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--hidden-size", 12, "--encoder.num-layers", 2, "--encoder.residual", "--lower-case"]
    status, out, err = said("train", "translation", *options, "--print-config")
    assert (status, err) == (0, "")
    content = yaml.safe_load(out)
    assert (content["task"], content["learner"]) == ("translation", "gradient")
    assert content["hidden_size"] == 12
    assert content["encoder"] == {"num_layers": 2, "residual": True}
    (tmp_path / "mine.yaml").write_text(out)
    assert said("train", "translation", "--config", "mine.yaml", "--print_config")[1] == out
    again = said("train", "translation", "--config", "mine.yaml", "--seed", 7, "--print_config")[1]
    assert yaml.safe_load(again) == content | {"seed": 7}
    # Nothing is trained, and wrong settings are refused as in a training.
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    status, _, err = said("train", "translation", "--hidden_size", 0, "--print_config")
    assert status == 1
    assert "--hidden_size" in err


# Cells.


def names_of(out):
    return [line.split()[0] for line in out.splitlines()[1:]]


def test_there_is_one_line_for_each_cell(said):
    status, out, _ = said("cells")
    assert status == 0
    assert names_of(out) == cells.names()


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["lstm"], lambda cell: "lstm" in f"{cell.name} {cell.source}".lower()),
        (["LSTM", "greff"], lambda cell: "lstm" in cell.name and "Greff" in cell.source),
        (["--gates", "2"], lambda cell: len(cell.gates) == 2),
        (["--gates=5:"], lambda cell: len(cell.gates) >= 5),
        (["--states", ":1"], lambda cell: len(cell.state_specs) == 1),
        (["--year", "2017:"], lambda cell: cell.year >= 2017),
        (["--year", ":1999"], lambda cell: cell.year < 2000),
        (["--year", "2014:2016", "gru"], lambda c: "gru" in c.name and 2014 <= c.year <= 2016),
        (["--year", "1997"], lambda cell: cell.year == 1997),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_cells_are_filtered(filters, expected, said):
    status, out, _ = said("cells", *filters)
    assert status == 0
    assert names_of(out) == [name for name in cells.names() if expected(cells.get(name))]


@pytest.mark.parametrize("width", [50, 80, 120])
def test_a_line_fits_on_a_terminal(width, said, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    lines = said("cells")[1].splitlines()
    assert len(lines) == 1 + len(cells.names())
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lstn"], 'unknown cell "lstn"; did you mean "lstm"? The nearest of '),
        (["--gates", "two"], "--gates: expected a number or a range such as 2:4, got two."),
        (["--gates", ":"], "--gates: expected a number or a range such as 2:4, got :."),
        (["--year", "2018:2017"], "--year: expected a range from low to high, got 2018:2017."),
        (["gru", "--gates", "9"], "no cell is selected by gru --gates 9. Leave a part of it out."),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_a_filter_that_selects_nothing_is_refused(words, message, said):
    status, out, err = said("cells", *words)
    assert (status, out) == (1, "")
    assert message in err


def test_equations_come_with_their_source(said):
    lines = said("equations", "lstm-peephole")[1].splitlines()
    assert lines[:3] == [
        "lstm-peephole",
        "source: Greff et al., LSTM: a search space odyssey (2017)",
        "class: throughtime.cells.lstm.PeepholeLSTM",
    ]
    latex = said("equations", "lstm-peephole", "--latex")[1].splitlines()
    assert latex[:3] == [f"% {line}" for line in lines[:3]]
    assert latex[3] == "\\begin{align*}"


def test_an_unknown_name_lists_the_five_nearest(said):
    _, _, err = said("equations", "lstm-peepole")
    listed = err.partition("The nearest of ")[2].partition(": ")[2].strip(" .\n").split(", ")
    assert len(listed) == 5
    assert listed[0] == "lstm-peephole"
    # A short list of names is shown in full, in its order.
    assert str(unknown("mode", "x", ["b", "a"])) == 'unknown mode "x". Known: b, a.'
    many = [f"N{i}" for i in range(11)]
    assert str(unknown("mode", "n10", many)).startswith(
        'unknown mode "n10"; did you mean "N10"? The nearest of 11: N10, N1, '
    )
