"""throughtime predict RUN: what a trained model makes of each line of an input."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

from throughtime.cli import completion
from throughtime.cli.lines import read_lines
from throughtime.cli.opening import open_run, options_of
from throughtime.cli.parser import Parser
from throughtime.data import one_line
from throughtime.inspection.attention_map import can_write_attention, write_attention
from throughtime.tasks.task import NoOptions, Task
from throughtime.tasks.uses import AttentionMap, Explains, Prediction, Predicts

__all__ = ["main"]

_MOST_MAPS = 50


def main(argv: Sequence[str]) -> int:
    run, task = open_run("predict", argv, Predicts, "whose model makes something of an input")
    parser = _parser(task)
    given = parser.parse(argv)
    args = parser.complete(given)
    if args["text"] is not None:
        for name in ("files", "batch_size"):
            if given.get(name):
                parser.error(
                    f"{'--' if name == 'batch_size' else ''}{name} is for the lines of the input, "
                    "and would have no effect on one"
                )
        try:
            args["text"] = one_line(args["text"])
        except ValueError as error:
            parser.error(f"--text: {error}; several are read from the input")
    if args["batch_size"] < 1:
        parser.error(f"--batch_size: expected at least 1, got {args['batch_size']}")
    pictures = _Pictures(Path(args["attention"])) if args["attention"] is not None else None
    assert run is not None
    assert isinstance(task, Predicts)
    options = options_of(parser, task.PredictionOptions, args)
    if pictures is not None:
        can_write_attention(pictures.path)
        reason = task.nothing_to_explain if isinstance(task, Explains) else "no attention"
        if reason:
            raise ValueError(
                f"{run.folder}: was trained with {reason}, so there is nothing to draw. Leave "
                "--attention out."
            )
    model = run.load_model(task)
    inputs = _inputs(args["text"], args["files"], args["batch_size"])
    remarks = _Remarks()
    explain: dict[str, Any] = {} if pictures is None else {"explain": True}
    predicted = task.predictions(model, inputs, options, remarks.say, **explain)
    with (
        _output(args["output"]) as write,
        closing(cast(Any, predicted)) as predictions,
    ):
        try:
            for number, prediction in enumerate(predictions, 1):
                write(_in_json(number, prediction) if args["json"] else _in_lines(prediction))
                if pictures is not None:
                    pictures.add(number, prediction.attention)
        except BrokenPipeError:
            # Who has read enough wants no summary.
            remarks.is_quiet = True
            raise
        finally:
            if pictures is not None and not remarks.is_quiet:
                # First what the task has to say of the input.
                predictions.close()
                pictures.write(remarks.say)
    return 0


def _parser(task: Task | None) -> Parser:
    about = "Reads lines (UTF-8), and writes for each what the model makes of it"
    if isinstance(task, Predicts):
        about = f"Reads lines (UTF-8), each {task.reads}, and writes for each {task.writes}"
    parser = Parser(
        prog="throughtime predict",
        description=f"{about}: as soon as it is known, in the same order, an empty line for an "
        "empty line.",
    )
    parser.completers = {"run": completion.run_folders}
    parser.add_argument("run", type=str, help="the run folder")
    parser.add_argument(
        "files",
        type=str,
        nargs="*",
        default=[],
        help="files to read, one behind the other; else the input",
    )
    parser.add_argument("--text", type=str | None, help="one line, instead of those of the input")
    parser.add_argument(
        "--json", type=bool, default=False, help="write a JSON object for each line"
    )
    parser.add_argument("--output", type=str | None, help="a file to write, instead of the output")
    parser.add_argument(
        "--batch_size", type=int, default=64, help="lines that are read together, at most"
    )
    parser.add_argument(
        "--attention",
        type=str | None,
        help=f"a file (.html or .png) for where the model looked, of the first {_MOST_MAPS} lines",
    )
    parser.add_class_arguments(task.PredictionOptions if isinstance(task, Predicts) else NoOptions)
    return parser


def _inputs(text: str | None, files: Sequence[str], batch_size: int) -> Iterator[list[str]]:
    if text is not None:
        yield [text]
    elif files:
        for name in files:
            with Path(name).open("rb") as file:
                try:
                    yield from read_lines(cast(io.BufferedIOBase, file), batch_size)
                except ValueError as error:
                    raise ValueError(f"{name}, {error}") from error
    else:
        if sys.stdin is None:
            raise ValueError("expected lines on the input, got a closed one. Use --text.")
        if sys.stdin.isatty():
            _say("a line, Enter, and its output follows; Ctrl-D ends")
        yield from read_lines(cast(io.BufferedIOBase, sys.stdin.buffer), batch_size)


@contextmanager
def _output(name: str | None) -> Iterator[Callable[[str], None]]:
    """Writes to the file, or to the output, each piece at once."""
    if name is not None:
        if not Path(name).parent.is_dir():
            raise ValueError(f"--output: there is no folder {Path(name).parent}. Make it first.")
        with Path(name).open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield _writer(file)
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What is read as UTF-8 is written so, whatever the terminal is set to.
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    yield _writer(sys.stdout)


def _writer(stream: TextIO) -> Callable[[str], None]:
    def write(piece: str) -> None:
        stream.write(piece)
        stream.flush()

    return write


def _in_lines(prediction: Prediction) -> str:
    return "".join(f"{line}\n" for line in prediction.lines)


def _in_json(number: int, prediction: Prediction) -> str:
    return json.dumps({"line": number, **prediction.record}, ensure_ascii=False) + "\n"


@dataclass
class _Remarks:
    """What the task says, until nobody wants to hear it."""

    is_quiet: bool = False

    def say(self, text: str) -> None:
        if not self.is_quiet:
            _say(text)


@dataclass
class _Pictures:
    """Where the model looked, of the first lines."""

    path: Path
    maps: list[AttentionMap] = field(default_factory=list)
    num: int = 0

    def add(self, number: int, attention: AttentionMap | None) -> None:
        if attention is not None:
            self.num += 1
            if len(self.maps) < _MOST_MAPS:
                self.maps.append(attention._replace(title=f"{number}: {attention.title}"))

    def write(self, say: Callable[[str], None]) -> None:
        if not self.maps:
            say(f"no line has an output with attention, so {self.path} was not written.")
            return
        write_attention(self.path, self.maps)
        if self.num > len(self.maps):
            say(f"{self.path}: shows the first {len(self.maps)} of {self.num} lines.")


def _say(text: str) -> None:
    print(f"throughtime predict: {text}", file=sys.stderr, flush=True)
