"""throughtime predict RUN: writes the output of a trained model for each line of an input."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from throughtime.reading import path_of
from throughtime.tasks.task import NoOptions, Task
from throughtime.tasks.uses import AttentionMap, Explains, Hears, Prediction, Predicts, ReadsFiles

__all__ = ["main"]

_MOST_MAPS = 50


def main(argv: Sequence[str]) -> int:
    run, task = open_run("predict", argv, Predicts, "whose model reads lines")
    parser = _parser(task)
    options_of_call = parser.parse(argv)
    args = parser.complete(options_of_call)
    if args["text"] is not None:
        for name in ("files", "batch_size"):
            if options_of_call.get(name):
                parser.error(
                    f"{'--' if name == 'batch_size' else ''}{name} is for the lines of the input, "
                    "and would have no effect beside --text"
                )
        try:
            args["text"] = one_line(args["text"])
        except ValueError as error:
            parser.error(f"--text: {error}; several are read from the input")
    if args["batch_size"] < 1:
        parser.error(f"--batch_size: expected at least 1, got {args['batch_size']}")
    pictures = (
        _Pictures(path_of("--attention", args["attention"]))
        if args["attention"] is not None
        else None
    )
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
    model = run.load_model(task, args["step"])
    files, remarks = args["files"], _Remarks()
    if isinstance(task, Hears) and options.stream:
        _check_stream(parser, options_of_call)
        with _output(args["output"]) as write:
            for piece in task.heard(model, sys.stdin.buffer, options, remarks.say):
                write(piece)
        return 0
    if files and isinstance(task, ReadsFiles) and task.reads_files:
        size = args["batch_size"]
        inputs = iter([files[i : i + size] for i in range(0, len(files), size)])
    else:
        inputs = _inputs(args["text"], files, args["batch_size"])
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
            # A reader that closes the output early wants no summary.
            remarks.is_quiet = True
            raise
        finally:
            if pictures is not None and not remarks.is_quiet:
                # The remarks of the task about the input come first.
                predictions.close()
                pictures.write(remarks.say)
    return 0


def _parser(task: Task | None) -> Parser:
    about = "Reads lines (UTF-8), and writes the output of the model for each of them"
    if isinstance(task, Predicts):
        about = f"Reads lines (UTF-8), each {task.reads}, and writes for each {task.writes}"
    parser = Parser(
        prog="throughtime predict",
        description=f"{about}. The outputs are written as soon as they are known, in the order of "
        "the lines; an empty line gives an empty line.",
    )
    parser.completers = {"run": completion.run_folders}
    parser.add_argument("run", type=str, help="the run folder")
    parser.add_argument(
        "files",
        type=str,
        nargs="*",
        default=[],
        help="files to read, one after the other (default: the standard input); for sounds each "
        "is an input itself, and the lines of the standard input are paths",
    )
    parser.add_argument(
        "--step", type=int | None, help="a model that --keep_best has kept, instead of the best"
    )
    parser.add_argument(
        "--text", type=str | None, help="a single line to read instead of the input"
    )
    parser.add_argument(
        "--json", type=bool, default=False, help="write a JSON object for each line"
    )
    parser.add_argument(
        "--output", type=str | None, help="a file to write (default: the standard output)"
    )
    parser.add_argument(
        "--batch_size", type=int, default=64, help="largest number of lines that are read together"
    )
    parser.add_argument(
        "--attention",
        type=str | None,
        help=f"a file (.html or .png) for attention maps of the first {_MOST_MAPS} lines",
    )
    parser.add_class_arguments(task.PredictionOptions if isinstance(task, Predicts) else NoOptions)
    return parser


def _check_stream(parser: Parser, options_of_call: Mapping[str, Any]) -> None:
    """Ends the command for an option that has no effect on a sound that is streamed."""
    for name in ("files", "text", "json", "batch_size", "attention"):
        if options_of_call.get(name):
            parser.error(
                f"{'' if name == 'files' else '--'}{name} would have no effect beside --stream, "
                "which reads a sound from the standard input"
            )
    if sys.stdin is None or sys.stdin.isatty():
        parser.error("--stream reads a sound from the standard input, which is not redirected")


def _inputs(text: str | None, files: Sequence[str], batch_size: int) -> Iterator[list[str]]:
    if text is not None:
        yield [text]
    elif files:
        for name in files:
            with path_of("files", name).open("rb") as file:
                try:
                    yield from read_lines(cast(io.BufferedIOBase, file), batch_size)
                except ValueError as error:
                    raise ValueError(f"{name}, {error}") from error
    else:
        if sys.stdin is None:
            raise ValueError("expected lines on the standard input, but it is closed. Use --text.")
        if sys.stdin.isatty():
            _say("type a line and press Enter to see its output; Ctrl-D ends")
        yield from read_lines(cast(io.BufferedIOBase, sys.stdin.buffer), batch_size)


@contextmanager
def _output(name: str | None) -> Iterator[Callable[[str], None]]:
    """A function that writes text at once, to a file or to the standard output."""
    if name is not None:
        path = path_of("--output", name)
        if not path.parent.is_dir():
            raise ValueError(f"--output: there is no folder {path.parent}. Create it first.")
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield _writer(file)
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The input is UTF-8, so the output is, whatever the terminal is set to.
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
    """Writes the remarks of the task to the standard error, unless ``is_quiet`` is set."""

    is_quiet: bool = False

    def say(self, text: str) -> None:
        if not self.is_quiet:
            _say(text)


@dataclass
class _Pictures:
    """Collects the attention maps of the first lines."""

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
            say(f"no output has attention weights, so {self.path} was not written.")
            return
        write_attention(self.path, self.maps)
        if self.num > len(self.maps):
            say(f"{self.path}: shows the first {len(self.maps)} of {self.num} lines.")


def _say(text: str) -> None:
    print(f"throughtime predict: {text}", file=sys.stderr, flush=True)
