"""Own recordings with transcripts, speakers and segments; at other rates, and malformed."""

import pytest

from throughtime.data.transcribed import Segment, load_transcribed, read_transcribed
from throughtime.data.transcribed.segments import read_segments

from ..sounds import as_file, tone


@pytest.fixture
def folder(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.wav").write_bytes(as_file(tone(0.1, seed=i)))
    (tmp_path / "0.seg").write_text("0 300 a\n\n300 800 b\n")
    return tmp_path


def test_speakers_and_segments_are_further_columns(folder):
    lines = ["0.wav\ta b\tann\t0.seg", "1.wav\tc", "2.wav\ta\t\t0.seg", "3.wav\tb\tbob"]
    (folder / "all.tsv").write_text("\n".join(lines))
    signals = read_transcribed(folder / "all.tsv", "audio", 8000)
    assert [one.text for one in signals] == ["a b", "c", "a", "b"]
    assert [one.speaker for one in signals] == ["ann", "", "", "bob"]
    parts = (Segment(0, 300, "a"), Segment(300, 800, "b"))
    assert [one.segments for one in signals] == [parts, (), parts, ()]
    # At half the rate the segments are at half the places.
    data = load_transcribed(str(folder / "all.tsv"), cut="order", valid_fraction=0.25, rate=4000)
    assert data.splits["train"][0].segments == (Segment(0, 150, "a"), Segment(150, 400, "b"))
    assert len(data.splits["train"][0].signal) == 400
    with pytest.raises(ValueError, match="expected recordings of the kind pen, got audio"):
        read_transcribed(folder / "all.tsv", "pen", None)


def test_segments_and_speakers_change_only_the_fingerprints_that_ask_for_them(folder):
    prints = []
    for extra in ("", "\tann", "\tann\t0.seg", "\tbob\t0.seg"):
        (folder / "train.tsv").write_text(f"0.wav\ta b{extra}\n1.wav\ta\n")
        (folder / "valid.tsv").write_text("2.wav\tb\n")
        data = load_transcribed(str(folder))
        prints.append(
            (data.fingerprint(), data.fingerprint(with_segments=True, with_speakers=True))
        )
    assert len({plain for plain, _ in prints}) == 1
    assert len({whole for _, whole in prints}) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 10 a\n5 20 b", "line 2: expected a segment that begins at 10 or later"),
        ("0 10", "line 1: expected two whole numbers and a symbol, got '0 10'"),
        ("0 -3 a", "line 1: expected two whole numbers"),
        ("4 4 a", "line 1: expected a segment that begins at 0 or later and ends after its"),
        ("0 900 a", "line 1: expected a segment that ends at 800, the length of the signal"),
    ],
)
def test_malformed_segments_are_refused(folder, content, message):
    (folder / "0.seg").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_segments(folder / "0.seg", 800)
    (folder / "all.tsv").write_text("0.wav\ta\tann\t0.seg\n")
    with pytest.raises(ValueError, match=f"all.tsv, line 1: .*0.seg, {message}"):
        read_transcribed(folder / "all.tsv", "audio", 8000)


def test_segments_in_other_units_are_told(folder, caplog):
    lines = [f"{i}.wav\ta b\t\t{i}.seg\n" for i in range(3)] + ["3.wav\tb\n"]
    (folder / "all.tsv").write_text("".join(lines))
    for i, ends in enumerate([(300, 800), (37, 100), (37, 100)]):
        (folder / f"{i}.seg").write_text(f"0 {ends[0]} a\n{ends[0]} {ends[1]} b\n")
    read_transcribed(folder / "all.tsv", "audio", 8000)
    assert "all.tsv: the segments of 2 of 3 recordings end before a quarter" in caplog.text
    caplog.clear()
    (folder / "1.seg").write_text("0 100 a\n100 200 b\n")
    read_transcribed(folder / "all.tsv", "audio", 8000)
    assert not caplog.text
    (folder / "1.seg").write_text("0.0125 0.1 a\n")
    with pytest.raises(ValueError, match=r"whole numbers and a symbol.*The numbers count samples"):
        read_transcribed(folder / "all.tsv", "audio", 8000)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0.wav\ta\tann\t0.seg\tmore", "line 1: expected the path of a recording, a tab and its"),
        ("0.wav\ta\tann\tgone.seg", "line 1: there is no file"),
    ],
)
def test_malformed_lines_are_refused(folder, line, message):
    (folder / "all.tsv").write_text(line)
    with pytest.raises(ValueError, match=message):
        read_transcribed(folder / "all.tsv", "audio", 8000)
