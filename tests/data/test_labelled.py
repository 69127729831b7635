"""Labelled texts and series: files, splits, and what is malformed."""

import struct

import numpy as np
import pytest

from throughtime.data.labelled import load_labelled, missing_place, read_labelled
from throughtime.data.labelled.example import Example
from throughtime.data.labelled.named_sets import split_off
from throughtime.data.labelled.series_files import csv_series, idx_images, ts_series
from throughtime.data.labelled.text_files import phrases

TS = """# a comment
@problemName Two
@timeStamps false
@classLabel true a b
@data
1.0,2.0,3.0:4,5,6:a
7:?:b
"""


def test_ts_series_have_steps_times_features_and_missing_values():
    first, second = ts_series(TS, "two.ts")
    assert first.label == "a"
    np.testing.assert_array_equal(first.content, [[1, 4], [2, 5], [3, 6]])
    assert second.content.shape == (1, 2)
    assert missing_place(second.content) == "step 1, feature 2"
    assert missing_place(first.content) == ""


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("7:?:b", "7:b", "line 7: expected 2 features as in the first series, got 1"),
        ("7:?:b", "7", "line 7: expected features and a label after a colon"),
        ("7:?:b", "7:8:c", "line 7: expected a label of @classLabel"),
        ("7:?:b", "x:8:b", "line 7, feature 1: expected a number, got 'x'"),
        ("7:?:b", "inf:8:b", "line 7, feature 1: expected a finite number"),
        ("@data\n", "", "line 5: expected the line @data"),
        ("@timeStamps false", "@timeStamps true", "line 3: expected series without time stamps"),
        ("1.0,2.0,3.0:4,5,6:a\n7:?:b\n", "", "expected series after a line @data, got none"),
    ],
)
def test_a_malformed_ts_file_is_answered_with_its_line(before, after, message):
    with pytest.raises(ValueError, match=f"two.ts.*{message}"):
        ts_series(TS.replace(before, after), "two.ts")


def test_csv_series_have_a_step_on_each_row():
    text = "series,x,label,y\n1,1,a,2\n1,3,a,\n2,5,b,6\n"
    first, second = csv_series(text, "s.csv")
    np.testing.assert_array_equal(first.content, [[1, 2], [3, np.nan]])
    assert (second.label, second.content.tolist()) == ("b", [[5, 6]])
    for broken, message in {
        "series,x\n1,2\n": "line 1: expected a header with the columns series and label",
        text + "1,2,a,3\n": "line 5: expected the steps of a series to follow each other",
        text + "2,2,a,3\n": "line 5: expected the label 'b' of series '2', got 'a'",
        text + "2,2,b\n": "line 5: expected 4 columns, got 3",
        text + "2,2,b,z\n": "line 5, column 'y': expected a number, got 'z'",
    }.items():
        with pytest.raises(ValueError, match=message):
            csv_series(broken, "s.csv")


def test_images_are_series_of_pixels_in_a_given_order():
    images = struct.pack(">IIII", 2051, 2, 1, 3) + bytes([1, 2, 3, 4, 5, 6])
    labels = struct.pack(">II", 2049, 2) + bytes([7, 8])
    examples = idx_images(images, labels, np.array([2, 0, 1]))
    assert [example.label for example in examples] == ["7", "8"]
    assert examples[1].content.tolist() == [[6], [4], [5]]


def test_phrases_are_those_of_all_brackets():
    tree = "(3 (2 a) (4 (3 real) (2 -LRB-joy\\/fun-RRB-)))"
    assert list(phrases([tree])) == [
        ("2", "a"),
        ("3", "real"),
        ("2", "(joy/fun)"),
        ("4", "real (joy/fun)"),
        ("3", "a real (joy/fun)"),
    ]


def test_every_class_gives_a_part_for_validation():
    examples = [Example(label, str(i)) for i in range(10) for label in "ab"]
    splits = split_off(examples, 0.2)
    assert [e.label for e in splits["valid"]] == ["a", "b"] * 2
    assert sorted(splits["train"] + splits["valid"]) == sorted(examples)


def test_a_file_is_shuffled_and_a_folder_keeps_its_splits(tmp_path):
    lines = "".join(f"{'ab'[i > 9]}\ttext {i}\n" for i in range(20))
    (tmp_path / "own.tsv").write_text(lines)
    data = load_labelled(str(tmp_path / "own.tsv"), test_fraction=0.1)
    assert {split: len(examples) for split, examples in data.splits.items()} == {
        "train": 16,
        "valid": 2,
        "test": 2,
    }
    assert {example.label for example in data.splits["train"][:8]} == {"a", "b"}
    again = load_labelled(str(tmp_path / "own.tsv"), test_fraction=0.1)
    assert again.fingerprint() == data.fingerprint()
    in_order = load_labelled(str(tmp_path / "own.tsv"), test_fraction=0.1, cut="order")
    assert {example.label for example in in_order.splits["train"][:8]} == {"a"}
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.csv").write_text('text,label\n"a, b",x\nc,y\n')
    (folder / "dev.csv").write_text("label,text\nx,d\n")
    data = load_labelled(str(folder))
    assert data.splits == {
        "train": [Example("x", "a, b"), Example("y", "c")],
        "valid": [Example("x", "d")],
    }
    (folder / "test.csv").write_text("series,label,v\n1,x,3\n")
    with pytest.raises(ValueError, match="expected files of one kind"):
        load_labelled(str(folder))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "x\n", "line 1: expected a label, a tab and a text, got no tab"),
        ("a.tsv", "x\ty\n\t z\n", "line 2: expected a label, a tab and a text, got an empty label"),
        ("a.tsv", "\n\n", "expected labelled examples, got an empty file"),
        ("a.csv", "x,y\n1,2\n", "line 1: expected a header with the columns label and text"),
        ("a.csv", "label,text\n1\n", "line 2: expected 2 columns, got 1"),
        ("a.csv", "label,text\n1,\n", "line 2: expected a label and a text, got an empty cell"),
        ("a.doc", "x\ty\n", "expected a file that ends with .tsv"),
    ],
)
def test_a_malformed_file_of_texts_is_answered_with_its_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_labelled(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ("sst3", {}, ValueError, 'did you mean "sst'),
        ("no/such.tsv", {}, FileNotFoundError, "no such file"),
        ("sst2", {"valid_fraction": 0.1}, ValueError, "comes in splits of its own"),
        ("sst2", {"fold": 1}, ValueError, 'only "mr" and "fsdd-unheard" have folds'),
    ],
)
def test_data_that_cannot_be_are_refused(data, options, error, message):
    with pytest.raises(error, match=message):
        load_labelled(data, **options)
