"""Tunes in ABC: read as tokens, checked, played, and written again."""

from fractions import Fraction

import pytest
from tests.data.mirror import needs_files

from throughtime.data.music import ABCError, Tune, abc_text, load_tunes, score_of, tunes_of


def tune(body, metre="4/4", key="C", unit="1/8"):
    """The only tune of a text, which must be readable."""
    (one,) = tunes_of("x.abc", f"X:1\nT:A tune\nM:{metre}\nL:{unit}\nK:{key}\n{body}\n")
    assert isinstance(one, Tune), one
    return one


def tokens(body, **fields):
    return " ".join(tune(body, **fields).tokens[2:])


def problems(body, **fields):
    return score_of(tune(body, **fields).tokens).problems


def keys(body, **fields):
    return [note.key for note in score_of(tune(body, **fields).tokens).notes()]


def spans(body, **fields):
    """The start and the end of each note in eighths, without the gap after it."""
    notes = score_of(tune(body, **fields).tokens).notes(1.0)
    return [(note.start, note.start + (note.end - note.start) / 0.95) for note in notes]


# One bar line stands between two bars, wherever the lines of text end.
BETWEEN = "A | B |: c :: d :| e || f || g :| a |]"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("C2 D/ E3/2 F/4 G// z2|", "C 2 D 1/2 E 3/2 F 1/4 G 1/4 z 2 |"),
        ("^C __d =e' f,, |]", "^C __d =e' f,, |]"),
        ('"Am"A {cd}B !trill!c .d ~e (fg) +segno+a u"1"b', "A B c d e f g a b"),
        ("|: A :| B :|: c :: d ||", "|: A :| B :: c :: d ||"),
        ("|1 A :|2 B |]", "| [1 A :| [2 B |]"),
        ("[1 A :| [2 B ||", "[1 A :| [2 B ||"),
        ("|1,3 A :|2 B :|[4-6 c |]", "| [1,3 A :| [2 B :| [4,5,6 c |]"),
        ("(3ABc (3:2:2Bc A>B c<<d A-A", "(3 A B c (3:2:2 B c A > B c << d A - A"),
        ("[CEG]2 [M:3/4] A [K:G] B [L:1/4] c", "[ C E G ] 2 M:3/4 A K:Gmaj B c 2"),
        ("A % a remark\nw:no lyrics\nB\\\nc", "A B c"),
        ("A:|\nB:|", "A :| B :|"),
        ("A [|] B", "A B"),
        ("A |\n| B |\n|: c :|\n|: d :|\n| e |\n|| f ||\n| g :|\n|| a | |]", BETWEEN),
        ("A |\n[K:D] | B | [M:3/4] | [K:G] c", "A | K:Dmaj B | M:3/4 K:Gmaj c"),
        ("|: A |: :| B :: :| c", "|: A |: :| B :: :| c"),
    ],
)
def test_a_melody_becomes_tokens(body, expected):
    assert tokens(body) == expected


def test_durations_count_eighths_whatever_the_unit_is():
    assert tokens("A A2 A/", unit="1/4") == "A 2 A 4 A"
    assert tokens("A A2", unit="1/16") == "A 1/2 A"
    (one,) = tunes_of("x.abc", "X:1\nM:2/4\nK:G\nA2|")
    # Below a metre of 3/4 the unit is a sixteenth, if nothing else is said.
    assert one.tokens == ("M:2/4", "K:Gmaj", "A", "|")


def test_a_unit_that_is_set_within_a_line_holds_for_the_lines_after_it():
    assert tokens("A [L:1/4] B | c\nd e | [L:1/8] f\ng") == "A B 2 | c 2 d 2 e 2 | f g"
    (one,) = tunes_of("x.abc", "X:1\nM:2/4\nK:G\nA2 [L:1/8] B\nc|\nL:1/4\nd")
    assert one.tokens[2:] == ("A", "B", "c", "|", "d", "2")


@pytest.mark.parametrize(
    ("key", "token", "played"),
    [
        ("G", "K:Gmaj", 66),
        ("Em", "K:Emin", 66),
        ("A dorian", "K:Ador", 66),
        ("D Mix", "K:Dmix", 66),
        ("F", "K:Fmaj", 65),
        ("Gb", "K:Gbmaj", 65),
        ("C#", "K:C#maj", 66),
        ("Hp", "K:Dmaj", 66),
        ("none", "K:Cmaj", 65),
    ],
)
def test_keys_sharpen_and_flatten(key, token, played):
    one = tune("F", key=key)
    assert one.tokens[1] == token
    assert score_of(one.tokens).notes()[0].key == played


