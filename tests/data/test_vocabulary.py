import json
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.checks import ShapeError
from throughtime.data.vocabulary import UnknownCharacterError, Vocabulary

# Lone surrogates and NUL too: whatever a Python string can hold.
any_text = st.text(st.characters(exclude_categories=[]), max_size=30)


@settings(database=None, deadline=None)
@given(any_text, any_text)
def test_encoding_and_decoding_give_the_text_back(known, other):
    vocabulary = Vocabulary.from_text(known, other)
    ids = vocabulary.encode(known)
    assert (ids.shape, ids.dtype) == ((len(known),), torch.int64)
    assert vocabulary.decode(ids) == known
    assert vocabulary.decode(ids.tolist()) == known


@settings(database=None, deadline=None)
@given(any_text, any_text)
def test_skipping_leaves_out_exactly_the_unknown_characters(known, text):
    vocabulary = Vocabulary.from_text(known)
    expected = [vocabulary.tokens.index(c) for c in text if c in known]
    assert vocabulary.encode(text, unknown="skip").tolist() == expected


def test_the_characters_are_sorted_by_code_point():
    vocabulary = Vocabulary.from_text("😀zé", "\nZa")
    assert vocabulary.tokens == ("\n", "Z", "a", "z", "é", "😀")
    assert len(vocabulary) == 6
    assert vocabulary.encode("z😀\n").tolist() == [3, 5, 0]


def test_membership_is_of_single_characters():
    vocabulary = Vocabulary.from_text("abc")
    assert "a" in vocabulary
    assert "d" not in vocabulary
    assert "ab" not in vocabulary
    assert "" not in vocabulary


def test_nothing_is_no_special_case():
    vocabulary = Vocabulary.from_text("")
    assert len(vocabulary) == 0
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == vocabulary.decode(torch.empty(0, dtype=torch.int64)) == ""
    assert vocabulary.encode("a", unknown="skip").shape == (0,)
    with pytest.raises(UnknownCharacterError):
        vocabulary.encode("a")


def test_two_surrogates_do_not_become_one_character():
    vocabulary = Vocabulary.from_text("\ud83d\ude00")
    assert len(vocabulary) == 2
    assert vocabulary.decode([0, 1]) == "\ud83d\ude00"


def test_five_million_characters_take_well_under_a_second():
    text = "the quick brown fox jumps over the lazy dog\n" * 120_000
    vocabulary = Vocabulary.from_text(text)
    # The processor's time, which neighbours do not take from.
    start = time.process_time()
    ids = vocabulary.encode(text)
    assert time.process_time() - start < 1
    assert len(ids) == len(text) > 5_000_000


def test_unknown_characters_are_listed_counted_and_located():
    with pytest.raises(UnknownCharacterError) as error:
        Vocabulary.from_text("abc\n").encode("abc\nab\x00cé\0")
    message = str(error.value)
    assert "3 character(s) that the vocabulary of 4 has not: '\\x00', 'é';" in message
    assert "line 2, column 3" in message
    assert "Leave them out, or learn from a text that has them." in message


@pytest.mark.parametrize(
    ("text", "where"), [("é", "line 1, column 1"), ("a\né", "line 2, column 1")]
)
def test_the_first_unknown_character_is_located_from_one(text, where):
    with pytest.raises(UnknownCharacterError, match=where):
        Vocabulary.from_text("a\n").encode(text)


def test_of_many_unknown_characters_ten_are_listed():
    with pytest.raises(UnknownCharacterError, match=r"26 char.*: 'a', .*, 'j', …; the"):
        Vocabulary.from_text("A").encode("abcdefghijklmnopqrstuvwxyz")


def test_lone_surrogates_can_be_listed():
    with pytest.raises(UnknownCharacterError, match=r"'\\ud800'"):
        Vocabulary.from_text("a").encode("a\ud800")


def test_a_misspelt_choice_of_unknown_is_refused():
    with pytest.raises(ValueError, match='unknown choice of unknown "skp"; did you mean "skip"'):
        Vocabulary.from_text("a").encode("a", unknown="skp")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_ids_of_any_whole_number_decode(dtype):
    vocabulary = Vocabulary.from_text("abc")
    assert vocabulary.decode(torch.tensor([2, 0, 1], dtype=dtype)) == "cab"
    assert vocabulary.decode(torch.tensor(2, dtype=dtype)) == "c"


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0, 3], ValueError, "from 0 to 2, got 0 to 3"),
        ([-1], ValueError, "from 0 to 2, got -1 to -1"),
        ([0.0, 1.5], ValueError, "expected whole numbers as ids, got torch.float32"),
        (torch.zeros(2, 3, dtype=torch.int64), ShapeError, r"shape \(N,\), got \(2, 3\)"),
    ],
)
def test_ids_that_are_none_are_refused(ids, error, message):
    with pytest.raises(error, match=message):
        Vocabulary.from_text("abc").decode(ids)


@pytest.mark.parametrize("text", ["", "hello\n", "é😀\0", "\ud800"])
def test_json_keeps_the_ids(text):
    vocabulary = Vocabulary.from_text(text)
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


def test_json_in_another_order_keeps_its_order():
    vocabulary = Vocabulary.from_json(["b", "a"])
    assert vocabulary.encode("ab").tolist() == [1, 0]
    assert vocabulary.decode([0, 1]) == "ba"


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ("abc", "expected a list of characters, got str"),
        ({"a": 0}, "expected a list of characters, got dict"),
        (None, "expected a list of characters, got NoneType"),
        (["a", "bc"], "expected single characters, got 'bc'"),
        (["a", ""], "expected single characters, got ''"),
        (["a", 1], "expected single characters, got 1"),
        (["a", "b", "a"], "expected each character once, got 'a' again"),
    ],
)
def test_json_that_is_no_vocabulary_is_refused(tokens, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_json(tokens)
