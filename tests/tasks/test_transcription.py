"""transcription: recordings of tones are learned, judged, predicted and heard live."""

import io
import json
import sys

import jiwer
import numpy as np
import pytest
import torch

from throughtime.cli.main import main
from throughtime.data.transcribed import load_transcribed
from throughtime.models.ctc import num_steps_needed
from throughtime.tasks.edit_distance import edit_distance
from throughtime.tasks.error_rates import error_rates
from throughtime.tasks.run import Run
from throughtime.tasks.shown import Picture, Table
from throughtime.tasks.transcription import Transcription
from throughtime.tasks.transcription_settings import (
    JudgingTranscripts,
    TranscribingOptions,
    TranscriptionConfig,
)

from ..data.mirror import needs_files
from ..data.sounds import as_file, tone

HERTZ = {"a": 300.0, "b": 700.0, "c": 1500.0}
SMALL = {"hidden_size": 8, "batch_size": 4, "num_filters": 20}
TEXTS = ["ab", "ba", "cab", "bca", "aab", "cc", "abc", "acb", "bb", "caa"]


def sound_of(text, seed=0):
    """A tone for each letter, with pauses."""
    pause = np.zeros(400, np.float32)
    parts = [np.concatenate([tone(0.1, hertz=HERTZ[k], seed=seed), pause]) for k in text]
    return np.concatenate([pause, *parts])


@pytest.fixture
def folder(tmp_path):
    for split, texts in {"train": TEXTS, "valid": TEXTS[:4]}.items():
        for i, text in enumerate(texts):
            (tmp_path / f"{split}{i}.wav").write_bytes(as_file(sound_of(text, i)))
        lines = [f"{split}{i}.wav\t{text}\n" for i, text in enumerate(texts)]
        (tmp_path / f"{split}.tsv").write_text("".join(lines))
    return tmp_path


def task_of(data, **options):
    return Transcription(TranscriptionConfig(data=str(data), **SMALL | options))


def test_error_rates_are_those_of_jiwer_and_of_our_edit_distance():
    texts, outputs = ["one two two", "", "six"], ["one too two two", "one", ""]
    rates = error_rates(texts, outputs)
    words = sum(edit_distance(a.split(), b.split()) for a, b in zip(texts, outputs, strict=True))
    letters = sum(edit_distance(a, b) for a, b in zip(texts, outputs, strict=True))
    assert rates["word_error_rate"] == words / 4 == jiwer.wer(texts, outputs)
    assert rates["character_error_rate"] == letters / 14
    assert np.isnan(error_rates([""], ["a"])["word_error_rate"])


def test_unknown_symbols_are_left_out_and_told(folder, caplog):
    (folder / "valid.tsv").write_text("valid0.wav\tazb\nvalid1.wav\tba\n")
    task = task_of(folder)
    task.check()
    assert "of the validation 1 of 5 characters (20.00 %) are unknown" in caplog.text
    assert task.text_of(task.symbols("azb")) == "ab"
    assert task.evaluate(task.model()).figures["character_error_rate"] >= 0.2


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_transcript_longer_than_its_recording_is_refused_with_its_place(folder, split):
    lines = (folder / f"{split}.tsv").read_text().splitlines()
    lines[2] = f"{split}2.wav\t{'ab' * 40}"
    (folder / f"{split}.tsv").write_text("\n".join(lines))
    message = f'split "{split}", recording 3: its transcript .* needs 80 steps'
    with pytest.raises(ValueError, match=message):
        task_of(folder).check()
    # Equal neighbours need one more step each: 51 frames are 26 pairs, and 17 times a needs 33.
    lines[2] = f"{split}2.wav\t{'a' * 17}"
    (folder / f"{split}.tsv").write_text("\n".join(lines))
    task_of(folder).check()
    with pytest.raises(ValueError, match="needs 33 steps"):
        task_of(folder, stack=2).check()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train0.wav a", "train.tsv, line 2: expected the path of a recording, a tab and its"),
        ("gone.wav\ta", "train.tsv, line 2: there is no file"),
        ("train.tsv\ta", "train.tsv, line 2: .* expected a sound file such as WAV"),
    ],
)
def test_a_malformed_line_is_refused_with_its_place(folder, line, message):
    (folder / "train.tsv").write_text(f"train0.wav\tab\n{line}\n")
    with pytest.raises(ValueError, match=message):
        load_transcribed(str(folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pyramid": 1}, "--pyramid 1: expected 0 to 0, less than --num_layers"),
        ({"stack": 0}, "--stack: expected at least 1, got 0"),
        ({"num_cepstra": 12}, "--num_cepstra 12: is of --features mfcc"),
    ],
)
def test_settings_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TranscriptionConfig(**options)


