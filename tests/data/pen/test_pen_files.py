"""Files of pens: the layout of IAM-OnDB, UNIPEN and CSV, and what is wrong with bad ones."""

import pytest

from throughtime.data.pen import read_iam, read_trajectory, read_unipen
from throughtime.data.pen.iam import SPLITS_OF_IAM

HEAD = (
    '<?xml version="1.0" encoding="ISO-8859-1"?>\n<WhiteboardCaptureSession>\n'
    '<WhiteboardDescription><SensorLocation corner="top_left"/></WhiteboardDescription>\n'
    "<StrokeSet>\n"
)
TAIL = "</StrokeSet>\n</WhiteboardCaptureSession>\n"
UNIPEN = """.VERSION 1.0
.HIERARCHY WORD CHARACTER
.COORD X Y
.POINTS_PER_SECOND 100
.SEGMENT WORD 0-2 OK "to \\"a\\""
.SEGMENT CHARACTER 0,1 OK "t"
.SEGMENT CHARACTER 2:1-2:3 ? "o"
.PEN_DOWN
0 0
0 10
.PEN_UP
.DT 200
.PEN_DOWN
-2 8
2 8
.PEN_UP 2 9
.PEN_DOWN
5 5
4 4
5 3
6 4
6 5
.PEN_UP
"""


def stroke(*points):
    rows = [f'<Point x="{x}" y="{y}" time="{t}"/>' for x, y, t in points]
    return f'<Stroke colour="black" start_time="0" end_time="1">{"".join(rows)}</Stroke>\n'


@pytest.fixture
def corpus(tmp_path):
    """Four forms of two lines each, one for each split, in the layout of IAM-OnDB."""
    forms = ["a01-000u", "a01-000w", "b04-120z", "p10-103"]
    for form, file in zip(forms, SPLITS_OF_IAM.values(), strict=True):
        (tmp_path / file).write_text(f"{form}\n")
        below = f"{form[:3]}/{form[:7]}"
        for name in ("lineStrokes", "ascii"):
            (tmp_path / name / below).mkdir(parents=True, exist_ok=True)
        text = f"OCR:\n\nnot this\n\nCSR: \n\nA line  of {form},\nand another.\n"
        (tmp_path / "ascii" / below / f"{form}.txt").write_text(text)
        for i in (1, 2):
            strokes = stroke((10, 20, 0.0), (13, 16, 0.1 * i)) + stroke((20, 20, 1.5))
            path = tmp_path / "lineStrokes" / below / f"{form}-{i:02}.xml"
            path.write_text(HEAD + strokes + TAIL)
    return tmp_path


def test_the_splits_of_the_corpus_have_their_lines(corpus):
    texts = {split: [line.text for line in read_iam(corpus, split)] for split in SPLITS_OF_IAM}
    assert texts == {
        "train": ["A line of a01-000u,", "and another."],
        "valid": ["A line of a01-000w,", "and another."],
        "test": ["A line of b04-120z,", "and another."],
        "valid2": ["A line of p10-103,", "and another."],
    }
    second = read_iam(corpus, "test")[1].trajectory
    # y grows downwards in the file.
    assert second.points.tolist() == [[0, 0, 0], [3, 4, 1], [7, -4, 1]]
    assert second.times.tolist() == [0.0, 0.2, 1.5]


def test_a_folder_of_its_own_for_each_archive_is_read(corpus):
    (corpus / "lineStrokes-all").mkdir()
    (corpus / "lineStrokes").rename(corpus / "lineStrokes-all" / "lineStrokes")
    (corpus / "task1").mkdir()
    (corpus / "trainset.txt").rename(corpus / "task1" / "trainset.txt")
    assert len(read_iam(corpus, "train")) == 2


