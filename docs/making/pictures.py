"""The pictures of README.md, docs/gallery.md and docs/associations.md.

    python docs/making/pictures.py                # trains two models for minutes, draws all
    python docs/making/pictures.py gates speed    # these alone
    python docs/making/pictures.py --runs FOLDER  # keeps the models there, and uses what is there

The picture of a web page needs Chromium: the program ``chromium``, or what CHROMIUM names.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from PIL import Image

import throughtime as tt
from throughtime.cli.main import main as throughtime
from throughtime.inspection.measures.correlation import followers
from throughtime.inspection.measures.text_properties import PROPERTIES
from throughtime.inspection.pictures.texts import coloured_text
from throughtime.inspection.recording import record
from throughtime.tasks.run import Run

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
MOST_BYTES = 200_000
"""A picture must not be larger, as each is part of the repository."""

TRAININGS = {
    "plays": "char-lm --data tinyshakespeare --cell lstm-peephole --hidden_size 128 --max_time 4",
    "shakespeare": "char-lm --data tinyshakespeare --max_time 12 --epochs 100",
    "finnish": f"inflection --config {ROOT}/recipes/inflection/finnish-high.yaml --max_time 6",
}
WORD = "kirjasto N;IN+ESS;PL"
LINE = "KING HENRY:\nWhat is the matter, my good lord?\n"
# As a page is shown on a machine that has no network, without Chromium's own connections.
CHROMIUM = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()

mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})


def trained(runs: Path, name: str) -> Path:
    """The run folder of a training, which is done if the folder is not there."""
    folder = runs / name
    if not folder.exists():
        task, *words = TRAININGS[name].split()
        if throughtime(["train", task, *words, "--run", str(folder)]) != 0:
            raise SystemExit(f"the training {name} failed")
    return folder


def shot(page: Path, width: int, height: int) -> Image.Image:
    """The top of a web page, as a browser shows it."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        raise SystemExit(f"{page.name}: expected Chromium on the path or in CHROMIUM, found none")
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "shot.png"
        size = f"--window-size={width},{height}"
        options = [f"--user-data-dir={folder}/profile", size, "--virtual-time-budget=5000"]
        words = [program, *CHROMIUM, *options, f"--screenshot={drawn}", page.resolve().as_uri()]
        subprocess.run(words, check=True, capture_output=True, timeout=120)
        return Image.open(io.BytesIO(drawn.read_bytes()))


def report(runs: Path) -> Image.Image:
    """The top of the report of a language model."""
    return shot(trained(runs, "plays") / "report.html", 900, 1150)


def lens(runs: Path) -> Image.Image:
    """The page of the lens: a language model while it reads a play that it never saw."""
    run = trained(runs, "shakespeare")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        throughtime(["inspect", str(run), "--example", "1", "--html", str(page)])
        return shot(page, 1280, 860)


