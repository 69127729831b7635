"""The ways of a pen in the tasks transcription and classification."""

import json

import numpy as np
import pytest
import torch

from throughtime.cli.main import main
from throughtime.data.pen import Trajectory, drawn_sets
from throughtime.data.pen.writer import draw_hand, write
from throughtime.data.transcribed import load_transcribed
from throughtime.inspection.shown_files import shown_html, write_shown
from throughtime.tasks.classification import Classification, ClassificationConfig
from throughtime.tasks.pen_features import PenConfig, PenFeatures
from throughtime.tasks.run import Run
from throughtime.tasks.shown import Drawing
from throughtime.tasks.transcription import Transcription
from throughtime.tasks.transcription_settings import TranscribingOptions, TranscriptionConfig

from ..data.sounds import as_file, tone

SMALL = {"cell": "gru", "hidden_size": 8, "batch_size": 4}
TEXTS = ["ab", "ba", "cab", "bca"]


def file_of(trajectory):
    """The content of a CSV file."""
    table = np.column_stack([trajectory.places, trajectory.points[:, 2], trajectory.times])
    return "x,y,pen_up,time\n" + "".join(f"{x},{y},{u:.0f},{t}\n" for x, y, u, t in table)


@pytest.fixture
def folder(tmp_path):
    """Texts in files of their own, with a list of them."""
    draw = np.random.default_rng(0)
    hand = draw_hand(draw)
    for i, text in enumerate(TEXTS):
        (tmp_path / f"{i}.csv").write_text(file_of(write(text, hand, draw)))
    lines = "".join(f"{i}.csv\t{text}\n" for i, text in enumerate(TEXTS))
    for split in ("train", "valid"):
        (tmp_path / f"{split}.tsv").write_text(lines)
    return tmp_path


def task_of(data, **options):
    return Transcription(TranscriptionConfig(data=str(data), **SMALL | options))


def features_of(trajectory, **settings):
    reading = PenConfig(**settings).pen_reading
    I = len(reading.names)
    return PenFeatures(reading, [0.0] * I, [1.0] * I).of_series(trajectory.array).numpy()


def test_features_are_the_ways_of_the_normalised_and_resampled_pen():
    straight = Trajectory.of_strokes([[[0, 0], [0, 40]], [[8, 0]]], [[0, 2], [3]])
    # The standard deviation of y on the way from 0 to 40 with one piece is 0: x has none, either.
    plain = features_of(straight, pen_size=False, pen_slant=False, pen_step=10.0)
    assert plain.tolist() == [
        *([[0, 0, 0], [0, 10, 0], [0, 10, 0], [0, 10, 0], [0, 10, 1]]),
        [8, -40, 1],
    ]
    timed = features_of(
        straight, pen_size=False, pen_slant=False, pen_points="time", pen_step=1, pen_times=True
    )
    assert timed.tolist() == [[0, 0, 0, 0], [0, 20, 0, 1], [0, 20, 1, 1], [8, -40, 1, 1]]
    original = features_of(straight, pen_points="original", pen_size=False, pen_slant=False)
    assert original.tolist() == straight.points.tolist()


@pytest.mark.parametrize("points", ["distance", "time", "original"])
def test_places_are_the_points_nearest_to_what_is_read(points):
    draw = np.random.default_rng(3)
    trajectory = write("hi fa", draw_hand(draw), draw)
    plain = {"pen_slant": False, "pen_size": False}
    reading = PenConfig(pen_points=points, **plain).pen_reading
    places = reading.places(trajectory.array)
    read = reading.trajectory(trajectory.array)
    assert len(places) == len(read)
    assert (np.diff(places) >= 0).all()
    away = np.abs(trajectory.places[places] - read.places).max()
    assert away < (1e-9 if points == "original" else 0.5)
    assert (trajectory.points[places[read.lasts], 2] == 1).all()