FIRST = "lineStrokes/a01/a01-000/a01-000u-01.xml"
FORM = "ascii/a01/a01-000/a01-000u.txt"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (FIRST, "", "u-01.xml: expected the strokes of a line, got an empty file"),
        (
            FIRST,
            (HEAD + stroke((1, 2, 0), (3, 4, 1)))[:-20],
            "u-01.xml: expected complete XML, got",
        ),
        (FIRST, HEAD + TAIL, "u-01.xml: .* got no stroke"),
        (FIRST, HEAD + stroke() + TAIL, "u-01.xml, stroke 1: expected points, got none"),
        (FIRST, HEAD + stroke((1, 2, 0)) + TAIL, "u-01.xml: .* at least two points, got 1"),
        (
            FIRST,
            HEAD + stroke((1, 2, 0), ("nan", 2, 1)) + TAIL,
            "point 2 .* finite numbers, got nan",
        ),
        (
            FIRST,
            HEAD + stroke((1, 2, 0), ("x", 2, 1)) + TAIL,
            "stroke 1, point 2: expected numbers",
        ),
        (
            FIRST,
            HEAD + "<Stroke><Point x='1'/></Stroke>" + TAIL,
            "stroke 1, point 1: expected numb",
        ),
        (FORM, "OCR:\n\nA line\n", "expected a line CSR: before the transcript"),
        (FORM, "CSR:\n\n", "expected the lines of a form after CSR:, got none"),
        (FORM, "CSR:\n\none line\n", "u-02.xml: expected the number of one of the 1 lines"),
        ("trainset.txt", "\n", "trainset.txt: expected names of forms, got an empty file"),
        (
            "trainset.txt",
            "a01-000u\nform two\n",
            "line 2: expected the name of a form .* 'form two'",
        ),
    ],
)
def test_a_broken_file_of_the_corpus_is_named(corpus, file, content, message):
    (corpus / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_iam(corpus, "train")
    # The other splits can still be read.
    assert len(read_iam(corpus, "test")) == 2


def test_a_split_or_a_file_that_is_missing_is_named(corpus, tmp_path):
    with pytest.raises(ValueError, match=r'"vald".*"valid"'):
        read_iam(corpus, "vald")
    (corpus / "testset_f.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the file testset_f.txt of IAM-OnDB"):
        read_iam(corpus, "test")
    (corpus / "trainset.txt").write_text("a01-000u\na01-003\n")
    with pytest.raises(FileNotFoundError, match=r"trainset.txt, line 2: there is no transcript"):
        read_iam(corpus, "train")
    (corpus / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="expected a folder lineStrokes of IAM-OnDB"):
        read_iam(corpus / "empty", "train")


def test_a_line_without_strokes_and_times_that_go_back_are_told(corpus, caplog):
    (corpus / "lineStrokes/a01/a01-000/a01-000u-02.xml").unlink()
    (corpus / FIRST).write_text(HEAD + stroke((1, 2, 5), (3, 4, 4)) + TAIL)
    (line,) = read_iam(corpus, "train")
    assert line.trajectory.times is None
    assert "its times go back, so they are left out" in caplog.text
    assert "has 2 lines, and strokes of 1 of them are read" in caplog.text


def test_unipen_segments_have_the_strokes_of_their_components(tmp_path):
    path = tmp_path / "words.dat"
    path.write_text(UNIPEN)
    (word,) = read_unipen(path)
    assert word.text == 'to "a"'
    assert [len(stroke) for stroke in word.trajectory.strokes] == [2, 2, 5]
    # 100 points per second; 0.2 s of .DT and one point in the air pass between strokes.
    assert word.trajectory.times == pytest.approx(
        [0.01, 0.02, 0.23, 0.24, 0.26, 0.27, 0.28, 0.29, 0.3]
    )
    characters = read_unipen(path, "CHARACTER")
    assert [character.text for character in characters] == ["t", "o"]
    t, o = (character.trajectory for character in characters)
    assert t.points.tolist() == [[0, 0, 0], [0, 10, 1], [-2, -2, 0], [4, 0, 1]]
    assert o.points.tolist() == [[0, 0, 0], [1, -1, 0], [1, 1, 1]]


def test_unipen_columns_and_included_files_are_read(tmp_path):
    (tmp_path / "include" / "data").mkdir(parents=True)
    (tmp_path / "data" / "a").mkdir(parents=True)
    ink = ".COORD T X P Y\n.PEN_DOWN\n1000 1 9 2\n1500 3 9 5\n.PEN_UP\n"
    (tmp_path / "include" / "data" / "ink.dat").write_text(ink)
    path = tmp_path / "data" / "a" / "one.unipen"
    path.write_text(".COMMENT by hand\n.INCLUDE data/ink.dat\n")
    trajectory = read_trajectory(path)
    assert trajectory.points.tolist() == [[0, 0, 0], [2, 3, 1]]
    assert trajectory.times.tolist() == [1.0, 1.5]
    path.write_text(".PEN_DOWN\n1 2\n3 5\n")
    assert read_trajectory(path).times is None
    path.write_text(".COORD\tX Y\n.PEN_DOWN 1 2\n3 5\n.\n.PEN_UP\n")
    assert read_trajectory(path).points.tolist() == [[0, 0, 0], [2, 3, 1]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (UNIPEN, "", "got an empty file"),
        (UNIPEN, "hello\n.PEN_DOWN\n1 2\n3 4\n", "line 1: expected a keyword such as .PEN_DOWN"),
        (UNIPEN, ".COORD X Y\n", "expected strokes after .PEN_DOWN, got none"),
        ("-2 8\n", "-2 eight\n", "line 13: expected numbers, got '-2 eight"),
        ("-2 8\n", "-2\n", "line 13: expected 2 numbers for each point .X Y., got 3"),
        ("-2 8\n", "nan 8\n", "line 5: point 3 of the pen: expected finite numbers, got nan"),
        ("-2 8\n2 8\n", "", "line 13: expected the points of a stroke, got none"),
        ("X Y\n", "X T\n", "line 3: expected the columns X and Y"),
        ("ND 100", "ND 0", "line 4: expected more than 0 points per second"),
        ("DT 200", "DT", "line 12: expected 1 number, got ''"),
        (' OK "to', " OK to", "line 5: expected a type, components such as 0-5"),
        (
            "WORD 0-2 ",
            "WORD 0-3 ",
            "line 5: expected components from 0 to 2 in their order, got 0-3",
        ),
        (
            "WORD 0-2 ",
            "WORD 2-0 ",
            "line 5: expected components from 0 to 2 in their order, got 2-0",
        ),
        ("WORD 0-2 ", "WORD all ", "line 5: expected components such as 3, 0-5 or 0:12-3:40, got"),
        ("WORD 0-2 ", "WORD 0:2-2 ", "line 5: expected points from 0 to 1 of the stroke 0"),
        (".VERSION 1.0", ".INCLUDE words.dat", "words.dat: includes itself"),
    ],
)
def test_a_broken_unipen_file_is_named_with_its_line(tmp_path, old, new, message):
    path = tmp_path / "words.dat"
    assert old in UNIPEN
    path.write_text(UNIPEN.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        read_unipen(path)


def test_types_and_files_that_are_missing_are_named(tmp_path):
    path = tmp_path / "words.dat"
    path.write_text(UNIPEN)
    with pytest.raises(ValueError, match=r'"WORDS".*"WORD"'):
        read_unipen(path, "WORDS")
    path.write_text(".PEN_DOWN\n1 2\n3 4\n")
    with pytest.raises(ValueError, match=r"expected segments of the type WORD, got no .SEGMENT"):
        read_unipen(path, "WORD")
    path.write_text(".INCLUDE gone.dat\n")
    with pytest.raises(FileNotFoundError, match=r"line 1: there is no file 'gone.dat'"):
        read_unipen(path)


def test_csv_has_its_columns_in_any_order(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("time,pen_up,y,x\r\n0,0,5,1\r\n0.5,1,6,3\r\n")
    trajectory = read_trajectory(path)
    assert trajectory.points.tolist() == [[0, 0, 0], [2, 1, 1]]
    assert trajectory.times.tolist() == [0, 0.5]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv: expected the points of a pen, got an empty file"),
        ("a.csv", "x,y,pen_up\n", "a.csv: .* at least two points, got 0"),
        ("a.csv", "x,y,pen_up\n1,2,1\n", "a.csv: .* at least two points, got 1"),
        ("a.csv", "x,y\n1,2\n", "a.csv, line 1: expected the columns x, y, pen_up"),
        ("a.csv", "x,y,pen_up\n1,2,0\n1,2\n", "a.csv, line 3: expected 3 columns, got 2"),
        ("a.csv", "x,y,pen_up\n1,2,0\n1,b,1\n", "a.csv, line 3: expected numbers"),
        ("a.csv", "x,y,pen_up\n1,2,0\n1,nan,1\n", "a.csv: point 2 .* finite numbers"),
        (
            "a.csv",
            'x,y,pen_up\n"1,2,0\n' + "1,2,1\n" * 30_000,
            "a.csv, line .*: not CSV: field lar",
        ),
        ("a.csv", "x" * 200_000, "a.csv, line 1: not CSV: field larger"),
        ("a.txt", "1 2", "a.txt: expected a file of a pen, which ends with .csv, .xml"),
        ("a.dat", UNIPEN.replace("WORD 0-2", "CHARACTER 0-2"), "expected one segment, got 3"),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_trajectory(tmp_path / name)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone.csv: no such file"):
        read_trajectory(tmp_path / "gone.csv")