def test_accidentals_hold_to_the_end_of_the_bar():
    assert keys("^F F f =F F | F", key="C") == [66, 66, 77, 65, 65, 65]
    assert keys("C, C c c'") == [48, 60, 72, 84]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("A>B", [(0, 1.5), (1.5, 2)]),
        ("A<<B", [(0, 0.25), (0.25, 2)]),
        ("(3ABc d", [(0, 2 / 3), (2 / 3, 4 / 3), (4 / 3, 2), (2, 3)]),
        ("[CE]2 z A", [(0, 2), (0, 2), (3, 4)]),
        ("[C2E2] A", [(0, 2), (0, 2), (2, 3)]),
    ],
)
def test_durations_are_played(body, expected):
    assert [pytest.approx(span) for span in expected] == spans(body)


def test_ties_join_equal_notes_only():
    notes = score_of(tune("A2-A2 B-c").tokens).notes(1.0)
    assert [(n.start, round(n.end, 2), n.key) for n in notes] == [
        (0.0, 3.9, 69), (4.0, 5.0, 71), (5.0, 5.95, 72)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "played"),
    [
        ("A | B |", "AB"),
        ("A | B :|", "ABAB"),
        ("A |: B :| c", "ABBc"),
        ("|: A :: B :|", "AABB"),
        ("|: A |1 B :|2 c || d", "ABAcd"),
        ("A |1 B :|2 c :|", "ABAc"),
        ("|: A |1 B :|2 c :|3 d |] e", "ABAcAde"),
        ("|: A |1,2 B :|3 c | d || e", "ABABAcde"),
        ("|: A |1 B :|2-3 c :| d |: e :|", "ABAcAcdee"),
        ("|: A |1,3 B :|2 c :| d", "ABAcABd"),
        ("|: A | [1 B | c :| [2 d | e |: f :|", "ABcAdeff"),
    ],
)
def test_repeats_are_played(body, played):
    names = {69: "A", 71: "B", 72: "c", 74: "d", 76: "e", 77: "f"}
    assert "".join(names[key] for key in keys(body)) == played


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("|: G2 | A4 B4 | c6 :| d2 | e8 |]", {}),
        ("A3 B3 | c6 | d6 |", {"metre": "6/8"}),
        ("A2 B2 |1 c4 :|2 d4 |]", {"metre": "2/4"}),
        ("A B c d e f g", {"metre": "none"}),
    ],
)
def test_a_right_tune_has_no_problem(body, fields):
    assert problems(body, **fields) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("A4 B4 | c4 | d8 | e8 |", "bar 2: 4 eighths in a metre of 8"),
        ("A8 | c9 |", "bar 2: 9 eighths in a metre of 8"),
        ("|: A8 | B8 |", "the repeat that was opened is not closed"),
        ("|: A8 |: B8 :|", "a repeat is opened in a repeat"),
        ("|: A8 |1 B8 :|3 c8 |", "the ending 3 follows no ending 2"),
        ("A8 |2 B8 |", "the ending 2 follows no ending 1"),
        ("A8 | (3AB | c8 |", "a tuplet is not complete"),
        ("A4 B4> | c8 |", "a broken rhythm has no second note"),
        ("[AB | c8 |", "a chord is not closed"),
        ("^A8 | _B8 | A8 |", "2 of 3 notes are foreign to the key"),
        ("z8 | z8 |", "there is no note"),
    ],
)
def test_a_wrong_tune_has_its_problem(body, problem):
    assert any(problem in found for found in problems(body)), problems(body)


@pytest.mark.parametrize(
    ("drawn", "problem"),
    [
        ("K:Cmaj M:4/4 A 8 |", "a tune begins with a metre and a key"),
        ("M:4/4 K:Cmaj 2 A 8 |", "the duration 2 stands after no note"),
        ("M:4/4 K:Cmaj A 2 3 |", "the duration 3 stands after no note"),
        ("M:4/4 K:Cmaj ] A 8 |", "']' has no place here"),
        ("M:4/4 K:G#maj A 8 |", "no key of at most seven sharps"),
        ("M:4/4 K:Cmaj c'''''' 8 |", "no key of a MIDI instrument"),
        ("M:4/4 K:Cmaj - A 8 |", "'-' has no place here"),
    ],
)
def test_drawn_tokens_without_sense_are_problems_and_no_errors(drawn, problem):
    score = score_of(drawn.split())
    assert any(problem in found for found in score.problems), score.problems
    score.notes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("X:1\nK:C\nA é B", "x.abc, line 3, column 3: expected notes or bars"),
        ("X:1\nK:H\nA", "x.abc, line 2: expected a key such as G"),
        ("X:1\nM:wild\nK:C\nA", "x.abc, line 2: expected a metre such as 6/8, got 'wild'"),
        ("X:1\nL:1/9\nK:C\nA", "x.abc, line 2: expected a unit length"),
        ("X:1\nM:4/4\nA B c", "x.abc, line 3: expected a field K before the melody"),
        ("X:1\nK:C\nV:1\nA", "x.abc, line 3: expected one voice"),
        ("X:1\nK:C\nA1000", "x.abc, line 3: expected a duration of 1/64 to 64"),
        ("X:1\nT:nothing", "x.abc, line 1: expected a key and a melody"),
    ],
)
def test_a_tune_that_cannot_be_read_says_where_and_the_others_are_read(text, message):
    error, good = tunes_of("x.abc", f"{text}\n\nX:2\nK:C\nA B c\n")
    assert isinstance(error, ABCError)
    assert str(error).startswith(message)
    assert isinstance(good, Tune)


