"""Files that a person may edit: every fault has a name and a place, and none is a traceback."""

import json

import pytest

from throughtime.reading import (
    ReadError,
    json_of,
    json_value,
    rows_of,
    text_of,
    yaml_of,
    yaml_value,
)

# If each name were compared with all others, these would take minutes.
MANY_NAMES = "{" + ",".join(f'"{n}": 1' for n in [*range(200_000), 199_999]) + "}"
MANY_COLUMNS = ",".join(map(str, [*range(200_000), 199_999])) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.json: not JSON: Expecting value"),
        ("{", "f.json: not JSON: "),
        ("[" * 100_000, "f.json: expected brackets in brackets at most 64 deep"),
        ('{"a": ' * 70 + "1" + "}" * 70, "at most 64 deep"),
        ('{"a": 1, "a": 2}', "expected each name once, got 'a' again"),
        ('{"a": [1, NaN]}', r"f.json: a\[1\]: expected a finite number, got nan"),
        ('{"a": {"b": 1e999}}', r"f.json: a.b: expected a finite number, got inf"),
        ("9" * 5000, "not JSON: Exceeds the limit"),
        (MANY_NAMES, "expected each name once, got '199999' again"),
    ],
    ids=lambda text: text[:20],
)
def test_json_that_is_none_is_refused(text, message):
    with pytest.raises(ReadError, match=message):
        json_value("f.json", text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "f.yaml, line 1: not YAML: "),
        ("[" * 100_000, "expected brackets in brackets at most 64 deep"),
        ("a: 1\nb: 2\na: 3", "f.yaml, line 1: not YAML: expected each name once, got 'a' again"),
        ("a: 1\n? [b]\n: 2", "line 2: not YAML: expected a name before the colon, got .'b'."),
        ("a: 1\n3: 2", "line 2: not YAML: expected a name before the colon, got 3"),
        ("a: &x [1]\nb: *x", r"line 2: not YAML: the alias \*x; write the value out"),
        ("a: &x [*x]", "the alias"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: !!binary x", "could not determine a constructor"),
        ('a: !!int ""', "line 1: not YAML: no value of int"),
        ("a: !!bool maybe", "no value of bool"),
        ("a: .nan", "a: expected a finite number, got nan"),
        ("a: 1e999", "a: expected a finite number, got inf"),
        ("a: \x00", "not YAML: "),
        ("a: '" + "x" * (1 << 20) + "'", "expected at most 1,048,576 characters"),
    ],
    ids=lambda text: text[:20],
)
def test_yaml_that_is_none_is_refused(text, message):
    with pytest.raises(ReadError, match=message):
        yaml_value("f.yaml", text)


def test_yaml_reads_the_numbers_that_python_writes():
    text = "a: 4e-3\nb: 1E5\nc: -.5e2\nd: 1.5\ne: 7\nf: yes\ng: null\nh: 2001-02-30\ni: [1, x]"
    assert yaml_value("f", text) == {
        "a": 0.004, "b": 1e5, "c": -50.0, "d": 1.5, "e": 7, "f": True, "g": None,
        "h": "2001-02-30", "i": [1, "x"],
    }  # fmt: skip
    assert yaml_value("f", json.dumps({"a": "\ud800", "b": [1, 2.5, None]})) == {
        "a": "\ud800",
        "b": [1, 2.5, None],
    }


def test_a_file_that_is_too_large_or_no_text_is_refused(tmp_path):
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        # Sparse: it takes no room on the disk.
        file.truncate(1 << 40)
    for read in (json_of, yaml_of, text_of, rows_of):
        with pytest.raises(ReadError, match=r"config\.json: expected at most [\d,]+ bytes"):
            read(path)
    path.write_bytes(b'{\n"a": "\xff"}')
    for read in (json_of, yaml_of, text_of, rows_of):
        with pytest.raises(ReadError, match=r"expected UTF-8, got the byte 0xff in line 2"):
            read(path)
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert json_of(path) == yaml_of(path) == {"a": 1}


def test_a_table_is_read_with_the_numbers_of_its_lines(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,b\r\n1,2\r\n\r\n"x\ny",4\r\n5')
    assert rows_of(path) == (["a", "b"], [(2, {"a": "1", "b": "2"}), (5, {"a": "x\ny", "b": "4"})])
    path.write_text("")
    assert rows_of(path) == ([], [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1\n2,3\n", r"t\.csv, line 2: expected 2 cells as in the header, got 1"),
        ("a,b\n1,2,3\n", "line 2: expected 2 cells as in the header, got 3"),
        ("a,a\n", "line 1: expected each column once, got 'a' again"),
        (MANY_COLUMNS, "line 1: expected each column once, got '199999' again"),
        ("a,b\n" + "x" * 200_000 + ",1\n", "no CSV: field larger than field limit"),
    ],
    ids=lambda text: text[:20],
)
def test_a_table_that_is_damaged_is_refused(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ReadError, match=message):
        rows_of(path)