def test_the_alignment_and_the_drawing_of_a_line_are_shown(folder, tmp_path):
    task = task_of(folder)
    task.check()
    items = task.show(task.model())
    (drawing,) = (item for item in items if isinstance(item, Drawing))
    assert drawing.svg.count("<text") == len(TEXTS)
    pixels = [item.pixels for item in items if hasattr(item, "pixels")]
    assert len(pixels) == 3
    row = task.signals.rows(task.recordings("valid")).row(0, 0)
    picture = task.signals.picture(row)
    assert picture.shape == (40, len(row))
    # One point at each step; the pen is up at half the brightness.
    assert ((picture > 0).sum(0) == 1).all()
    assert (picture.amax(0) == 0.5).sum() == task.recordings("valid")[0].signal[:, 2].sum()
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    write_shown(run, 3, 0, Drawing("<svg onload='x'></svg>", "<b>"))
    (page,) = (part for part in shown_html(run) if "figure" in part)
    assert "&lt;b&gt;" in page
    assert "onload" not in page
    assert 'src="data:image/svg+xml;base64,' in page


def test_lines_that_are_too_short_or_without_times_are_named(folder):
    with pytest.raises(
        ValueError, match=r'split "train", recording 1: its transcript .ab. needs 2'
    ):
        task_of(folder, pen_step=1e6, stack=100).check()
    (folder / "2.csv").write_text("x,y,pen_up\n0,0,0\n1,2,1\n")
    with pytest.raises(ValueError, match=r"drawing 3: --pen_times: expected a time for each"):
        task_of(folder, pen_times=True).check()
    (folder / "2.csv").write_text("x,y,pen_up\n0,0,1\n")
    with pytest.raises(ValueError, match=r"train.tsv, line 3: .*2.csv: .* two points, got 1"):
        task_of(folder).check()
    (folder / "2.csv").write_text("x,y,pen_up\n0,0,0\n1,2,1\n")
    (folder / "a.wav").write_bytes(as_file(tone(0.2)))
    lines = (folder / "train.tsv").read_text().replace("2.csv", "a.wav")
    (folder / "train.tsv").write_text(lines)
    with pytest.raises(ValueError, match=r"expected recordings of one kind, got pen .* and audio"):
        task_of(folder).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment_noise": 10.0}, "--augment_noise 10.0: is of audio"),
        ({"normalise_by": "recording"}, "--normalise_by recording: is of sounds"),
        ({"pen_points": "original", "pen_step": 1.0}, "--pen_step 1.0: would have no effect"),
        ({"pen_step": 0.0}, "--pen_step: expected more than 0, got 0"),
    ],
)
def test_settings_without_effect_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        task_of(folder, **options).check()


def test_a_sound_has_no_settings_of_pens_and_no_drawing(tmp_path):
    (tmp_path / "a.wav").write_bytes(as_file(tone(0.3)))
    for split in ("train", "valid"):
        (tmp_path / f"{split}.tsv").write_text("a.wav\tab\n" * 4)
    with pytest.raises(ValueError, match="--pen_slope True: is of pen"):
        task_of(tmp_path, pen_slope=True).check()
    task, options = task_of(tmp_path), TranscribingOptions(drawing=str(tmp_path / "a.svg"))
    with pytest.raises(ValueError, match="--drawing: draws the ways of a pen, and this run reads"):
        next(task.predictions(task.model(), [[str(tmp_path / "a.wav")]], options, print))
    with pytest.raises(ValueError, match=r"expected a file that ends with \.svg"):
        TranscribingOptions(drawing="a.png")


