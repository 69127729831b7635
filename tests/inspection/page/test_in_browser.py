"""The page in a real browser: its numbers are the tensors, and the keyboard reaches everything."""

import re
import socket
import threading
from pathlib import Path

import pytest

from throughtime.inspection.page.export import write_page
from throughtime.inspection.page.server import application
from throughtime.inspection.page.session import Session
from throughtime.inspection.recording import record

from ...chromium import CHROMIUM, launched

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)

AXE = Path(__file__).parents[3] / "node_modules/axe-core/axe.min.js"
RUNS = ("language", "gru", "pairs", "tagging", "series")

# `make test` installs no browser.
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def session(folders):
    session = Session([folders[name] for name in RUNS])
    yield session
    session.close()


@pytest.fixture(scope="module")
def address(session):
    """The address of a server that answers for the session."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    app = application(session, "token", port)
    config = uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield f"http://127.0.0.1:{port}/token/"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        # No other host has an address.
        hosts = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        browser = launched(play, hosts)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, address):
    """Opens the page; afterwards no error and no request to another host may have happened."""
    complaints, contexts = [], []

    def watch(request):
        if not request.url.startswith((address, "data:")):
            complaints.append(f"request to {request.url}")

    def open(width=1280, theme="light", refusals=False):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", watch)
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))

        def hear(message):
            # The browser itself reports each answer with the status 400.
            if not (refusals and "400 (Bad Request)" in message.text):
                complaints.append(message.text)

        page.on("console", hear)
        if not refusals:
            page.on("response", lambda r: r.status >= 400 and complaints.append(r.text()))
        page.goto(address)
        expect(page.locator("#readout-number")).not_to_have_text("–")
        return page

    yield open
    for context in contexts:
        context.close()
    assert complaints == []


def number(text):
    """A number as the page writes it."""
    return float(text.replace("−", "-"))


def recording_of(session, input, run=0):
    opened = session.runs[run]
    # The server may run the model for the page at this moment.
    with opened.lock:
        return record(opened.task, opened.model, input)


def write_text(page, text):
    """Types into the emptied text box, and waits until the model has read all of it."""
    page.fill("#text", "")
    page.locator("#text").press_sequentially(text)
    wait_for_text(page, text)


def wait_for_text(page, text):
    expect(page.locator("#text-colours")).to_have_text(text)
    # The colours may be those of an earlier answer as long as a later one is on its way.
    expect(page.locator("#chart")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#readout-number")).not_to_have_text("–")


def go_to(page, step, unit):
    """Picks a step and a unit with the keyboard and the field of the unit."""
    page.fill("#unit", str(unit))
    page.focus("#chart")
    page.keyboard.press("Home")
    for _ in range(step):
        page.keyboard.press("ArrowRight")


def shown_number(page):
    return number(page.locator("#readout-number").text_content())


def cell_size(page):
    """The width and the height of a cell of the heat map, which begins at (44, 24)."""
    return [float(page.locator(i).input_value()) for i in ("#column-width", "#row-height")]


def pixels(page, cells):
    """Red, green and blue of cells (step, unit) of the heat map."""
    width, height = cell_size(page)
    points = [[int(44 + (s + 0.5) * width), int(24 + (u + 0.5) * height)] for s, u in cells]
    read = """(canvas, points) => {
      const { width, height } = canvas;
      const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
      return points.map(([x, y]) => [...data.slice(4 * (y * width + x), 4 * (y * width + x) + 3)]);
    }"""
    return page.locator("#chart-canvas").evaluate(read, points)


def test_typing_shows_the_tensors(opened, session):
    page, text = opened(), "the cat ran"
    write_text(page, text)
    recording = recording_of(session, text)
    names = [o.get_attribute("value") for o in page.locator("#value option").all()]
    assert set(names) == set(recording.values)
    for name in names:
        page.select_option("#value", name)
        expect(page.locator("#readout-value")).to_have_text(
            page.locator(f'#value option[value="{name}"]').text_content()
        )
        for step, unit in ((3, 7), (1, 2)):
            go_to(page, step, unit)
            assert shown_number(page) == pytest.approx(
                float(recording.values[name][step, unit]), abs=6e-5
            )
    values = recording.values[name]
    # Away from the picked row and column, whose frames cover their edges.
    cells = ((6, 0), (7, 1), (9, 6), (5, 5))
    for (step, unit), (red, _, blue) in zip(cells, pixels(page, cells), strict=True):
        assert (red > blue) == (float(values[step, unit]) > 0)
    page.keyboard.press("End")
    table = page.locator("#distribution tbody tr:visible")
    probabilities, indices = recording.probabilities[10].topk(8)
    for row, probability, index in zip(table.all(), probabilities, indices, strict=True):
        token, _, shown = (cell.text_content() for cell in row.locator("th, td").all())
        assert {"␣": " ", "↵": "\n"}.get(token, token) == recording.outputs[index]
        assert number(shown) == pytest.approx(float(probability), abs=6e-5)


def test_each_edit_of_the_text_shows_the_tensors(opened, session):
    page = opened()
    page.select_option("#value", "recurrent.h_l1")
    write_text(page, "the dog sat on a mat")
    # Without a pause: later answers overtake earlier questions.
    page.keyboard.press("Control+Home")
    page.keyboard.type("on ")
    page.keyboard.press("Delete")
    page.keyboard.press("Control+End")
    page.keyboard.press("Backspace")
    page.keyboard.type("n")
    text = "on he dog sat on a man"
    wait_for_text(page, text)
    assert page.locator("#text").input_value() == text
    values = recording_of(session, text).values["recurrent.h_l1"]
    for step in (len(text) - 1, 3, 0):
        go_to(page, step, 5)
        assert shown_number(page) == pytest.approx(float(values[step, 5]), abs=6e-5)


def test_a_click_picks_and_the_screen_reader_hears_it(opened, session):
    page, text = opened(), "the cat sat"
    write_text(page, text)
    width, height = cell_size(page)
    position = {"x": 44 + 4.5 * width, "y": 24 + 3.5 * height}
    page.locator("#chart-canvas").click(position=position)
    expect(page.locator("#readout-step")).to_have_text("4 of 11  c")
    expect(page.locator("#readout-unit")).to_have_text("3")
    shown = page.locator("#readout-number").text_content()
    expect(page.locator("#live")).to_have_text(f"h, layer 2, unit 3, step 4, c: {shown}")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#readout-unit")).to_have_text("4")
    expect(page.locator("#pins .pin")).to_have_text("h, layer 2, unit 3×")
    page.click("#pins button >> text=unit 3")
    expect(page.locator("#readout-unit")).to_have_text("3")
    page.click("#pins button >> text=×")
    expect(page.locator("#pins .pin")).to_have_count(0)


def test_questions_show_the_answers(opened, session):
    page, text = opened(), "the cat sat"
    write_text(page, text)
    name = "recurrent.h_l1"
    go_to(page, 4, 3)
    ask(page, "fires")
    answer = session.answer("fires", {"run": 0, "name": name, "unit": 3, "most": 10})
    place = answer["places"][0]
    shown = page.locator("#fires .place-number").first.text_content()
    assert number(shown) == pytest.approx(place["values"][place["at"]], abs=6e-4)
    assert page.locator("#fires mark").first.text_content() in {place["tokens"][place["at"]], "↵"}

    page.focus("#chart")
    for _ in range(2):
        page.keyboard.press("Shift+ArrowRight")
    page.click("#tab-match")
    page.fill("#match [name=threshold]", "0")
    ask(page, "match")
    values = recording_of(session, text).values[name]
    units = (values[4:7] > 0).all(0).nonzero().flatten().tolist()
    chips = page.locator("#match .chips button").all_text_contents()
    assert sorted(map(int, chips)) == units

    page.click("#tab-follow")
    page.select_option("#follow [name=property]", label="a regular expression")
    page.fill("#follow [name=pattern]", "[aeiou]")
    ask(page, "follow")
    best = session.answer("follow", {"run": 0, "pattern": "[aeiou]"})["units"][0]
    row = page.locator("#follow tbody tr").first
    assert number(row.locator("td").first.text_content()) == pytest.approx(
        best["correlation"], abs=6e-4
    )
    row.locator("button").click()
    expect(page.locator("#readout-unit")).to_have_text(str(best["unit"]))

    ask(page, "project")
    page.focus("#project canvas")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#project .map [role=status]")).to_have_text(re.compile("^Token 0: "))


def ask(page, panel):
    page.click(f"#tab-{panel}")
    page.click(f"#{panel} button.primary")
    expect(page.locator(f"#{panel} [data-answer] > *").first).to_be_visible()


def test_the_model_writes_on_with_and_without_a_held_unit(opened, session):
    page, text = opened(), "the cat sat"
    write_text(page, text)
    go_to(page, 6, 2)
    page.click("#tab-write")
    page.click("#hold")
    page.fill("#write [name=length]", "30")
    for control, value in (("[name=temperature]", "0"), (".hold input", "1")):
        page.locator(f"#write {control}").fill(value)
    ask(page, "write")
    request = {"run": 0, "text": text, "at": 7, "length": 30, "temperature": 0.0}
    held = [{"name": "recurrent.h_l1", "unit": 2, "value": 1.0}]
    columns = page.locator("#write .written .passage")
    expect(columns).to_have_count(2)
    for column, units in zip(columns.all(), ([], held), strict=True):
        answer = session.answer("write", {**request, "set": units})
        assert column.text_content() == text[:7] + "".join(answer["tokens"])
    page.locator("#write button >> text=Take into the text").first.click()
    expect(page.locator("#text")).to_have_value(columns.first.text_content())


def test_runs_are_compared_line_by_line(opened, session):
    page, text = opened(), "the cat\nsat on"
    write_text(page, text)
    ask(page, "compare")
    answer = session.answer("compare", {"runs": [0, 1], "text": text})
    rows = page.locator("#compare table").nth(1).locator("tbody tr").all()
    for row, line in zip(rows, answer["lines"], strict=True):
        a, b, difference = (number(t) for t in row.locator("td").all_text_contents()[1:])
        assert [a, b] == pytest.approx(line["nats"], abs=6e-3)
        assert difference == pytest.approx(line["nats"][0] - line["nats"][1], abs=6e-3)
    shares = page.locator("#compare table").first.locator("tbody tr td:last-child")
    for share, nats in zip(shares.all_text_contents(), answer["nats"], strict=True):
        assert number(share) == pytest.approx(sum(nats) / len(text), abs=6e-4)


def test_every_kind_of_run_shows_its_tensors(opened, session):
    page = opened()
    for run, text in ((2, "the a cat"), (3, "a cat b")):
        page.select_option("#run", str(run))
        expect(page.locator("#value")).to_have_value(
            re.compile("attention.weights$" if run == 2 else "h_l0$")
        )
        page.fill("#text", text)
        name = page.locator("#value").input_value()
        values = recording_of(session, text, run).values[name]
        wait_for_text(page, text)
        assert shown_number(page) == pytest.approx(float(values[-1, 0]), abs=6e-5)
    expect(page.locator("#distribution th[scope=row]").first).to_be_visible()
    page.select_option("#run", "2")
    expect(page.locator("#text")).to_have_value("the a cat")
    ask(page, "beam")
    leaves = page.locator("#beam tbody tr").count()
    assert leaves >= 1
    assert page.locator("#beam svg text").count() >= leaves
    page.select_option("#run", "4")
    recording = recording_of(session, session.runs[4].example(0), 4)
    expect(page.locator("#text-box")).to_be_hidden()
    name = page.locator("#value").input_value()
    steps = len(recording.values[name])
    expect(page.locator("#readout-step")).to_have_text(f"{steps - 1} of {steps}")
    assert shown_number(page) == pytest.approx(float(recording.values[name][-1, 0]), abs=6e-5)
    expect(page.locator("#pins .pin").first).to_have_text("x1")


def test_an_error_is_a_sentence_and_the_text_stays(opened, session):
    page = opened(refusals=True)
    write_text(page, "the cat")
    page.locator("#text").press_sequentially(" €")
    expect(page.locator("#alert")).to_be_visible()
    expect(page.locator("#alert")).to_contain_text("€")
    assert page.locator("#text").input_value() == "the cat €"
    page.keyboard.press("Backspace")
    expect(page.locator("#alert")).to_be_hidden()
    wait_for_text(page, "the cat")
    page.fill("#text", "a" * 20_000)
    expect(page.locator("#alert")).to_contain_text("characters")
    assert len(page.locator("#text").input_value()) == 20_000
    page.fill("#text", "<b>cat")
    expect(page.locator("#alert")).to_contain_text("<")
    assert page.locator("#text-box b").count() == 0
    page.click("#tab-follow")
    page.select_option("#follow [name=property]", label="a regular expression")
    page.fill("#follow [name=pattern]", "(")
    page.click("#follow button.primary")
    expect(page.locator("#follow [role=alert]")).to_contain_text("(")


@pytest.mark.parametrize(
    ("width", "theme"),
    [
        (1280, "light"),
        (400, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.slow),
        pytest.param(400, "light", marks=pytest.mark.slow),
    ],
)
def test_the_page_fits_and_has_a_theme(opened, tmp_path, width, theme):
    page = opened(width, theme)
    ask(page, "fires")
    page.screenshot(path=tmp_path / f"lens-{theme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    is_dark = [int(c) < 128 for c in re.findall(r"\d+", before)] == [True] * 3
    assert is_dark == (theme == "dark")
    canvas = "document.getElementById('chart-canvas').toDataURL()"
    drawn = page.evaluate(canvas)
    page.click("[data-theme-switch]")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert page.evaluate(canvas) != drawn


def test_the_keyboard_reaches_every_control(opened):
    page = opened()
    go_to(page, 3, 1)
    page.click("#tab-write")
    controls = page.evaluate("""() => {
      const all = [...document.querySelectorAll("button, input, select, textarea, [tabindex='0']")]
        .filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex === 0);
      all.forEach((e, n) => { e.dataset.number = n });
      return all.length;
    }""")
    assert controls >= 18
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(controls + 2):
        page.keyboard.press("Tab")
        number, outline = page.evaluate("""() => {
          const e = document.activeElement;
          return [e.dataset.number ?? "", getComputedStyle(e).outlineStyle];
        }""")
        if number:
            reached.add(int(number))
            assert outline != "none"
    assert reached == set(range(controls))
    page.focus("#tab-write")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-compare"
    expect(page.locator("#compare")).to_be_visible()


def test_the_written_page_works_without_a_server(browser, folders, session, tmp_path):
    path, text = tmp_path / "page.html", "the cat sat"
    write_page([folders["language"], folders["gru"]], path, text, say=print)
    context = browser.new_context(offline=True)
    page, complaints = context.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(path.as_uri())
    wait_for_text(page, text)
    page.select_option("#value", "recurrent.i_l1")
    go_to(page, 6, 3)
    value = float(recording_of(session, text).values["recurrent.i_l1"][6, 3])
    assert shown_number(page) == pytest.approx(value, abs=6e-5)
    ask(page, "compare")
    expect(page.locator("#compare")).to_contain_text("nats")
    page.click("#tab-follow")
    expect(page.locator("#follow button.primary")).to_be_disabled()
    command = f"throughtime inspect {folders['language']} --serve"
    expect(page.locator("#follow .hindrance")).to_contain_text(command)
    assert not page.locator("#text").is_editable()
    context.close()
    assert complaints == []


@pytest.mark.slow
def test_a_text_of_a_megabyte_is_refused_and_kept(opened):
    page, text = opened(refusals=True), "a" * 1_000_000
    page.fill("#text", text)
    expect(page.locator("#alert")).to_contain_text("characters")
    assert page.locator("#text").input_value() == text
    write_text(page, "the cat")
    expect(page.locator("#alert")).to_be_hidden()


@pytest.mark.slow
# axe-core is no dependency of this package; npm brings it.
@pytest.mark.skipif(
    not AXE.exists(), reason="axe-core is not installed: npm install --no-save axe-core"
)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, theme):
    page = opened(theme=theme)
    go_to(page, 4, 3)
    page.keyboard.press("Shift+ArrowRight")
    panels = {0: ("fires", "match", "follow", "write", "compare", "project"), 2: ("beam",)}
    page.evaluate(AXE.read_text())
    for run, questions in panels.items():
        if run:
            page.select_option("#run", str(run))
            expect(page.locator("#readout-number")).not_to_have_text("–")
        for question in questions:
            ask(page, question)
            found = page.evaluate("axe.run().then((results) => results.violations)")
            serious = [
                (violation["id"], [node["html"][:200] for node in violation["nodes"]])
                for violation in found
                if violation["impact"] in ("serious", "critical")
            ]
            assert serious == [], question
