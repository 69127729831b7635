import json
import subprocess
import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.data.characters import (
    CharacterTokeniser,
    SymbolTokeniser,
    TaggedCharacterTokeniser,
)
from throughtime.data.subwords import MissingLibraryError, SubwordTokeniser
from throughtime.data.tokenisation import TOKENISERS, fit_tokeniser, tokeniser_from_json
from throughtime.data.tokeniser import BOS, EOS, PAD, SPECIALS, UNK, in_words
from throughtime.data.words import WordTokeniser, join_words, split_words

TEXTS = [
    "A man's dog runs, and a cat runs (fast).",
    "HH AH0 L OW1 W ER1 L D",
    "go<V><PST> the cat sat on the mat",
    "Zwei- und dreimal!",
]
KINDS = sorted(TOKENISERS)


@pytest.fixture(params=KINDS)
def tokeniser(request):
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    return fit_tokeniser(request.param, TEXTS)


# What holds for all


def test_a_known_text_comes_back(tokeniser):
    # Words do not keep the spaces around every mark.
    texts = [text for text in TEXTS if tokeniser.kind != "words" or "<" not in text]
    for text in texts:
        ids = tokeniser.encode(text)
        assert min(ids) > UNK
        assert max(ids) < len(tokeniser)
        assert tokeniser.decode(ids) == text
        assert tokeniser.unknown(text) == []


def test_the_json_form_gives_the_same_ids_again(tokeniser):
    form = json.loads(json.dumps(tokeniser.to_json()))
    again = tokeniser_from_json(form)
    assert type(again) is type(tokeniser)
    assert again.to_json() == form
    for text in (*TEXTS, "quite 漢字 unknown <eos>"):
        assert again.encode(text) == tokeniser.encode(text)


def test_decoding_stops_at_the_end_and_skips_begin_and_padding(tokeniser):
    ids = tokeniser.encode(TEXTS[0])
    assert tokeniser.decode([BOS, *ids, EOS, *ids, PAD]) == TEXTS[0]
    assert tokeniser.decode([]) == tokeniser.decode([EOS]) == ""
    assert "<unk>" in tokeniser.decode([*ids, UNK])


def test_what_is_unknown_is_kept_as_one_id_and_told(tokeniser):
    text = "the 漢 cat"
    assert UNK in tokeniser.encode(text)
    assert tokeniser.encode(text).count(UNK) == len(tokeniser.unknown(text))
    assert "漢" in "".join(tokeniser.count_unknown([text, text]))


def test_a_text_cannot_spell_a_special_id(tokeniser):
    for special in SPECIALS[:3]:
        ids = tokeniser.encode(f"the {special} cat")
        assert not {PAD, BOS, EOS} & set(ids)


def test_an_empty_text_has_no_ids(tokeniser):
    assert tokeniser.encode("") == []


def test_the_order_of_the_texts_changes_no_id(tokeniser):
    assert fit_tokeniser(tokeniser.kind, TEXTS[::-1]).to_json() == tokeniser.to_json()


@pytest.mark.parametrize("ids", [[-1], [10**6]])
def test_ids_of_another_vocabulary_are_refused(tokeniser, ids):
    with pytest.raises(ValueError, match=r"expected ids from 0 to \d+, got"):
        tokeniser.decode(ids)


@pytest.mark.parametrize("value", [None, [], {}, {"kind": "word"}, {"kind": 3}])
def test_a_json_form_of_something_else_is_refused(value):
    with pytest.raises(ValueError, match=r"expected an object|unknown tokenisation"):
        tokeniser_from_json(value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_json_form_is_refused(kind):
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    for damage in ({}, {"tokens": "abc", "model": "abc"}, {"tokens": [1], "model": {}}):
        with pytest.raises(ValueError, match=r"expected|cannot be read"):
            tokeniser_from_json({"kind": kind, **damage})


def test_an_unknown_kind_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match='unknown tokenisation "word"; did you mean "words"'):
        fit_tokeniser("word", TEXTS)


# Lists of tokens


def test_the_most_frequent_come_first_and_rare_ones_can_be_left_out():
    text = "b b b a a c"
    assert SymbolTokeniser.fit([text]).tokens == (*SPECIALS, "b", "a", "c")
    assert SymbolTokeniser.fit([text], min_count=2).tokens[4:] == ("b", "a")
    assert SymbolTokeniser.fit([text], max_size=5).tokens[4:] == ("b",)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["a", "a"], "expected each token once, got 'a' again"),
        ([""], "expected tokens that are text, got ''"),
        (["<eos>"], "got '<eos>'"),
        ([4], "got 4"),
    ],
)
def test_tokens_that_cannot_be_are_refused(tokens, message):
    with pytest.raises(ValueError, match=message):
        CharacterTokeniser(tokens)


@settings(database=None, deadline=None)
@given(st.text())
def test_characters_lose_nothing(text):
    for kind in (CharacterTokeniser, TaggedCharacterTokeniser):
        parts = kind(()).split(text)
        assert "".join(parts) == text
    tokeniser = CharacterTokeniser.fit([text])
    assert tokeniser.decode(tokeniser.encode(text)) == text


