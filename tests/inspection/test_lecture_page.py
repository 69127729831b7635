"""`throughtime inspect --cell` writes a page that works offline, with the numbers of PyTorch."""

import re
import sys
from pathlib import Path

import pytest
import torch

import throughtime as tt
from throughtime.cli.lecture import main
from throughtime.inspection.lecture.page import lecture_page

from ..chromium import CHROMIUM, launched
from .test_lecture_network import Reference, network_of

OWN = """
import torch, throughtime as tt

class Leaky(tt.Cell):
    gates, states = ("h",), ("h",)

    def __init__(self, rate=0.1):
        self.rate = rate

    def step(self, x, W, R, s, p):
        candidate = torch.tanh(W.h(x) + R.h(s.h))
        return dict(h=(1 - self.rate) * s.h + self.rate * candidate)
"""


class Wide(tt.Cell):
    """A cell for layers of at least 20 units."""

    gates, states = ("h",), ("h",)

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.h(x) + R.h(s.h) + s.h[:, [19]]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_cells.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_cells", raising=False)
    return tmp_path


def test_the_command_writes_a_page_and_prints_its_path(folder, capsys):
    assert main(["--cell", "lstm-peephole"]) == 0
    assert capsys.readouterr().out == "lstm-peephole.html\n"
    page = Path("lstm-peephole.html").read_text("utf-8")
    assert "Greff et al., LSTM: a search space odyssey (2017)" in page
    assert main(["--cell", "my_cells.py:Leaky", "rate=0.25", "--html", "leaky page.html"]) == 0
    assert capsys.readouterr().out == "leaky page.html\n"
    page = Path("leaky page.html").read_text("utf-8")
    assert "<h1>Leaky, rate = 0.25</h1>" in page
    assert "<mi>candidate</mi>" in page
    assert "candidate_t[k] * 0.25" in page
    assert sorted(path.name for path in folder.glob("*.html*")) == [
        "leaky page.html",
        "lstm-peephole.html",
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--cell", "lstn"], 'unknown cell "lstn"; did you mean "lstm"?'),
        (["--cell", "lstm", "rate=1"], 'unknown constant "rate"; the cell has none.'),
        (["--cell", "gru", "--html", "."], "--html: expected a file to write, got the folder ."),
        (["--cell", "gru", "--html", "no/gru.html"], "--html: no: no such folder. Make it first."),
        (["--cell", "branching.py"], "no page can be written: the step decides by a value"),
    ],
    ids=" ".join,
)
def test_what_the_command_cannot_do_it_says(folder, argv, message):
    Path("branching.py").write_text(OWN.replace("return", "assert s.h > 0\n        return"))
    with pytest.raises(ValueError, match=re.escape(message)):
        main(argv)
    assert not list(folder.glob("*.html*"))


def test_a_cell_whose_network_is_too_large_has_its_equations_and_graph():
    page = lecture_page(Wide(), [])
    assert page.count("<math display") == 3
    assert '<svg class="graph"' in page
    reason = "the page shows at most 8 units and features, but the index 19 is out of range for 3"
    assert f"No network is computed here: {reason} units." in page
    assert "network-data" not in page


class Titled(tt.Cell):
    """A cell with a constant that would end a script."""

    gates, states = ("h",), ("h",)

    def __init__(self, note="</script><b>&"):
        self.note = note

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.h(x) + R.h(s.h)))


def test_texts_of_the_user_are_no_markup():
    page = lecture_page(Titled(), ["source: <i>A & B</i>"])
    assert "<b>" not in page
    assert "<i>A" not in page
    assert "source: &lt;i&gt;A &amp; B&lt;/i&gt;" in page


def test_the_page_of_every_cell_needs_no_other_file():
    for name in tt.cells.names():
        cell = tt.cells.get(name)
        page = lecture_page(cell, [])
        assert 'id="network-data"' in page
        assert not re.search(r"\b(src|href)=|@import|url\((?!#)", page)
        # The name of the SVG language is no address that is read.
        assert set(re.findall(r"https?://[^\"\s]*", page)) == {"http://www.w3.org/2000/svg"}
        graph = page.partition('<svg class="graph"')[2].partition("</svg>")[0]
        outputs = {*cell.state_specs, cell.output_name}
        assert graph.count('<g class="after">') == len(outputs)
        assert "nan" not in graph


