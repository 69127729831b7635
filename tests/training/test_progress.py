"""The progress of a training: on terminals of any width, and in log files."""

import io
import time

import pytest
from rich.console import Console

from throughtime.counted import counted, listening
from throughtime.tasks.shown import Text
from throughtime.training import progress
from throughtime.training.progress import Display

FIGURES = {"loss": 1.2344, "bits_per_character": 1.7809}


def display(width, is_terminal):
    """A display that writes into a text, and the text."""
    shown = Display("characters")
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=is_terminal, highlight=False, color_system=None
    )
    shown.console = shown._bar.live.console = console
    shown._bar.disable = not is_terminal
    shown._bar.columns[0].console = console
    return shown, out


def last_line(width, *update):
    shown, _ = display(width, True)
    shown.update(*update)
    return shown._bar.columns[0].render(shown._bar.tasks[0]).plain


@pytest.mark.parametrize("width", [20, 35, 50, 80, 120, 200])
def test_the_percentage_and_the_time_left_are_always_there(width):
    line = last_line(width, "epoch 4/10", 0.357, FIGURES, 12345.6, 45296)
    assert "35%" in line
    assert "12:34:56 left" in line
    assert len(line) <= width
    assert ("epoch 4/10" in line) == (width >= 35)
    assert ("loss 1.234" in line) == (width >= 50)
    assert ("12,346 characters/s" in line) == (width >= 120)
    assert ("━" in line) == (width >= 120)


def test_nothing_is_said_of_a_speed_that_is_not_known():
    for speed in (None, 0.0):
        assert "/s" not in last_line(200, "epoch 1/2", 0.1, FIGURES, speed, 9)


def test_all_is_done_at_the_end_only():
    assert "99%" in last_line(80, "epoch 10/10", 0.9999, {}, None, 1)
    assert "100%" in last_line(80, "epoch 10/10", 1.0, {}, None, 0)


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ((0, 200, 20, 0.0), "epoch 1/10"),
        ((79, 200, 20, 0.0), "epoch 4/10"),
        ((200, 200, 20, 0.0), "epoch 10/10"),
        # An epoch of which only a part belongs to the training.
        ((45, 50, 20, 0.0), "epoch 3/3"),
        # The time ends it in the fourth epoch: "epoch 4/10 · 100 %" would be contradictory.
        ((70, 200, 20, 1.0), "epoch 4"),
        ((70, 200, 20, 0.2), "epoch 4/10"),
        ((7, None, 20, 0.5), "step 7"),
    ],
)
def test_the_place_fits_the_percentage(update, expected):
    assert progress.place(*update) == expected


def test_a_log_file_gets_a_short_line_for_each_interval(monkeypatch):
    shown, out = display(200, False)
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shown.start()
    for now in range(0, 61, 2):
        shown.update("epoch 1/3", now / 100, FIGURES, 123456.0, 60 - now)
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0] == "epoch 1/3 · 16% · loss 1.234 · bits per character 1.781 · 0:00:44 left"
    assert all(len(line) <= 80 for line in lines)


def test_samples_are_cut_in_a_log_file_alone():
    sample = [Text("\n".join(["a" * 200, "", *(f"line {i}" for i in range(9))]))]
    shown, out = display(300, True)
    shown.show(sample)
    assert "a" * 200 in out.getvalue()
    assert "line 8" in out.getvalue()
    shown, out = display(300, False)
    shown.show(sample)
    lines = out.getvalue().splitlines()
    assert lines[0] == f"    {'a' * 75}…"
    assert lines[1:] == ["    line 0", "    line 1", "    … 7 more lines"]


def test_loops_that_count_are_shown(monkeypatch):
    shown, _ = display(80, True)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_UPDATES", 0.0)
    seen = []
    with shown.counting("validation"):
        for _ in counted("writing", ["a", "b", "c", "d"]):
            seen.append(shown._bar.columns[0].render(shown._bar.tasks[0]).plain)
        last = shown._bar.columns[0].render(shown._bar.tasks[0]).plain
    for line, share in zip([*seen[1:], last], (25, 50, 75, 100), strict=True):
        assert f"validation: writing · {share}% · 0:00:0" in line


def test_counting_changes_nothing_and_ends_with_its_context():
    assert list(counted("adding", [1, 2])) == [1, 2]
    calls = []
    with listening(lambda *call: calls.append(call)):
        assert list(counted("adding", [1, 2])) == [1, 2]
    assert calls == [("adding", 0, 2), ("adding", 1, 2), ("adding", 2, 2)]
    list(counted("adding", [1, 2]))
    assert len(calls) == 3