def test_tags_are_one_token_and_open_brackets_are_none():
    parts = TaggedCharacterTokeniser(()).split("a<V><3 b><<SG>")
    assert parts == ["a", "<V>", "<", "3", " ", "b", ">", "<", "<SG>"]


# Words


@pytest.mark.parametrize(
    "text",
    [
        "A man's T-shirt isn't his, is it?",
        "The boys' 3.5 m (or so) and/or 10:30...",
        'He said "no", and "yes"; she said \'so\'.',
        "Zwei- und dreimal „Welcome Bikers“ gesehen!",
        "He wrote “no” here.",
        "50% of $5 [sic] {a}.",
        "l'homme qu'il voit, aujourd'hui",
        "A 10-year-old in 3D",
        "wait... what?",
        "",
    ],
)
def test_words_are_joined_as_people_write(text):
    assert join_words(split_words(text)) == text


@settings(database=None, deadline=None)
@given(st.text())
def test_words_lose_nothing_but_spaces(text):
    import unicodedata

    composed = unicodedata.normalize("NFC", text)
    assert "".join(split_words(text)) == "".join(composed.split())
    assert "".join(join_words(split_words(text)).split()) == "".join(composed.split())


def test_a_letter_and_its_accent_are_one_character():
    assert split_words("cafe\u0301s") == ["cafés"]


def test_lower_case_is_a_choice_and_is_kept():
    tokeniser = WordTokeniser.fit(["The Cat"], lower_case=True)
    assert tokeniser.decode(tokeniser.encode("THE CAT")) == "the cat"
    again = tokeniser_from_json(tokeniser.to_json())
    assert again.encode("The CAT") == tokeniser.encode("the cat")
    assert WordTokeniser.fit(["The Cat"]).unknown("the cat") == ["the", "cat"]


def test_a_long_text_is_composed_as_a_short_one():
    text = "cafe\u0301s e\u0323\u0302 가 \u0301x 中文 " * 100
    assert split_words(text) == split_words(text[: len(text) // 100]) * 100


def test_a_letter_with_marks_without_end_is_composed_in_parts(monkeypatch):
    composed = unicodedata.normalize
    normalized = []
    monkeypatch.setattr(
        "unicodedata.normalize", lambda form, text: normalized.append(text) or composed(form, text)
    )
    text = "b a" + "\u0301\u0327" * 2000 + " c"
    parts = split_words(text)
    assert max(map(len, normalized)) <= 35
    assert "".join(normalized) == text
    assert (parts[0], parts[1][0], parts[-1]) == ("b", "\u00e1", "c")


def test_a_long_unknown_word_is_named_by_its_beginning():
    told = in_words(Counter({"a" * 1_000_000: 1}), 1, "words")
    assert told.endswith(f"1 different ones: '{'a' * 60}…' (1)")


def test_what_is_unknown_is_told_in_words():
    tokeniser = WordTokeniser.fit(["the cat sat"])
    texts = ["the yak sat", "the yak and the gnu"]
    counts = tokeniser.count_unknown(texts)
    assert in_words(counts, 8, tokeniser.unit) == (
        "4 of 8 words (50.00 %) are unknown, 3 different ones: 'yak' (2), 'and' (1), 'gnu' (1)"
    )
    assert in_words(counts, 8, "words", most=1).endswith("'yak' (2), …")
    assert in_words(tokeniser.count_unknown(["the cat"]), 2, "words") == "all 2 words are known"


# Subwords


def test_frequent_words_are_whole_and_rare_ones_are_cut():
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    tokeniser = SubwordTokeniser.fit(["lower lowest newer newest"] * 20 + ["xylol"], max_size=26)
    assert len(tokeniser) == 26
    assert len(tokeniser.encode("newest")) == 1
    assert len(tokeniser.encode("xylol")) > 3
    assert tokeniser.decode(tokeniser.encode("newest  lower ")) == "newest  lower "


def test_the_size_holds_where_there_are_more_characters():
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    tokeniser = SubwordTokeniser.fit(["a a a a b b b c c d e f g h"] * 3, max_size=8)
    assert len(tokeniser) == 8
    assert tokeniser.unknown("a b c h") == ["h"]


def test_half_a_character_is_unknown(tokeniser):
    broken = b"cat \xff".decode("utf-8", "surrogateescape")
    assert UNK in tokeniser.encode(broken)
    assert tokeniser.unknown(broken)[-1] == "\udcff"


def test_what_knows_nothing_is_refused():
    with pytest.raises(ValueError, match=r"min_count=9 times.*'a', stands there 2 times"):
        WordTokeniser.fit(["a b a"], min_count=9)


def test_a_model_without_the_special_ids_is_refused():
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    with pytest.raises(ValueError, match="in which <pad> has the id 0, got None"):
        SubwordTokeniser(tokenizers.Tokenizer(tokenizers.models.BPE()))


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        MissingLibraryError, match=r"throughtime\[translation\].*--tokenisation words"
    ):
        fit_tokeniser("subwords", TEXTS)
    with pytest.raises(MissingLibraryError, match="subwords need the library tokenizers"):
        tokeniser_from_json({"kind": "subwords", "model": {}})


def test_the_library_is_loaded_on_use_alone():
    code = "import sys, throughtime.data; print('tokenizers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
