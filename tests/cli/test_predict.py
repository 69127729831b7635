"""throughtime predict: lines in, lines out, as a user and a pipe see it."""

import io
import re
import signal
import subprocess
import sys

import pytest

from throughtime.cli import predict
from throughtime.cli.lines import LONGEST_LINE, read_lines
from throughtime.cli.main import main
from throughtime.tasks.run import Run
from throughtime.tasks.unknown_tokens import UnknownTokens

SMALL = "--digits 2 --num_pairs 300 --num_test 20 --hidden_size 16 --batch_size 16".split()
SMALL += "--learning_rate 0.03 --warmup_steps 5 --epochs 8 --validate_every 999".split()
SMALL += "--network two --attention general --bidirectional".split()
COMMAND = [sys.executable, "-m", "throughtime.cli.main", "predict"]


def trained(folder, *options):
    assert main(["train", "addition", *SMALL, *options, "--run", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "blind", "--attention=none", "--epochs=1")


@pytest.fixture
def said(capsys, monkeypatch):
    """Runs the command on an input; returns its exit status, output and errors."""

    def call(*argv, given=b""):
        lines = None if given is None else io.TextIOWrapper(io.BytesIO(given))
        monkeypatch.setattr(sys, "stdin", lines)
        capsys.readouterr()
        try:
            status = main(["predict", *map(str, argv)])
        except SystemExit as stop:
            status = stop.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


# What is written.


def test_every_line_has_its_output_in_its_place(run, said):
    lines = [f"{a}+{b}" for a in range(40) for b in (3, 77)]
    status, out, err = said(run, given="\n".join(lines).encode())
    assert (status, err) == (0, "")
    task = Run(run).task()
    model = Run(run).load_model(task)
    # The task reads a sum from its end, filled up with spaces; its user need not.
    expected = task.rewrite(model, [line.ljust(5)[::-1] for line in lines])
    assert out == "".join(f"{text}\n" for text in expected)
    assert len(set(expected)) > 3
    small = said(run, "--batch_size", 3, given="\n".join(lines).encode())
    assert small[1] == out


def test_empty_lines_stay_empty_and_line_ends_may_be_those_of_windows(run, said):
    _, out, _ = said(run, given=b"\xef\xbb\xbf1+2\r\n\r\n\n3+4\r\n")
    first, second = said(run, given=b"1+2\n3+4\n")[1].splitlines()
    assert out.split("\n") == [first, "", "", second, ""]
    assert said(run)[:2] == (0, "")


def test_a_line_may_be_given_as_an_option(run, said):
    assert said(run, "--text", "12+34")[1] == said(run, given=b"12+34\n")[1]
    assert said(run, "--text", "12+34\r\n")[1] == said(run, given=b"12+34\n")[1]
    # What ends no line of the input ends none here.
    for odd in ("\x85", "\x0b", "\x0c", "\u2028", "\u2029"):
        status, out, _ = said(run, "--text", f"1+2{odd}3")
        assert (status, out) == (0, said(run, given=f"1+2{odd}3\n".encode())[1])
    assert said(run, "--text", "")[1] == "\n"


def test_the_best_outputs_come_with_line_and_score(run, said):
    _, out, _ = said(run, "--n_best", 3, "--beam_width", 5, given=b"12+34\n\n5+6")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "1", "2", "3", "3", "3"]
    assert rows[3][1:] == ["0.0000", ""]
    for of_line in (rows[:3], rows[4:]):
        scores = [float(score) for _, score, _ in of_line]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] < 0
        assert len({text for _, _, text in of_line}) == 3
    # The first of them is what is written without the option.
    plain = said(run, "--beam_width", 5, given=b"12+34\n\n5+6")[1].splitlines()
    assert plain == [rows[0][2], "", rows[4][2]]
    # Where no width is given it is as wide as needed.
    assert len(said(run, "--n_best", 3, "--text", "1+1")[1].splitlines()) == 3


def test_the_power_of_the_length_divides_the_score(run, said):
    def score(power):
        out = said(run, "--n_best", 1, "--length_power", power, "--text", "12+34")[1]
        return float(out.split("\t")[1]), out.split("\t")[2]

    (sum_, text), (mean, same) = score(0), score(1)
    assert same == text
    # Digits, a space, and the end.
    assert sum_ / mean == pytest.approx(len(text.removesuffix("\n")) + 1, rel=1e-3)