def test_the_named_set_and_the_corpus_are_read(monkeypatch, tmp_path):
    sizes = {"train": (20, 2, 6), "valid": (10, 1, 3), "test": (10, 1, 3)}
    monkeypatch.setattr(drawn_sets, "_LINES", sizes)
    drawn_sets.drawn_lines.cache_clear()
    lines = load_transcribed("pen-lines")
    drawn_sets.drawn_lines.cache_clear()
    assert (lines.kind, lines.rate) == ("pen", None)
    assert {split: len(part) for split, part in lines.splits.items()} == {
        "train": 6,
        "valid": 3,
        "test": 3,
    }
    for form, file in {
        "a01-000u": "trainset.txt",
        "a01-001u": "testset_v.txt",
        "a01-002u": "testset_f.txt",
        "a01-003u": "testset_t.txt",
    }.items():
        (tmp_path / file).write_text(f"{form}\n")
        for name in ("lineStrokes", "ascii"):
            (tmp_path / name / "a01" / form[:7]).mkdir(parents=True)
        (tmp_path / "ascii" / "a01" / form[:7] / f"{form}.txt").write_text("CSR:\n\nThe end\n")
        points = "".join(f'<Point x="{x}" y="{x * x % 7}" time="{x}"/>' for x in range(9))
        strokes = f"<StrokeSet><Stroke>{points}</Stroke></StrokeSet>"
        (tmp_path / "lineStrokes" / "a01" / form[:7] / f"{form}-01.xml").write_text(strokes)
    corpus = load_transcribed(str(tmp_path))
    assert (corpus.name, corpus.kind) == ("IAM-OnDB", "pen")
    assert set(corpus.splits) == {"train", "valid", "test", "valid2"}
    assert corpus.splits["valid2"][0].text == "The end"


def test_a_line_can_be_learned_and_written_by_the_commands(folder, tmp_path, capsys):
    torch.manual_seed(0)
    run = tmp_path / "run"
    options = [f"--{name}={value}" for name, value in SMALL.items()]
    options += ["--epochs=1", "--sample_every=0", f"--data={folder}"]
    assert main(["train", "transcription", *options, "--run", str(run)]) == 0
    capsys.readouterr()
    files = [str(folder / f"{i}.csv") for i in range(3)]
    drawing = tmp_path / "read.svg"
    assert main(["predict", str(run), *files, "--json", f"--drawing={drawing}"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["file"] for record in records] == files
    assert drawing.read_text().count("<text") == 3
    assert main(["predict", str(run), files[0], f"--drawing={tmp_path}/gone/a.svg"]) != 0
    assert "--drawing: there is no folder" in capsys.readouterr().err


def test_a_file_that_the_features_of_the_run_cannot_have_is_named(folder, tmp_path):
    task = task_of(folder, pen_times=True)
    (tmp_path / "plain.csv").write_text("x,y,pen_up\n0,0,0\n1,2,1\n")
    with pytest.raises(ValueError, match=r"plain.csv: --pen_times: expected a time for each point"):
        task.signals.parse(str(tmp_path / "plain.csv"))
    with pytest.raises(ValueError, match=r"plain.csv: --pen_points time: expected a time for each"):
        task_of(folder, pen_points="time").signals.parse(str(tmp_path / "plain.csv"))


def test_series_beside_a_folder_of_other_files_are_read_as_series(tmp_path):
    rows = "".join(f"{i},{'ab'[i % 2]},{i + t}\n" for i in range(40) for t in range(3))
    (tmp_path / "train.csv").write_text("series,label,x\n" + rows)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "first.csv").write_text("x,y,pen_up\n0,0,0\n1,2,1\n")
    config = ClassificationConfig(data=str(tmp_path), **SMALL)
    assert Classification(config).labelled.kind == "series"


def test_drawings_in_a_folder_for_each_class_are_classified(tmp_path):
    draw = np.random.default_rng(0)
    for letter in "xo":
        (tmp_path / letter).mkdir()
        for i in range(6):
            content = file_of(write(letter, draw_hand(draw), draw))
            (tmp_path / letter / f"{i}.csv").write_text(content)
    torch.manual_seed(0)
    config = ClassificationConfig(data=str(tmp_path), valid_fraction=0.25, **SMALL)
    task = Classification(config)
    task.check()
    assert task.assets["kind"] == "pen"
    model = task.model()
    optimiser = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(15):
        for batch in task.batches("train"):
            optimiser.zero_grad()
            task.loss(model, batch).mean.backward()
            optimiser.step()
    assert task.evaluate(model, "train").figures["accuracy"] == 1.0
    (tmp_path / "x" / "0.wav").write_bytes(as_file(tone(0.2)))
    with pytest.raises(ValueError, match="expected sounds or ways of a pen, got both: pen in"):
        _ = Classification(config).labelled
