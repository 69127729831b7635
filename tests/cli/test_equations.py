"""The command `throughtime equations`, and the page that shows what it prints."""

import re
import sys
from pathlib import Path

import pytest

import throughtime as tt
from throughtime.cli.main import main
from throughtime.kernels.printing.equations import describe

ROOT = Path(__file__).parent.parent.parent

OWN = """
import torch, throughtime as tt

class Leaky(tt.Cell):
    gates, states = ("h",), ("h",)

    def __init__(self, rate=0.1):
        self.rate = rate

    def step(self, x, W, R, s, p):
        return dict(h=(1 - self.rate) * s.h + self.rate * torch.tanh(W.h(x) + R.h(s.h)))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_cells.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_cells", raising=False)


@pytest.mark.parametrize("where", ["my_cells.py", "my_cells.py:Leaky", "my_cells:Leaky"])
def test_the_command_prints_a_cell_of_the_users_own(own, capsys, where):
    assert main(["equations", where]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Leaky, rate = 0.1\nclass: my_cells.Leaky\n\nforward")
    assert "h_t = 0.9 * h_{t-1} + 0.1 * u_t" in out
    assert main(["equations", where, "rate=2.5e-1", "--latex"]) == 0
    assert r"\mathrm{d}h'_{t-1} &= R_{h}^{\top} \delta h_{t} + 0.75 \," in capsys.readouterr().out


def test_the_command_prints_the_names_of_local_variables(own, capsys):
    candidate = "candidate = torch.tanh(W.h(x) + R.h(s.h))\n        return"
    text = OWN.replace("return", candidate).replace(
        "* torch.tanh(W.h(x) + R.h(s.h))", "* candidate"
    )
    Path("my_cells.py").write_text(text)
    assert main(["equations", "my_cells.py"]) == 0
    out = capsys.readouterr().out
    assert "  candidate_t = tanh(W_h x_t + R_h h_{t-1} + b_h)\n" in out
    assert "  h_t = 0.9 * h_{t-1} + 0.1 * candidate_t\n" in out
    assert "  δh_t = 0.1 * dh_t * (1 - candidate_t^2)\n" in out


@pytest.mark.parametrize("name", ["lstm-peephole", "gru"])
def test_the_command_prints_what_describe_gives(capsys, name):
    cell = tt.cells.get(name)
    source = f"source: {cell.source} ({cell.year})"
    place = f"class: {type(cell).__module__}.{type(cell).__name__}"
    assert main(["equations", name]) == 0
    printed = describe(cell).text().replace(f"{name}\n", f"{name}\n{source}\n{place}\n", 1)
    assert capsys.readouterr().out == printed
    assert main(["equations", name, "--latex"]) == 0
    comments = f"% {name}\n% {source}\n% {place}\n"
    assert capsys.readouterr().out == comments + describe(cell).latex()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["lstn"], 'unknown cell "lstn"; did you mean "lstm"?'),
        (["lstm", "rate=1"], 'lstm: unknown constant "rate"; the cell has none.'),
        (
            ["my_cells.py", "rat=1"],
            'unknown constant "rat"; did you mean "rate"?; the cell has rate',
        ),
        (["my_cells.py", "rate"], "expected a constant of the cell as name=value, got rate."),
        (["my_cells.py:Leeky"], 'my_cells.py: no cell "Leeky"; did you mean "Leaky"? There are'),
        (["my_cell.py"], "my_cell.py: no such file."),
        (["nowhere:Leaky"], "nowhere: cannot be imported: No module named 'nowhere'"),
        (["branching.py"], "no equations can be written: the step decides by a value"),
        (["empty.py"], "expected one cell in the file, there is none"),
        (["broken.py"], "broken.py: cannot be run: ZeroDivisionError"),
    ],
    ids=" ".join,
)
def test_what_the_command_cannot_do_it_says(own, capsys, argv, message):
    Path("branching.py").write_text(OWN.replace("return", "assert s.h > 0\n        return"))
    Path("empty.py").write_text("")
    Path("broken.py").write_text("1 / 0")
    assert main(["equations", *argv]) == 1
    out = capsys.readouterr()
    assert message in out.err
    assert not out.out


# The page.


def test_the_page_shows_what_the_command_prints_now(capsys):
    page = (ROOT / "docs" / "equations.md").read_text()
    shown = re.findall(r"^\$ throughtime (equations .*)\n([^`]*)^```", page, re.MULTILINE)
    assert [argv.split()[1] for argv, _ in shown] == ["lstm-peephole"]
    for argv, expected in shown:
        assert main(argv.split()) == 0
        assert capsys.readouterr().out == expected
