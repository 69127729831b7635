"""TIMIT is read in its layout: splits by speaker, folded phones, SPHERE files."""

import numpy as np
import pytest

from throughtime.data.audio import read_recording
from throughtime.data.transcribed import load_transcribed
from throughtime.data.transcribed.phones import PHONES, folding_to
from throughtime.data.transcribed.timit import CORE_TEST_SPEAKERS, DEVELOPMENT_SPEAKERS

from ..timit import RATE, SECONDS, as_sphere, small_timit

SIZE = round(SECONDS * RATE)


def test_the_published_classes_and_speakers():
    assert len(PHONES) == 61
    assert [len({k for k in folding_to(n).values() if k}) for n in (61, 48, 39)] == [61, 48, 39]
    # Lee and Hon: closures become silence, vowels such as ix and ih one class; q is left out.
    to_39 = folding_to(39)
    assert [to_39[k] for k in ("pcl", "ix", "ax-h", "ux", "eng", "zh", "ao", "q")] == [
        *("sil", "ih", "ah", "uw", "ng", "sh", "aa", ""),
    ]
    assert (len(CORE_TEST_SPEAKERS), len(DEVELOPMENT_SPEAKERS)) == (24, 50)
    assert not CORE_TEST_SPEAKERS & DEVELOPMENT_SPEAKERS
    assert sum(name.startswith("f") for name in CORE_TEST_SPEAKERS) == 8


@pytest.mark.parametrize(("upper", "kind"), [(True, "NIST"), (False, "NIST"), (True, "WAV")])
def test_the_splits_and_phones_of_a_small_corpus(tmp_path, upper, kind):
    data = load_transcribed(str(small_timit(tmp_path, upper=upper, kind=kind)))
    assert {split: len(part) for split, part in data.splits.items()} == {
        **{"train": 6, "valid": 3, "test": 3},
    }
    assert {one.speaker for one in data.splits["train"]} == {"fcjf0", "mdac0"}
    assert {one.speaker for one in data.splits["valid"]} == {"faks0"}
    assert {one.speaker for one in data.splits["test"]} == {"mdab0"}
    assert data.rate == RATE
    texts = [one.text for one in data.splits["test"]]
    assert texts == ["sil s aa vcl b sil", "sil vcl b ix s sil", "sil ix s aa sil"]
    second = data.splits["test"][1]
    assert second.segments[3] == (3 * SIZE, 4 * SIZE, "ix")
    # The part of q, between them, belongs to no segment; the last one ends with the recording.
    assert second.segments[4] == (5 * SIZE, 6 * SIZE, "s")
    assert second.segments[5].end == len(second.signal) == 7 * SIZE
    assert data.folding is not None
    assert [data.folding[k] for k in ("vcl", "ix", "sil", "zh")] == ["sil", "ih", "sil", "sh"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"phones": 61}, "h# bcl b ix q s h#"),
        ({"phones": 39}, "sil sil b ih s sil"),
        ({"transcripts": "words"}, "she had"),
    ],
)
def test_other_transcripts(tmp_path, options, text):
    data = load_transcribed(str(small_timit(tmp_path)), options=options)
    assert data.splits["test"][1].text == text
    assert (data.folding is None) == ("transcripts" in options)
    if data.folding is not None:
        # The glottal stop is one of the 61 classes only, and is judged as none.
        left_out = set() if options["phones"] == 61 else {""}
        assert set(data.folding.values()) == {b for _, b in PHONES.values()} - left_out


def test_a_corpus_that_is_not_whole_is_refused(tmp_path):
    small_timit(tmp_path)
    sentence = tmp_path / "TRAIN" / "DR1" / "FCJF0" / "SX1"
    phones = sentence.with_suffix(".PHN")
    before = phones.read_text()
    phones.write_text(before.replace("ix", "iks"))
    with pytest.raises(ValueError, match=r"SX1.PHN: expected one of the 61 phones .* got 'iks'"):
        load_transcribed(str(tmp_path))
    phones.write_text(before.replace(" bcl", ""))
    with pytest.raises(ValueError, match=r"SX1.PHN, line 2: expected two whole numbers and a sym"):
        load_transcribed(str(tmp_path))
    phones.unlink()
    with pytest.raises(ValueError, match=r"expected a file SX1.PHN"):
        load_transcribed(str(tmp_path))
    phones.write_text(before)
    (tmp_path / "TEST" / "DR1" / "MDAB0").rename(tmp_path / "TEST" / "DR1" / "MXYZ0")
    with pytest.raises(ValueError, match="one of the 24 speakers of the split 'test', got none"):
        load_transcribed(str(tmp_path))


def test_options_of_another_corpus_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--phones 39: is of TIMIT, and would have no effect on"):
        load_transcribed("yesno", options={"phones": 39})
    small_timit(tmp_path)
    with pytest.raises(ValueError, match="--phones 39: the transcripts are words"):
        load_transcribed(str(tmp_path), options={"phones": 39, "transcripts": "words"})
    with pytest.raises(ValueError, match="--split: that of TIMIT is known"):
        load_transcribed(str(tmp_path), cut="random")


@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW", "PCM_24"])
def test_a_sphere_file_that_ends_early_is_refused(subtype):
    content = as_sphere(np.linspace(-0.5, 0.5, 500, dtype=np.float32), subtype)
    assert len(read_recording(content, "whole").samples) == 500
    for size in (len(content) - 1, 1024, 1500):
        with pytest.raises(ValueError, match=r"cut: expected .* bytes of samples, as its header"):
            read_recording(content[:size], "cut")
    with pytest.raises(ValueError, match="expected a NIST SPHERE file whose header states"):
        read_recording(content[:60] + b"\n" * 2000, "broken")