def lecture(runs: Path) -> Image.Image:
    """The page of a cell: equations, graph, and a small network."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        throughtime(["inspect", "--cell", "lstm-peephole", "--html", str(page)])
        return shot(page, 1280, 2300).resize((896, 1610), Image.Resampling.LANCZOS)


def unit(runs: Path) -> Image.Image:
    """Held-out text, coloured by the unit that follows the length of the line so far."""
    loaded = tt.load_run(trained(runs, "shakespeare"))
    task = loaded.task
    (text,) = task.held_out(20_000)
    recording = record(task, loaded.model, text)
    best = followers([recording], PROPERTIES["line length so far"])[0]
    # Whole lines from the middle of the text.
    begin = text.index("\n", len(text) // 2) + 1
    end = begin
    for _ in range(14):
        end = text.index("\n", end) + 1
    values = recording.values[best.name][begin:end, best.unit]
    title = f"{best.name}, unit {best.unit}: correlation {best.correlation:+.2f} on held-out text"
    return drawn_as_image(coloured_text(text[begin:end], values, title))


def attention(runs: Path) -> Image.Image:
    """Where a model that inflects words looks in its source."""
    run = trained(runs, "finnish")
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "map.png"
        throughtime(["predict", str(run), "--text", WORD, "--attention", str(drawn)])
        image = Image.open(io.BytesIO(drawn.read_bytes()))
    image.thumbnail((1100, 1100))
    return image


def gates(runs: Path) -> Image.Image:
    """The mean of each gate over the units of the last layer, while the model reads a line."""
    run = Run(trained(runs, "plays"))
    task = run.task()
    model = run.load_model(task)
    tokens = task.vocabulary.encode(LINE).unsqueeze(0)
    with torch.no_grad():
        _, _, seen = model.recurrent(model.embedding(tokens), return_trace=True)
    last = model.num_layers - 1
    rows = torch.stack([seen[f"{gate}_l{last}"][0].mean(-1) for gate in "ifo"])  # (3, T)
    figure = Figure(figsize=(9, 1.7), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(rows, aspect="auto", cmap="viridis", vmin=0, vmax=1)
    axes.set_yticks(range(3), ["input gate i", "forget gate f", "output gate o"])
    axes.set_xticks(range(len(LINE)), [c if c.strip() else {" ": "␣"}.get(c, "↵") for c in LINE])
    axes.tick_params(length=0)
    figure.colorbar(image, pad=0.01)
    return drawn_as_image(figure)


def gradients(runs: Path) -> Image.Image:
    """The norm of the gradient of the last output with respect to the input some steps before."""
    steps = 100
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    for cell, options, label in (
        ("rnn-tanh", {}, "simple network"),
        ("gru", {}, "GRU"),
        ("lstm", {}, "LSTM"),
        ("lstm", {"forget_bias": 3.0}, "LSTM, forget bias 3"),
        ("lstm", {"forget_bias": "chrono", "chrono_steps": steps}, "LSTM, chrono start"),
    ):
        torch.manual_seed(0)
        layer = tt.Recurrent(cell, 10, 64, dtype=torch.float64, **options)
        x = torch.randn(steps, 32, 10, dtype=torch.float64, requires_grad=True)
        layer(x)[0][-1].sum().backward()
        norms = x.grad.norm(dim=(1, 2)).flip(0)
        axes.semilogy(range(steps), norms / norms[0], label=label)
    axes.set_xlabel("steps back")
    axes.set_ylabel("gradient, relative to the last step")
    axes.set_ylim(1e-12, 10)
    axes.legend(frameon=False, fontsize=8)
    return drawn_as_image(figure)


def speed(runs: Path) -> Image.Image:
    """How many times as long ``torch.nn`` takes, from benchmarks/results."""
    figure = Figure(figsize=(6, 1.9), layout="constrained")
    axes = figure.add_subplot()
    names = ("rnn", "gru", "lstm")
    for offset, mode in ((-0.19, "inference"), (0.19, "training")):
        means = []
        for name in names:
            file = ROOT / "benchmarks" / "results" / f"kernels-{name}.json"
            points = json.loads(file.read_text())["points"]
            ratios = [p["ratios"]["torch"] for p in points if p["mode"] == mode]
            means.append(statistics.geometric_mean(ratios))
        bars = axes.barh([i + offset for i in range(3)], means, height=0.36, label=mode)
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(3), [name.upper() for name in names])
    axes.set_xlabel("time of torch.nn / our time")
    figure.legend(frameon=False, fontsize=8, loc="outside right")
    return drawn_as_image(figure)


ASSOCIATIONS = {
    "one to one": ([0], [0], 1),
    "one to many": ([0], [0, 1, 2], 3),
    "many to one": ([0, 1, 2], [2], 3),
    "many to many,\none output for each step": ([0, 1, 2], [0, 1, 2], 3),
    "many to many,\nof different lengths": ([0, 1, 2], [2, 3], 4),
}
"""Each kind of mapping: the steps with an input, those with an output, and the number of steps."""


def associations(runs: Path) -> Image.Image:
    """The kinds of mappings, unfolded through time."""
    widths = [steps for _, _, steps in ASSOCIATIONS.values()]
    figure = Figure(figsize=(10, 2.4), layout="constrained")
    panels = figure.subplots(1, len(ASSOCIATIONS), width_ratios=[max(2, w) for w in widths])
    arrow = {"arrowstyle": "-|>", "color": "black", "shrinkA": 9, "shrinkB": 9}
    for axes, (title, (inputs, outputs, steps)) in zip(panels, ASSOCIATIONS.items(), strict=True):
        axes.set_title(title, fontsize=9)
        axes.set_xlim(-0.5 - (steps == 1) / 2, steps - 0.5 + (steps == 1) / 2)
        axes.set_ylim(-0.5, 2.5)
        axes.axis("off")
        nodes = [(t, 0, "$x$", "#ffe0b8") for t in inputs]
        nodes += [(t, 1, "$h$", "#dddddd") for t in range(steps)]
        nodes += [(t, 2, "$y$", "#bcd7f5") for t in outputs]
        for t, row, letter, colour in nodes:
            box = {"boxstyle": "square,pad=0.35", "facecolor": colour, "edgecolor": "black"}
            axes.text(t, row, letter, ha="center", va="center", bbox=box)
        ends = [((t, 0), (t, 1)) for t in inputs] + [((t, 1), (t, 2)) for t in outputs]
        ends += [((t - 1, 1), (t, 1)) for t in range(1, steps)]
        for begin, end in ends:
            axes.annotate("", end, begin, arrowprops=arrow)
    return drawn_as_image(figure)


def drawn_as_image(figure: Figure) -> Image.Image:
    """A figure of Matplotlib as a picture."""
    file = io.BytesIO()
    figure.savefig(file, dpi=130, metadata={"Software": None})
    return Image.open(file)


DRAWN: dict[str, Callable[[Path], Image.Image]] = {
    "report": report,
    "attention": attention,
    "gates": gates,
    "gradients": gradients,
    "speed": speed,
    "lens": lens,
    "lecture": lecture,
    "unit": unit,
    "associations": associations,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the pictures of the documentation.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(DRAWN)} (all)")
    parser.add_argument("--runs", type=Path, default=Path("runs", "pictures"))
    given = parser.parse_args()
    unknown = set(given.names) - set(DRAWN)
    if unknown:
        parser.error(f"unknown pictures: {', '.join(sorted(unknown))}")
    PICTURES.mkdir(exist_ok=True)
    for name in given.names or DRAWN:
        path = PICTURES / f"{name}.png"
        # Few colours suffice for drawings, and make a third of the bytes.
        DRAWN[name](given.runs).convert("RGB").quantize(256).save(path, optimize=True)
        size = path.stat().st_size
        print(f"{path.relative_to(ROOT)}: {size / 1000:.0f} kB")
        if size > MOST_BYTES:
            raise SystemExit(f"{path}: expected at most {MOST_BYTES / 1000:.0f} kB")


if __name__ == "__main__":
    main()
