"""The page as one file: its answers are those of the server, and it asks nobody."""

import json
import re

import pytest

from throughtime.inspection.page import export
from throughtime.inspection.page.export import write_page
from throughtime.inspection.page.session import Session


def answers_in(path):
    page = path.read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="answers">(.*?)</script>', page, re.S)
    return page, json.loads(data[1])


def of(answers, name):
    return [entry for entry in answers if entry["name"] == name]


def test_a_file_holds_the_answers_of_the_server(folders, tmp_path):
    path, lines = tmp_path / "page.html", []
    text = 'the "cat" sat'
    write_page([folders["language"]], path, text, say=lines.append)
    page, answers = answers_in(path)
    # A session that has read other texts may have cut this one elsewhere, and round otherwise.
    session = Session([folders["language"]])
    (about,) = of(answers, "runs")
    assert about["answer"] == session.answer("runs", {})
    names = [v["name"] for p in about["answer"]["runs"][0]["parts"] for v in p["values"]]
    (read,) = of(answers, "read")
    assert read["request"] == {"run": 0, "text": text}
    expected = session.answer("read", {"run": 0, "text": text, "values": names})
    assert read["answer"] == expected
    assert len(expected["values"]) == 12
    assert lines == []
    assert not of(answers, "fires")
    # Everything is in it.
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert not re.search(r"(from|import)\s*\(?\s*[\"']\.", page)
    imports = json.loads(re.search(r'<script type="importmap">(.*?)</script>', page)[1])["imports"]
    assert {"lens/main.js", "lens/page_theme.js"} <= set(imports)
    assert page.count("<style>") == 3
    assert "default-src 'none'" in page


def test_text_of_the_user_is_data(folders, tmp_path):
    path = tmp_path / "page.html"
    text = "a </script><script>alert(1)</script> <!-- <script"
    write_page([folders["texts"]], path, text)
    page, answers = answers_in(path)
    assert page.count("<script") == 3
    assert "alert(1)</script" not in page
    (read,) = of(answers, "read")
    assert read["request"]["text"] == text


@pytest.mark.parametrize("kind", ["language", "tagging", "texts", "series", "pairs"])
def test_without_an_input_the_first_example_is_read(folders, sessions, tmp_path, kind):
    path = tmp_path / "page.html"
    write_page([folders[kind]], path)
    _, answers = answers_in(path)
    (read,) = of(answers, "read")
    examples = sessions[kind].runs[0].examples
    first = " ".join(examples[0]) if kind == "tagging" else examples[0]
    expected = {"example": 0} if kind == "series" else {"text": first}
    assert read["request"] == {"run": 0, **expected}
    beams = of(answers, "beam")
    assert len(beams) == (kind == "pairs")
    for beam in beams:
        assert beam["answer"] == sessions[kind].answer("beam", beam["request"])


def test_another_example(folders, sessions, tmp_path):
    path = tmp_path / "page.html"
    write_page([folders["series"]], path, 1)
    _, answers = answers_in(path)
    assert of(answers, "read")[0]["request"] == {"run": 0, "example": 1}
    for number in (2, -1):
        with pytest.raises(ValueError, match=f"expected a number below 2, got {number}"):
            write_page([folders["series"]], path, number)


def test_two_runs_are_compared(folders, tmp_path):
    path = tmp_path / "page.html"
    write_page([folders["language"], folders["gru"]], path, "the cat")
    _, answers = answers_in(path)
    assert [entry["request"]["run"] for entry in of(answers, "read")] == [0, 1]
    pairs = [entry["request"]["runs"] for entry in of(answers, "compare")]
    assert pairs == [[0, 1], [1, 0]]
    session = Session([folders["language"], folders["gru"]])
    for entry in of(answers, "compare"):
        assert entry["answer"] == session.answer("compare", entry["request"])


def test_a_large_page_leaves_gates_out_and_says_so(folders, tmp_path, monkeypatch):
    path, lines = tmp_path / "page.html", []
    write_page([folders["language"]], path, "the cat " * 30)
    size = path.stat().st_size
    monkeypatch.setattr(export, "MOST_BYTES", size - 50_000)
    write_page([folders["language"]], path, "the cat " * 30, say=lines.append)
    assert path.stat().st_size <= size - 50_000
    _, answers = answers_in(path)
    run = of(answers, "runs")[0]["answer"]["runs"][0]
    names = [v["name"] for part in run["parts"] for v in part["values"]]
    states = [f"recurrent.{state}_l{layer}" for layer in range(2) for state in "hc"]
    assert set(states) <= set(names)
    assert len(names) < 12
    assert [v["name"] for v in of(answers, "read")[0]["answer"]["values"]] == names
    (line,) = lines
    assert "has no values of recurrent." in line
    assert any("has no values of recurrent." in note for note in run["notes"])
    before = path.read_bytes()
    monkeypatch.setattr(export, "MOST_BYTES", 50_000)
    with pytest.raises(ValueError, match="shorter input"):
        write_page([folders["language"]], path, "the cat " * 30)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "got an empty text"), ("%", "the vocabulary"), ("a" * 10**6, "at most")],
)
def test_an_input_that_cannot_be_read(folders, tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        write_page([folders["language"]], tmp_path / "page.html", text)
    assert not list(tmp_path.iterdir())