# In the browser.


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    # `make test` installs no browser; the tests without one compare the same numbers in Node.
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as running:
        browser = launched(running)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens the page of a cell without a network; errors fail the test."""
    errors, contexts = [], []

    def open_page(cell, width=1280, scheme="light"):
        file = tmp_path / f"{cell.title}.html"
        file.write_text(lecture_page(cell, []), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "request", lambda request: request.url.startswith("file:") or errors.append(request.url)
        )
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def numbers(page):
    """The numbers of the table in full: by part, name and step."""
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("#unfolded tbody")].map(
            (part) => [part.dataset.part, Object.fromEntries(
                [...part.querySelectorAll("tr[data-name]")].map((tr) => [tr.dataset.name,
                    [...tr.querySelectorAll("td")].map((td) =>
                        [...td.querySelectorAll(".chip")].map((chip) => Number(chip.title)))]))]))
        """
    )


def move(page, label, value):
    page.get_by_label(label, exact=True).evaluate(
        "(slider, value) => { slider.value = value;"
        " slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )


def close(ours, theirs):
    ours = torch.tensor(ours, dtype=torch.float64)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-9, atol=1e-9)


def check(page, network, loss):
    """Compares the numbers of the page with PyTorch."""
    shown, expected = numbers(page), Reference(network, loss)
    for t in range(network.data["steps"]):
        for name, value in expected.values[t].items():
            close(shown["forward"][f"{name}_t"][t], value[0])
        for name, d in expected.d[t].items():
            if f"d{name}_t" in shown["backward"]:
                close(shown["backward"][f"d{name}_t"][t], d[0])
        close(shown["backward"]["dx_t"][t], expected.dx[t, 0])
    for state, d in zip(network.data["states"], expected.dinitial, strict=True):
        close(shown["backward"][f"d{state['name']}'_{{t-1}}"][0], d[0])


def test_the_numbers_on_the_page_are_those_of_pytorch_and_follow_the_sliders(opened):
    cell = tt.cells.get("lstm-peephole")
    page, network = opened(cell), network_of(cell)
    goal = torch.tensor([0.5, -0.5, 0.5], dtype=torch.float64)
    check(page, network, lambda h: 0.5 * ((h[-1, 0] - goal) ** 2).sum())
    before = numbers(page)

    move(page, "x_t, number 2, step 3", "-1.35")
    network.data["x"]["values"][2][1] = -1.35
    move(page, "target, unit 1", "-0.8")
    goal[0] = -0.8
    check(page, network, lambda h: 0.5 * ((h[-1, 0] - goal) ** 2).sum())
    after = numbers(page)
    assert after["forward"]["i_t"][:2] == before["forward"]["i_t"][:2]
    assert after["forward"]["i_t"][2] != before["forward"]["i_t"][2]
    assert after["backward"]["dh_t"][0] != before["backward"]["dh_t"][0]

    page.select_option("#loss", "gradient")
    page.select_option("#at", "4")
    move(page, "gradient, unit 2", "1")
    above = torch.tensor([-0.8, 1.0, 0.5], dtype=torch.float64)
    check(page, network, lambda h: (h[3, 0] * above).sum())
    assert numbers(page)["backward"]["dc_t"][4] == [0, 0, 0]
    page.click("#reset")
    move(page, "gradient, unit 2", "1")
    network.data["x"]["values"][2][1] = network_of(cell).data["x"]["values"][2][1]
    above = torch.tensor([0.5, 1.0, 0.5], dtype=torch.float64)
    check(page, network, lambda h: (h[3, 0] * above).sum())


def test_the_steps_appear_one_by_one_forward_and_then_backward(opened):
    page = opened(tt.cells.get("lstm-mass-conserving"), width=400, scheme="dark")
    page.click("#first")
    assert not any(map(any, numbers(page)["forward"].values()))
    assert page.inner_text("#where") == "before the first step"
    for _ in range(6):
        page.focus("#later")
        page.keyboard.press("Enter")
    shown = numbers(page)
    assert page.inner_text("#where") == "backward, t = 5"
    assert all(all(steps) for steps in shown["forward"].values())
    assert [bool(d) for d in shown["backward"]["dc_t"]] == [False] * 4 + [True]
    move(page, "How many steps are computed", "2")
    assert page.inner_text("#where") == "forward, t = 2"
    # A page is as wide as the window, in which wide parts scroll.
    assert page.evaluate("document.documentElement.scrollWidth") == 400


def test_the_theme_is_that_of_the_browser_until_it_is_switched(opened):
    page = opened(Wide(), scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_label("Use light colours").click()
    light = page.evaluate(background)
    assert light != dark
    page.get_by_label("Use dark colours").click()
    assert page.evaluate(background) == dark


@pytest.mark.slow
@pytest.mark.parametrize("name", tt.cells.names())
def test_the_page_of_every_cell_opens_in_both_widths(opened, name):
    for width in (400, 1280):
        page = opened(tt.cells.get(name), width)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert all(all(steps) for steps in numbers(page)["forward"].values())
