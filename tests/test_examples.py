"""The example scripts run, and their results are as stated."""

import runpy
import shutil
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def main_of(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def test_hello_is_learned_letter_by_letter():
    assert main_of("hello")() == "hello"


def test_the_thirty_first_character_is_guessed_better_than_by_chance():
    right, chance = main_of("next_character")(steps=150)
    assert right > chance + 0.1


def test_only_the_recurrent_network_can_count_ones():
    accuracies = main_of("neurone_to_network")()
    assert accuracies["recurrent"] > 0.99
    assert accuracies["neurone"] < 0.7
    assert accuracies["feed-forward"] < 0.7


def test_words_are_written_backwards():
    assert main_of("backwards")() > 0.99


needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is installed")


@needs_cc
def test_a_circuit_is_learned_and_runs_as_c():
    error, factor = main_of("diode_clipper")(steps=15, rows=32)
    assert error < 0.6
    assert factor > 0


@needs_cc
def test_motors_are_driven_by_c():
    pi, learned, in_c = main_of("motor_control")(steps=15, rows=8)
    assert pi < 0.4
    assert learned < 0.4
    # Other motors, drawn anew.
    assert abs(in_c - learned) < 0.06


@pytest.mark.slow
@needs_cc
def test_the_learned_effect_and_the_learned_controller_are_good():
    assert main_of("diode_clipper")()[0] < 0.01
    pi, learned, _ = main_of("motor_control")()
    assert learned < pi


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_an_example_is_short(path):
    assert len(path.read_text().splitlines()) <= 60
