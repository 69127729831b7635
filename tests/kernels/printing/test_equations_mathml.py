"""`throughtime equations --mathml` prints MathML that browsers draw without a library."""

import re
import xml.etree.ElementTree as ET

import pytest
import torch

import throughtime as tt
from throughtime.cli.main import main
from throughtime.kernels.printing.equations import describe

# https://www.w3.org/TR/mathml-core/: what is used here of it.
ELEMENTS = {
    *("math", "mtable", "mtr", "mtd", "mrow", "mi", "mn", "mo", "msub", "msup", "msubsup"),
    *("mover", "munder", "mfrac", "msqrt"),
}
CHILDREN = {"msub": 2, "msup": 2, "msubsup": 3, "mover": 2, "munder": 2, "mfrac": 2}
ATTRIBUTES = {"display", "displaystyle", "style", "mathvariant", "accent", "form", "rspace"}


def blocks_of(cell):
    """The <math> elements of a cell; they are XML too."""
    mathml = re.sub("<!--.*-->", "", describe(cell).mathml())
    return list(ET.fromstring(f"<page>{mathml}</page>"))


def letters(element):
    """What an element shows, without the signs that take no room."""
    return re.sub("[\u2061\u2062]", "", "".join(element.itertext())).replace("\n", "")


@pytest.mark.parametrize("name", tt.cells.names())
def test_the_elements_are_those_of_mathml_core(name):
    equations = describe(tt.cells.get(name))
    blocks = blocks_of(tt.cells.get(name))
    rows = [row for block in blocks for row in block.iter("mtr")]
    assert len(rows) == len(equations.forward) + len(equations.backward)
    for block in blocks:
        for element in block.iter():
            assert element.tag in ELEMENTS
            assert set(element.attrib) <= ATTRIBUTES
            assert len(element) == CHILDREN.get(element.tag, len(element))
            # A token holds letters, and everything else holds elements.
            is_token = element.tag in ("mi", "mn", "mo")
            assert (len(element) == 0) == is_token
            assert bool((element.text or "").strip()) == is_token


def test_the_peephole_lstm_reads_as_in_the_lecture():
    forward, backward, weights = blocks_of(tt.cells.get("lstm-peephole"))
    assert [letters(row) for row in forward.iter("mtr")] == [
        "zt=tanh(Wzxt+Rzht−1+bz)",
        "it=σ(Wixt+Riht−1+pi⊙ct−1+bi)",
        "ft=σ(Wfxt+Rfht−1+pf⊙ct−1+bf)",
        "ct=it⊙zt+ft⊙ct−1",
        "ot=σ(Woxt+Roht−1+po⊙ct+bo)",
        "ht=ot⊙tanh(ct)",
    ]
    assert [letters(row) for row in backward.iter("mtr")][3:] == [
        "δzt=dct⊙it⊙(1−zt2)",
        "δit=dct⊙zt⊙it⊙(1−it)",
        "δft=dct⊙ct−1⊙ft⊙(1−ft)",
        "dht−1′=Rz⊤δzt+Ri⊤δit+Rf⊤δft+Ro⊤δot",
        "dct−1′=dct⊙ft+pf⊙δft+pi⊙δit",
        "dxt=Wz⊤δzt+Wi⊤δit+Wf⊤δft+Wo⊤δot",
    ]
    assert letters(next(weights.iter("mtr"))) == "dWz=∑tδztxt⊤"


def test_names_are_those_of_the_step_with_accents_and_greek_letters():
    class Named(tt.Cell):
        gates, states = ("h",), ("h",)

        def step(self, x, W, R, s, p):
            lambda_ = torch.sigmoid(W.h(x) + R.h(s.h))
            h_tilde = torch.where(lambda_ > 0.5, 1e-7 / (1 + lambda_), torch.sqrt(lambda_) - 2)
            return dict(h=h_tilde * lambda_ + abs(s.h) ** 3)

    (forward, *_) = blocks_of(Named())
    rows = {letters(row).partition("=")[0]: row for row in forward.iter("mtr")}
    assert list(rows) == ["λt", "h~t", "ht"]
    assert "0.5" in letters(rows["h~t"])
    assert rows["h~t"].find(".//mover[@accent='true']/mi").text == "h"
    assert letters(rows["h~t"].find(".//mfrac")) == "1·10−71+λt"
    assert letters(rows["h~t"].find(".//msqrt")) == "λt"
    assert letters(rows["ht"]) == "ht=λt⊙h~t+|ht−1|3"


def test_the_command_prints_mathml(capsys):
    assert main(["equations", "gru", "--mathml"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("<!-- gru -->\n<!-- source: ")
    assert out.endswith(describe(tt.cells.get("gru")).mathml())
    assert main(["equations", "gru", "--mathml", "--latex"]) == 1
    assert "--latex and --mathml: choose one of the two." in capsys.readouterr().err


def test_a_remark_does_not_end_its_comment():
    page = describe(tt.cells.get("antisymmetric")).mathml()
    assert page.startswith("<!-- The blocks R are those that transform makes")
    assert page.count("-->") == 1