def test_tunes_of_the_data_are_written_and_read_again():
    needs_files("nottingham-abc")
    tunes = load_tunes("nottingham-abc")
    assert len(tunes.skipped) == 1
    assert sum(map(len, tunes.splits.values())) == 1033
    for one in tunes.splits["train"][::4] + tunes.splits["test"]:
        (again,) = tunes_of("again", abc_text(one.tokens, 1, one.title))
        assert isinstance(again, Tune), (one.place, again)
        assert again.tokens == one.tokens, one.place
    valid = [not score_of(t.tokens).problems for t in tunes.splits["test"]]
    assert sum(valid) / len(valid) > 0.9


def test_a_bar_counts_in_fractions():
    (bar,) = score_of(tune("(3ABc (3ABc (3ABc (3ABc").tokens).bars
    assert bar.duration == Fraction(8)


def test_own_files_come_in_splits_or_are_cut(tmp_path, caplog):
    text = "".join(f"X:{n}\nM:4/4\nK:C\nC{n} D4 |\n\n" for n in range(1, 11))
    (tmp_path / "a.abc").write_bytes(text.replace("\n", "\r\n").encode())
    tunes = load_tunes(str(tmp_path / "a.abc"), test_fraction=0.2)
    assert {k: len(v) for k, v in tunes.splits.items()} == {"train": 7, "valid": 1, "test": 2}
    assert tunes.cut == "random"
    (tmp_path / "b.abc").write_text("X:1\nK:C\nA @ B\n")
    tunes = load_tunes(str(tmp_path))
    assert len(tunes.skipped) == 1
    assert "1 tune cannot be read. The first: " in caplog.text
    with pytest.raises(
        ValueError, match=r"none that can be read in all\. The first reason: .*b\.abc"
    ):
        load_tunes(str(tmp_path / "b.abc"))
    (tmp_path / "b.abc").write_bytes("X:1\nT:Café\nK:C\nA B\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"b\.abc: expected text in utf-8, got byte 0xe9 .*line 2"):
        load_tunes(str(tmp_path / "b.abc"))
    for split in ("train", "valid"):
        (tmp_path / f"{split}.abc").write_text(text)
    assert load_tunes(str(tmp_path), encoding="latin-1").cut is None
    with pytest.raises(FileNotFoundError, match='did you mean "oneill"'):
        load_tunes("oneil")


@pytest.mark.parametrize(
    ("metre", "melody"),
    [
        ("6/8", "G | GAB c2d | e>fg d3 | z2G [GB]AG |"),
        ("4/4", "GABc d2e2 | (3GABc2 d>ef2 | G4- GABc |"),
        ("2/2", "g | dGBG AGEG | G2B2 c4 ||"),
        ("3/4", "GA Bc d2 | e3f g2 | A6 |"),
        ("2/4", "G1/2A1/2B1/2c1/2 d2 | (3GAB c2 |"),
        ("3/8", "GAB | [1c2d :| [2c3 |]"),
        ("none", "GABcdefg | GABc |"),
    ],
)
def test_tunes_are_written_with_a_beam_for_each_beat(metre, melody):
    (tune,) = tunes_of("here", f"X:1\nM:{metre}\nL:1/8\nK:G\n{melody.replace(' ', '')}")
    text = abc_text(tune.tokens)
    assert text.splitlines()[-1] == melody
    assert next(tunes_of("again", text)).tokens == tune.tokens


# The two endings of a repeat share a line.
LINES = "|: A2 | B2 ::\nc2 ||\nd2 | [1e2 :| [2f2 |]\ng2"


@pytest.mark.parametrize(
    ("body", "melody"),
    [
        ("G | A2 | B2 | c2 | d2 | e2 | f |]", "G | A2 | B2 | c2 | d2 |\ne2 | f |]"),
        ("|: A2 | B2 :: c2 || d2 |1 e2 :|2 f2 |] g2", LINES),
    ],
)
def test_a_line_of_text_has_four_bars_and_ends_with_a_part(body, melody):
    text = abc_text(tune(body, metre="1/4").tokens)
    assert text.split("\n", 5)[5] == melody