# What is said of the input.


def test_what_is_unknown_is_counted_and_named(run, said):
    status, out, err = said(run, given=b"1+x\ny+x\n1+1\n")
    assert status == 0
    assert len(out.splitlines()) == 3
    assert "3 of 15 characters (20.00 %) are unknown" in err
    assert "'x' (2), 'y' (1)" in err


def test_no_more_than_so_many_unknown_words_are_kept(run, said, monkeypatch):
    monkeypatch.setattr(UnknownTokens, "MOST", 2)
    assert "'a' (1), 'b' (1); and 2 others" in said(run, given=b"a\nb\nc\nd\n")[2]


def test_a_line_far_longer_than_the_training_is_warned_of(run, said):
    long = b"1+2+3+4+5+6+7\n"
    _, out, err = said(run, given=b"1+2\n" + 7 * long)
    assert len(out.splitlines()) == 8
    assert re.search(r"line 2: has 13 characters, the longest of the training 5\.", err)
    assert "line 6: " in err
    assert "line 7: " not in err
    assert "2 more lines are as long." in err
    assert "are read" not in err


def test_a_line_beyond_all_measure_is_cut_and_told(run, said, tmp_path):
    long = b"1+2" * 100_000 + b"\n"
    picture = tmp_path / "map.html"
    _, out, err = said(run, "--attention", picture, given=b"1+2\n" + long)
    assert re.search(
        r"line 2: has 300,000 characters, the longest of the training 5\. "
        r"Only its first 1,000 are read; cut it into shorter ones\.",
        err,
    )
    assert "in all" not in err
    first, second = out.splitlines()
    assert len(second) <= 2026
    page = picture.read_text(encoding="utf-8")
    assert re.search(r"1\+21… → .* \(of 300,000 tokens the first 500, of [\d,]+ the first", page)
    assert len(page) < 2_000_000
    # The line before it is translated as if it stood alone; where it was cut its end is not read.
    assert said(run, given=b"1+2\n")[1] == first + "\n"
    assert said(run, given=b"9" * 1000 + long)[1] == second + "\n"
    _, _, err = said(run, given=7 * (b"1+2" * 400 + b"\n") + 2 * b"1+2+3+4+5+6+7\n")
    assert "4 more lines are as long." in err
    assert "Of 7 in all only the first 1,000 characters were read." in err


def test_a_long_unknown_word_is_kept_by_its_beginning(run, said, monkeypatch):
    from throughtime.data import CharacterTokeniser

    monkeypatch.setattr(CharacterTokeniser, "unknown", lambda self, text: [text])
    err = said(run, given=b"x" * 5000 + b"\n" + b"x" * 6000 + b"\n")[2]
    assert (
        f"2 of 11,000 characters (0.02 %) are unknown, 1 different ones: '{'x' * 60}…' (2)" in err
    )


def test_bytes_that_are_no_text_end_it_and_what_was_before_stays(run, said):
    status, out, err = said(run, given=b"1+2\n\n4+\xff5\n1+1\n")
    assert status == 1
    assert out == said(run, given=b"1+2\n\n")[1]
    assert "line 3, byte 3: expected UTF-8, got the byte 0xff. Convert the text" in err


def test_a_line_without_an_end_does_not_fill_the_memory():
    class Endless(io.RawIOBase):
        read = 0

        def read1(self, size):
            Endless.read += size
            return b"a" * size

    with pytest.raises(ValueError, match="line 1: expected at most 1,048,576 bytes in a line"):
        list(read_lines(Endless(), 8))
    assert Endless.read < 2 * LONGEST_LINE
    (longest,) = read_lines(io.BytesIO(b"a" * LONGEST_LINE + b"\r\n"), 8)
    assert [len(line) for line in longest] == [LONGEST_LINE]


def test_lines_are_given_as_they_come():
    class Slow(io.RawIOBase):
        chunks = [b"a\nb", b"\nc\nd\ne\n", b"", b"never"]  # noqa: RUF012

        def read1(self, size):
            return self.chunks.pop(0)

    assert list(read_lines(Slow(), 2)) == [["a"], ["b", "c"], ["d", "e"]]


# Where it looked.


