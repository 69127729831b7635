"""The report page shows the content of the run folder."""

import csv
import html
import json
import re

import pytest

from throughtime.inspection.report import write_report
from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.run import Run
from throughtime.tasks.shown import Text
from throughtime.training.journal import Journal


@pytest.fixture
def run(tmp_path):
    text = tmp_path / "text <b>.txt"
    text.write_text("the cat sat on the mat.\n" * 40)
    run = Run(tmp_path / "run")
    run.create(CharLM(CharLMConfig(str(text))), {"clip_norm": 1.0, "epochs": 3})
    return run


def filled(run, num):
    journal = Journal(run, ["loss", "gradient_norm", "learning_rate"], 0)
    for step in range(1, num + 1):
        figures = {"loss": 3 / step, "gradient_norm": 0.5, "learning_rate": 0.01}
        journal.record(step, step / 10, step, "train", figures)
    journal.record(num, 1.0, num, "valid", {"loss": 1.25})
    journal.show(num, [Text("<script>alert(1)</script> & more")])
    journal.close()
    return write_report(run).read_text(encoding="utf-8")


def test_it_shows_curves_figures_samples_and_settings(run):
    page = filled(run, 30)
    assert page.count("<svg") == 3
    for title in ("Loss", "Norm of the gradient before clipping", "Learning rate"):
        assert f"<h2>{title}</h2>" in page
    assert "Best validation at step 30: loss 1.2500" in page
    assert "<td>clip_norm</td><td>1.0</td>" in page


def test_text_from_outside_cannot_become_markup(run):
    page = filled(run, 3)
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "text &lt;b&gt;.txt" in page


HOSTILE = "</pre></svg>--><script>alert(1)</script><!-- $\\frac{$ &"


def test_no_value_of_any_file_becomes_markup_or_a_formula(run):
    filled(run, 3)
    # Anybody may have written the files of a run folder.
    config = json.loads(run.config_file.read_text())
    config["task"] = config["assets"]["data"] = HOSTILE + "\ud800"
    for part in ("settings", "training", "versions"):
        config[part] |= {HOSTILE: HOSTILE, "other": [HOSTILE, "\ud800"]}
    run.config_file.write_text(json.dumps(config))
    rows = list(csv.reader(run.metrics_file.read_text().splitlines()))
    rows = [[*row, *(["2", "3"] if "valid" in row else ["", ""])] for row in rows]
    rows[0][-2:] = HOSTILE, f"other {HOSTILE}"
    with run.metrics_file.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    run.samples_file.write_text(f"=== step 3 ===\n{HOSTILE}\n")
    token = {"source": [HOSTILE], "target": [HOSTILE], "weights": [[1.0]], "title": HOSTILE}
    run.attention_file.write_text(json.dumps({"step": HOSTILE, "maps": [token]}))
    page = write_report(run).read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("</svg>") == page.count("<svg") == 5
    escaped = html.escape(HOSTILE)
    assert f"<h2>Attention at step {escaped}</h2>" in page
    assert f"<figcaption>{escaped}</figcaption>" in page
    assert page.count(f"<td>{escaped}</td><td>{escaped}</td>") == 1
    assert f"<pre><span>{escaped}</span></pre>" in page


def test_each_line_of_a_sample_wraps_by_itself(run):
    filled(run, 3)
    run.samples_file.write_text("=== step 3 ===\n    if a:\n\n        b\n\n\n")
    page = write_report(run).read_text(encoding="utf-8")
    assert "<pre><span>    if a:</span><span></span><span>        b</span></pre>" in page
    assert "overflow-x" not in page


@pytest.mark.parametrize(
    ("training", "explanation", "is_marked"),
    [
        (
            {"warmup_steps": 4, "decay": "cosine"},
            "It is the product of learning_rate, a warm-up from 0 to 1 over 4 steps (warmup_steps) "
            "and a decay from 1 to 0 along half a cosine over the whole training (decay). A run",
            True,
        ),
        ({"warmup_steps": None, "decay": "linear"}, "a warm-up from 0 to 1 over 3 steps", True),
        ({"warmup_steps": 0, "decay": "none"}, "It is learning_rate at all steps.", False),
        (
            {"warmup_steps": 90, "decay": "cosine"},
            "The warm-up is longer than the training so far.",
            False,
        ),
        ({"warmup_steps": 0, "decay": "linear", "max_time": 5.0}, "or the time (max_time)", False),
    ],
)
def test_the_kinks_of_the_learning_rate_are_explained(run, training, explanation, is_marked):
    config = json.loads(run.config_file.read_text())
    config["training"] = training
    run.config_file.write_text(json.dumps(config))
    journal = Journal(run, ["loss", "learning_rate"], 0)
    for step, rate in enumerate([0.1, 0.2, 0.3, 0.2, 0.1], 1):
        journal.record(step, step / 10, step, "train", {"loss": 1.0, "learning_rate": rate})
    journal.close()
    page = write_report(run).read_text(encoding="utf-8")
    assert explanation in page
    assert ("end of the warm-up" in page) == is_marked


def test_the_letters_of_a_chart_are_readable_on_a_phone(run):
    page = filled(run, 30)
    widths = [float(width) for width in re.findall(r'<svg [^>]*viewBox="0 0 ([\d.]+) ', page)]
    sizes = [float(size) for size in re.findall(r"font: ([\d.]+)px", page)]
    assert len(widths) == 3
    # A phone of 400 pixels leaves 368 to a chart.
    assert min(sizes) * 368 / max(widths) >= 9


def test_it_needs_nothing_from_elsewhere(run):
    page = filled(run, 3)
    assert not re.search(r"""(src|href)\s*=\s*["']https?:""", page)
    assert "@import" not in page


def test_a_long_training_does_not_make_a_long_page(run):
    assert len(filled(run, 20_000)) < 300_000


def test_a_run_that_has_recorded_nothing_has_a_page_too(run):
    page = write_report(run).read_text(encoding="utf-8")
    assert "No validation yet." in page
    assert page.count("Nothing recorded yet.") == 3
