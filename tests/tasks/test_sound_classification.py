"""classification of sounds: folders of recordings are learned, judged and used by commands."""

import json

import numpy as np
import pytest
import torch

from throughtime.cli.main import main
from throughtime.data.labelled import load_labelled
from throughtime.inspection.recording import record
from throughtime.tasks.classification import Classification
from throughtime.tasks.classification_settings import ClassificationConfig

from ..data.mirror import needs_files
from ..data.sounds import as_file, tone

HERTZ = {"low": 300.0, "middle": 700.0, "high": 1500.0}
SMALL = {"hidden_size": 8, "batch_size": 4, "num_filters": 20}


@pytest.fixture
def folder(tmp_path):
    """Six recordings of each of three classes, of different lengths and encodings."""
    path = tmp_path / "tones"
    for name, hertz in HERTZ.items():
        (path / name).mkdir(parents=True)
        for i in range(6):
            sound = tone(0.1 + 0.02 * i, hertz=hertz * (1 + 0.02 * i), seed=i)
            kind = "flac" if i == 5 else "wav"
            (path / name / f"{i}.{kind}").write_bytes(as_file(sound, 8000, "PCM_16", kind))
    return path


def task_of(data, **options):
    return Classification(ClassificationConfig(data=str(data), **SMALL | options))


def test_the_lowest_rate_of_a_folder_is_that_of_all(folder):
    (folder / "low" / "0.wav").write_bytes(as_file(tone(0.5, 16_000), 16_000))
    labelled = load_labelled(str(folder), test_fraction=0.2)
    assert (labelled.kind, labelled.rate) == ("audio", 8000)
    examples = [example for part in labelled.splits.values() for example in part]
    assert len(examples) == 18
    assert max(len(np.asarray(example.content)) for example in examples) == 4000
    assert load_labelled(str(folder), rate=4000).rate == 4000
    assert len(labelled.splits["train"]) == 12


def test_folders_of_splits_are_read(folder, tmp_path):
    whole = tmp_path / "whole"
    for split in ("train", "dev", "test"):
        for name in HERTZ:
            (whole / split / name).mkdir(parents=True)
            content = (folder / name / f"{len(split) % 3}.wav").read_bytes()
            (whole / split / name / "a.wav").write_bytes(content)
    labelled = load_labelled(str(whole))
    assert {split: len(part) for split, part in labelled.splits.items()} == {
        "train": 3,
        "valid": 3,
        "test": 3,
    }
    with pytest.raises(ValueError, match="comes in splits of its own"):
        load_labelled(str(whole), valid_fraction=0.2)
    (whole / "valid" / "low").mkdir(parents=True)
    with pytest.raises(ValueError, match='one folder for the split "valid", got dev and valid'):
        load_labelled(str(whole))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lower_case": True}, "--lower_case True: is of texts, so it would have no effect"),
        ({"missing": "carry"}, "--missing carry: is of series, so"),
        ({"cell": "gru-d", "bidirectional": False}, "--cell gru-d: models missing values of ser"),
        ({"rate": 10}, "--rate: expected 1,000 to 768,000, got 10"),
        ({"augment_speed": 1.0}, "--augment_speed: expected 0 to 0.9, got 1.0"),
        ({"num_cepstra": 12}, "--num_cepstra 12: is of --features mfcc"),
        ({"num_filters": 300}, "expected filters of which each covers a frequency"),
        ({"encoding": "latin-1"}, "--encoding latin-1: is of texts"),
        ({"fold": 2}, 'only "mr" and "fsdd-unheard" have folds'),
    ],
)
def test_settings_without_effect_on_sounds_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        task_of(folder, **options).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 8000}, "--rate 8000: is of sounds, so it would have no effect"),
        ({"features": "mfcc"}, "--features mfcc: is of sounds"),
        ({"mask_time": 3}, "--mask_time 3: is of sounds"),
    ],
)
def test_settings_of_sounds_without_effect_on_texts_are_refused(tmp_path, options, message):
    path = tmp_path / "texts.tsv"
    path.write_text("".join(f"{'ab'[i % 2]}\tword {i}\n" for i in range(20)))
    config = ClassificationConfig(data=str(path), **options)
    with pytest.raises(ValueError, match=message):
        Classification(config).check()


def test_a_damaged_recording_is_refused_with_its_path(folder):
    path = folder / "low" / "3.wav"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"low/3\.wav: expected .* the file ends early"):
        load_labelled(str(folder))
    (folder / "empty").mkdir()
    path.unlink()
    with pytest.raises(ValueError, match="of the class 'empty', got none"):
        load_labelled(str(folder))


CHANGES = {"augment_noise": 10.0, "augment_speed": 0.1, "mask_time": 3, "mask_features": 3}