def test_a_faster_sound_keeps_enough_steps_for_its_transcript(folder):
    text = "ab" * 12
    (folder / "train.tsv").write_text(f"train0.wav\t{text}\n" * 4)
    task = task_of(folder, augment_speed=0.5)
    for _ in range(5):
        for batch in task.batches("train"):
            assert (batch.lengths >= num_steps_needed(task.symbols(text))).all()
            assert task.loss(task.model(), batch).total.isfinite()


def test_it_is_trained_judged_and_used_by_commands(folder, tmp_path, capsys, monkeypatch):
    run = str(tmp_path / "run")
    settings = ["--hidden_size", "24", "--num_filters", "20", "--stack", "2", "--differences", "1"]
    settings += ["--num_layers", "2", "--pyramid", "1", "--bidirectional", "false"]
    settings += ["--batch_size", "2", "--learning_rate", "0.02", "--dropout", "0", "--cell", "gru"]
    command = ["train", "transcription", "--data", str(folder), "--run", run, *settings]
    assert main([*command, "--epochs", "20", "--validate_every", "25"]) == 0
    capsys.readouterr()
    for search in ([], ["--beam_width", "5"]):
        assert main(["evaluate", run, "--json", *search]) == 0
        judged = json.loads(capsys.readouterr().out)
        assert judged["character_error_rate"] <= 0.1
    assert main(["evaluate", run, "--data", str(folder / "train.tsv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["character_error_rate"] <= 0.1
    files = [str(folder / f"train{i}.wav") for i in (2, 6)]
    assert main(["predict", run, *files]) == 0
    whole = capsys.readouterr().out
    assert edit_distance(whole, "cab\nabc\n") <= 1
    # The same sound, live, and raw.
    content = (folder / "train2.wav").read_bytes()
    for data, raw in ((content, []), (content[44:], ["--raw_rate", "8000"])):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert main(["predict", run, "--stream", *raw]) == 0
        output = capsys.readouterr()
        assert output.out == whole.splitlines()[0] + "\n"
        # A frame of 25 ms; four frames are one step, and a difference needs two more.
        assert "latency 75 ms of sound" in output.err
        assert "real-time factor 0." in output.err
    with pytest.raises(SystemExit):
        main(["predict", run, files[0], "--stream"])
    assert "files would have no effect beside --stream" in capsys.readouterr().err


def test_speakers_must_be_known_to_normalise_by_them(folder):
    with pytest.raises(ValueError, match=r"--normalise_by speaker: .* does not say who speaks"):
        task_of(folder, normalise_by="speaker").check()
    task_of(folder, normalise_by="recording").check()


def test_a_stream_needs_a_model_that_reads_in_one_direction(folder):
    task = task_of(folder)
    heard = task.heard(task.model(), io.BytesIO(), TranscribingOptions(stream=True), print)
    with pytest.raises(ValueError, match="was trained with --bidirectional true"):
        next(heard)


def test_a_file_of_recordings_that_is_missing_or_a_folder_is_named(folder):
    task = task_of(folder)
    model = task.model()
    gone = JudgingTranscripts(data=str(folder / "gone.tsv"))
    with pytest.raises(FileNotFoundError, match=r"gone.tsv: no such file"):
        task.evaluate(model, None, gone)
    with pytest.raises(ValueError, match="expected a file or a pipe, got a folder"):
        task.evaluate(model, None, JudgingTranscripts(data=str(folder)))


def test_what_was_heard_before_a_sound_breaks_off_is_written(folder, tmp_path, capsys, monkeypatch):
    run = Run(tmp_path / "run")
    task = task_of(folder, bidirectional=False)
    run.create(task, {})
    torch.manual_seed(0)
    run.save_model(task.model())
    content = (folder / "train2.wav").read_bytes()
    outputs = []
    for data in (content, content[:-1000]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert main(["predict", str(run.folder), "--stream"]) == (data is not content)
        outputs.append(capsys.readouterr())
    whole, cut = outputs
    assert whole.out.startswith(cut.out.rstrip("\n")[:-1])
    assert cut.out.strip()
    assert "real-time factor" in cut.err
    assert "the sound ends early" in cut.err
    assert "Traceback" not in cut.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (as_file(np.zeros(0, np.float32)), "a file with no samples"),
        (as_file(tone())[:-10], "the file ends early"),
        (as_file(np.array([0.1, np.nan], np.float32), 8000, "FLOAT"), "got nan as sample 2"),
    ],
    ids=["empty", "no samples", "cut", "nan"],
)
def test_a_bad_file_ends_the_predictions_with_its_name_after_those_before_it(
    folder, content, message
):
    (folder / "bad.wav").write_bytes(content)
    task = task_of(folder)
    files = [[str(folder / name) for name in ("train0.wav", "bad.wav")]]
    predictions = task.predictions(task.model(), files, TranscribingOptions(), print)
    assert next(predictions).record["file"] == files[0][0]
    with pytest.raises(ValueError, match=f"bad.wav: .*{message}"):
        next(predictions)


@pytest.mark.parametrize(
    ("rate", "shape", "subtype"), [(96_000, 8, "PCM_24"), (8000, 1, "ULAW"), (44_100, 2, "FLOAT")]
)
def test_other_encodings_rates_and_channels_are_transcribed(folder, rate, shape, subtype):
    task = task_of(folder)
    sound = np.repeat(tone(0.3, rate)[:, None], shape, 1)
    (folder / "other.wav").write_bytes(as_file(sound, rate, subtype))
    samples = task.signals.parse(str(folder / "other.wav"))
    assert abs(len(samples) - 2400) <= 1
    inputs = [[str(folder / "other.wav"), ""]]
    predictions = list(task.predictions(task.model(), inputs, TranscribingOptions(), print))
    assert [set(one.record) for one in predictions] == [{"text", "file"}, {"text"}]


def test_what_is_displayed_has_the_alignments(folder):
    task = task_of(folder)
    torch.manual_seed(0)
    table, *pictures = task.show(task.model())
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == TEXTS[:4]
    assert len(pictures) == 3
    picture = pictures[0]
    assert isinstance(picture, Picture)
    T = task.signals.length(task.recordings("valid")[0].signal)
    assert picture.pixels.shape == (20 + 1 + 3 * 2, T)
    assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1


def test_the_named_sets_have_their_splits():
    needs_files("yesno")
    sizes = {split: len(part) for split, part in load_transcribed("yesno").splits.items()}
    assert sizes == {"train": 26, "valid": 5, "test": 29}
    needs_files("fsdd")
    strings = load_transcribed("fsdd-strings").splits
    assert sum(len(one.text.split()) for one in strings["test"]) == 300
    assert sum(len(one.text.split()) for one in strings["train"]) == 3 * 2400
    assert (
        load_transcribed("fsdd-strings").fingerprint()
        == load_transcribed("fsdd-strings").fingerprint()
    )