def test_the_page_shows_where_the_model_looked_for_each_line(run, said, tmp_path):
    said(run, "--attention", tmp_path / "map.html", given=b"12+34\n\n<b>+5\n")
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "1: 12+34 → " in page
    assert "3: &lt;b&gt;+5 → " in page
    assert "<b>" not in page
    assert not re.search(r"""(src|href)\s*=\s*["']https?:""", page)


def test_the_picture_shows_it_too_and_only_of_the_first_lines(run, said, tmp_path, monkeypatch):
    from matplotlib.image import imread

    sizes = {}
    for number in (1, 2, 3):
        monkeypatch.setattr(predict, "_MOST_MAPS", number)
        file = tmp_path / f"{number}.png"
        err = said(run, "--attention", file, "--beam_width", 2, given=b"1+2\n2+3\n3+4\n")[2]
        sizes[number] = imread(file).shape[0]
        assert (f"shows the first {number} of 3 lines" in err) == (number < 3)
    assert sizes[1] < sizes[2] < sizes[3]
    assert "was not written" in said(run, "--attention", tmp_path / "4.png", given=b"\n")[2]
    assert not (tmp_path / "4.png").exists()


# What is refused.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beam_width", "0"], "--beam_width: expected at least 1, got 0"),
        (["--batch_size", "-1"], "--batch_size: expected at least 1, got -1"),
        (["--n_best", "3", "--beam_width", "2"], "--n_best: expected at most --beam_width 2, got"),
        (["--length_power", "2"], "--length_power ranks the hypotheses of a beam"),
        (["--length_power", "-1", "--n_best=1"], "--length_power: expected 0 or more, got -1"),
        (["--text", "a\nb"], "--text: expected one line, got 2; several are read from the input"),
        (["--text", "a\rb"], "--text: expected one line, got 2"),
        (["--text", "a", "--batch_size", "2"], "--batch_size is for the lines of the input"),
        (["--attention", "map.pdf"], "expected a name that ends with .html or .png"),
        (["--attention", "nowhere/map.png"], "there is no folder nowhere"),
        (["--beam_widht", "2"], 'did you mean "--beam_width"'),
    ],
    ids=" ".join,
)
def test_options_that_do_not_fit_are_refused(run, said, options, message):
    status, out, err = said(run, *options, given=b"1+2\n")
    assert status in (1, 2)
    assert out == ""
    assert message in err


def test_runs_of_other_kinds_are_refused(said, blind, tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 40)
    options = "--hidden_size 4 --num_layers 1 --batch_size 2 --num_steps 10 --epochs 1".split()
    main(["train", "char-lm", "--data", str(tmp_path / "text.txt"), *options,
          "--run", str(tmp_path / "run")])  # fmt: skip
    status, _, err = said(tmp_path / "run", "--text", "a")
    assert status == 1
    assert "expected a run of a task whose model reads lines, got one of char-lm" in err
    assert "expected a run folder" in said("nowhere", "--text", "a")[2]
    err = said(blind, "--attention", tmp_path / "map.html", "--text", "1+2")[2]
    assert "was trained with attention=none, so there is nothing to draw" in err
    assert len(said(blind, "--text", "1+2")[1].splitlines()) == 1


# Pipes.


def test_a_pipe_is_answered_line_by_line_until_ctrl_c(run):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, str(run)], **pipes) as process:
        for line in (b"1+2\n", b"\n", b"3+x\n"):
            process.stdin.write(line)
            process.stdin.flush()
            # The answer comes while the pipe is open, or this waits for ever.
            assert process.stdout.readline().endswith(b"\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in err
    assert b"'x' (1)" in err


def test_an_endless_input_and_a_reader_that_has_enough(run):
    pipe = f"yes 1+z | {' '.join(COMMAND)} {run} | head -n 3"
    done = subprocess.run(pipe, shell=True, capture_output=True, timeout=60, check=True)
    assert done.stdout.count(b"\n") == 3
    assert done.stderr == b""


def test_help_names_every_option(said, run):
    status, out, _ = said(run, "--help")
    assert status == 0
    for option in ("text", "beam_width", "n_best", "length_power", "batch_size", "attention"):
        assert f"--{option}" in out


def test_a_closed_input_is_told(run, said):
    status, _, err = said(run, given=None)
    assert status == 1
    assert "expected lines on the standard input, but it is closed" in err