def test_sounds_are_changed_in_training_alone_and_anew_in_each_epoch(folder):
    task = task_of(folder, batch_size=100, **CHANGES)
    batches = task.batches("train")
    first, second = (next(iter(batches)) for _ in range(2))
    assert not torch.equal(first.lengths.sort().values, second.lengths.sort().values)
    # An epoch can be repeated, as a resumed training does.
    batches.seek(0, 0)
    again = next(iter(batches))
    assert torch.equal(first.inputs, again.inputs)
    plain = task_of(folder, batch_size=100)
    one, other = (next(iter(t.batches("valid"))) for t in (task, plain))
    assert torch.equal(one.inputs, other.inputs)


def test_it_is_trained_judged_and_used_by_commands(folder, tmp_path, capsys):
    run = str(tmp_path / "run")
    settings = ["--hidden_size", "8", "--num_filters", "20", "--features", "mfcc"]
    settings += ["--batch_size", "4", "--learning_rate", "0.03", "--differences", "1"]
    command = ["train", "classification", "--data", str(folder), "--run", run, *settings]
    assert main([*command, "--epochs", "8", "--augment_noise", "20", "--mask_time", "2"]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--data", str(folder), "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["accuracy"] >= 0.9
    # Another rate and encoding than those of the training.
    files = []
    for name, hertz in HERTZ.items():
        files.append(str(tmp_path / f"{name}.wav"))
        sound = tone(0.2, 44_100, hertz * 1.05, seed=9)
        (tmp_path / f"{name}.wav").write_bytes(as_file(sound, 44_100, "PCM_24"))
    assert main(["predict", run, *files]) == 0
    assert capsys.readouterr().out.split() == list(HERTZ)
    assert main(["predict", run, "--text", files[2], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "high"
    # What was predicted before a damaged file is written.
    (tmp_path / "middle.wav").write_bytes(b"RIFF")
    assert main(["predict", run, *files]) != 0
    output = capsys.readouterr()
    assert output.out.split() == ["low"]
    assert "middle.wav: expected a sound file" in output.err


def test_the_figures_of_distorted_sounds_are_measured_and_drawn(folder, tmp_path, capsys):
    run = tmp_path / "run"
    settings = ["--num_filters", "20", "--batch_size", "4", "--learning_rate", "0.03"]
    settings += ["--network", "window", "--window", "3", "--hidden_size", "16"]
    command = ["train", "classification", "--data", str(folder), "--run", str(run), *settings]
    assert main([*command, "--epochs", "6"]) == 0
    capsys.readouterr()
    judge = ["evaluate", str(run), "--data", str(folder), "--robustness"]
    assert main([*judge, "noise,gap", "--json"]) == 0
    text = capsys.readouterr().out
    judged = json.loads(text)
    noise, gap = judged["curves"]
    assert (noise["title"], noise["x"][0], noise["x"][-1]) == ("noise", "none", "-5")
    assert noise["y"]["accuracy"][0] == gap["y"]["accuracy"][0] == judged["accuracy"] >= 0.9
    # Below as much noise as sound the tones are not heard well.
    assert noise["y"]["accuracy"][-1] < judged["accuracy"]
    report = (run / "report.html").read_text()
    assert "<h2>Evaluated</h2>" in report
    assert "signal-to-noise ratio (dB)" in report
    # All models read the same noise.
    assert main([*judge, "noise,gap", "--json"]) == 0
    assert capsys.readouterr().out == text
    assert main([*judge, "speed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "tempo  accuracy  f1_macro" in lines
    assert "signal-to-noise ratio (dB)" not in (run / "report.html").read_text()
    with pytest.raises(SystemExit):
        main([*judge, "volume"])
    assert 'unknown distortion "volume"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "gru"}, "--cell gru: is of recurrent layers, and --network window has none"),
        ({"merge": "sum"}, "--merge sum: is of recurrent layers"),
        ({"zoneout": 0.1}, "--zoneout"),
        ({"network": "recurrent", "window": 5}, "--window 5: is of --network window"),
        ({"window": 0}, "--window: expected at least 1"),
    ],
)
def test_a_setting_without_effect_on_the_network_is_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        task_of(folder, **{"network": "window"} | options)


def test_a_model_of_sounds_can_be_watched(folder):
    task = task_of(folder)
    torch.manual_seed(0)
    model = task.model()
    sound = task.held_out(50)[0]
    observation = task.observe(model, sound)
    assert record(task, model, sound) is not None
    assert observation.features is not None
    assert list(observation.feature_names)[:2] == ["mel 1", "mel 2"]


def test_spoken_digits_have_the_published_split():
    needs_files("fsdd")
    labelled = load_labelled("fsdd")
    assert {split: len(part) for split, part in labelled.splits.items()} == {
        "train": 2400,
        "valid": 300,
        "test": 300,
    }
    assert sorted({example.label for example in labelled.splits["test"]}) == list("0123456789")
    unheard = load_labelled("fsdd-unheard", fold=5)
    assert {split: len(part) for split, part in unheard.splits.items()} == {
        "train": 2250,
        "valid": 250,
        "test": 500,
    }
    speakers = load_labelled("fsdd-speakers").splits["test"]
    assert {example.label for example in speakers} == {
        *("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    }
    with pytest.raises(ValueError, match="--fold: expected 0 to 5, got 6"):
        load_labelled("fsdd-unheard", fold=6)
