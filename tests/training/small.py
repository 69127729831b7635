"""Small trainings of every task and learner, as commands, for the tests of the loop."""

import csv
import struct
import subprocess
import sys
import time
import wave
from dataclasses import fields
from pathlib import Path

from throughtime import tasks
from throughtime.cli.parser import Parser

from ..data.mirror import reading_data

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import pole  # noqa: E402

TEXT = "the cat sat on the mat, and the dog ran to the cat.\n" * 60

# Options that make a task small. A task that is not named here gets 8 units if it has that option.
OPTIONS = {
    "char-lm": "--data {folder}/text.txt --hidden_size 12 --batch_size 4 --num_steps 10 "
    "--num_layers 2 --dropout 0.2",
    "cloze": "--data {folder}/text.txt --hidden_size 8 --batch_size 64 --min_count 1 --dropout 0.1",
    "translation": "--data {folder}/pairs.tsv --hidden_size 8 --batch_size 8 --dropout 0.1",
    "addition": "--num_pairs 300 --num_test 10 --digits 2 --hidden_size 8 --network two",
    "prefix": "--num_pairs 200 --num_test 10 --deeper 0 --hidden_size 8",
    "prefix-trees": "--num_pairs 200 --num_test 10 --deeper 0 --hidden_size 8",
    "inflection": "--size low --hidden_size 8",
    "scan": "--data_split jump --hidden_size 8 --batch_size 2000",
    "pronunciation": "--hidden_size 8 --batch_size 8000",
    "tagging": "--data {folder}/tagged.txt --hidden_size 8 --letter_size 4 --batch_size 8",
    "classification": "--data {folder}/labelled.tsv --hidden_size 8 --batch_size 8",
    "program": "--data {folder}/trees.tsv --hidden_size 8 --batch_size 8 --dropout 0.1",
    "program-symbols": "--data {folder}/trees.tsv --hidden_size 8 --batch_size 8 --dropout 0.1",
    "transcription": "--data {folder}/sounds.tsv --hidden_size 8 --batch_size 8 --stack 2 "
    "--augment_noise 20 --mask_time 2",
    "verification": "--data {folder}/persons.csv --hidden_size 8 --vector_size 8 --batch_size 8 "
    "--valid_fraction 0.4 --input_noise 0.1",
    "memory": "--problem parity --length 6 --hidden_size 8 --batches_per_epoch 30",
    "pole": "",
}
LEARNERS = {
    "gradient": "--epochs 3",
    "reinforce": "--updates 12 --episodes 4 --validate_every 4",
    "evolution": "--generations 12 --population 4 --validate_every 4",
}

# The task of the tests is registered before the command begins.
COMMAND = [
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(HERE)!r}); import pole; from throughtime import tasks; "
    "tasks.register(pole.Pole); from throughtime.cli.main import main; sys.exit(main())",
]


def options_of(task, folder):
    """The options that make a task small, as words of the command line."""
    if task in OPTIONS:
        return OPTIONS[task].format(folder=folder).split()
    has_units = any(field.name == "hidden_size" for field in fields(tasks.get(task).Config))
    return ["--hidden_size", "8"] if has_units else []


def small_task(task, folder):
    """A task with the settings of a small training; skips the test if its data are not there."""
    kind = pole.Pole if task == "pole" else tasks.get(task)
    parser = Parser()
    parser.add_class_arguments(kind.Config)
    small = kind(kind.Config(**parser.complete(parser.parse(options_of(task, folder)))))
    with reading_data():
        _ = small.assets
    return small


def everything():
    """Every task with the learner that is its own, and some with another."""
    own = [(name, "gradient") for name in tasks.names()]
    return [*own, ("char-lm", "evolution"), ("pole", "reinforce"), ("pole", "evolution")]


def written(folder):
    """Writes the data of the small tasks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(TEXT)
    words = [("cat", "Katze"), ("dog", "Hund"), ("house", "Haus")]
    lines = [f"the {n} {w}\tdie {n} {v}\n" for n in "abcde" for w, v in words]
    (folder / "pairs.tsv").write_text("".join(lines) * 8)
    rows = [f"{n}\tO\n{w}\tB-ANIMAL\n{v}\tO\n\n" for n in "abcde" for w, v in words]
    (folder / "tagged.txt").write_text("".join(rows) * 8)
    trees = [f"the {n} {w}\t(the ({v} {n}))\n" for n in "abcde" for w, v in words]
    (folder / "trees.tsv").write_text("".join(trees) * 8)
    (folder / "labelled.tsv").write_text(
        "".join(f"{v}\tthe {n} {w}\n" for n in "abcdefghijklmnop" for w, v in words)
    )
    for number in range(30):
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            # A tone for each letter; each recording differs a little.
            samples = [(-1) ** (n // (4 + n // 800)) * (9000 + number) for n in range(1600)]
            file.writeframes(struct.pack("<1600h", *samples))
    (folder / "sounds.tsv").write_text("".join(f"{n}.wav\tab\n" for n in range(30)))
    # Each person has a frequency of his own.
    waves = [
        f"{person}-{i},{person},{(t * (person + 2) + i) % 7},{t % (person + 2)}\n"
        for person in range(6)
        for i in range(8)
        for t in range(12)
    ]
    (folder / "persons.csv").write_text("series,label,a,b\n" + "".join(waves))
    return folder


def command(folder, task, learner, run, *more):
    """The command line of a small training; its rows and checkpoints are many."""
    options = [
        *options_of(task, folder),
        *LEARNERS[learner].split(),
        *"--save_every 0 --log_every 3 --sample_every 1000000".split(),
    ]
    return [*COMMAND, "train", task, "--learner", learner, *options, "--run", str(run), *more]


def rows(run, split=None):
    """metrics.csv without the columns that the clock writes."""
    if not run.metrics_file.is_file():
        return []
    with run.metrics_file.open(newline="") as file:
        return [
            {k: v for k, v in row.items() if k != "seconds" and "per_second" not in k}
            for row in csv.DictReader(file)
            if split in (None, row["split"])
        ]


def until(condition, process, seconds=240):
    """Waits for a condition while a process runs, which does not outlive a failure."""
    end = time.monotonic() + seconds
    try:
        while not condition():
            assert process.poll() is None, "the command ended before it was stopped"
            assert time.monotonic() < end, "the command did not get on"
            time.sleep(0.01)
    except AssertionError:
        process.kill()
        raise


def call(words, **options):
    """Runs a command, which must end well; returns its output."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout
