"""throughtime table NAME: trains the runs of a table and writes one page with their figures."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from throughtime import tasks
from throughtime.checks import nearest, unknown
from throughtime.cli.opening import check_options
from throughtime.cli.parser import Parser
from throughtime.cli.table_search import SEARCH, check_search, drawn_settings
from throughtime.inspection.metrics import read_metrics
from throughtime.inspection.table import Row, in_lines, sources, write_table
from throughtime.inspection.table_curves import curves_html
from throughtime.inspection.table_search import search_html
from throughtime.reading import Entries, Maybe, json_of, path_of, typed, yaml_of
from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.task import Figure

__all__ = ["main", "read_table", "trainings_of"]

_TABLES = Path("recipes") / "tables"
_SECONDS_BETWEEN_LOOKS = 0.2

_WORDS = [sys.executable, "-m", "throughtime.cli.main"]

_ROW = Entries(
    {"recipe": str},
    {
        "settings": dict[str, Any],
        "published": dict[str, float] | dict[str, dict[str, float]],
        "source": str,
    },
)
_TABLE = Entries(
    {
        "about": dict[str, Any],
        "figures": list[str] | dict[str, list[str]],
        "runs": Entries(others=_ROW),
    },
    {
        "split": Maybe(str),
        "over": dict[str, list[Any]],
        "search": SEARCH,
        "evaluate": dict[str, Any],
    },
)


@dataclass(frozen=True)
class _Training:
    """One training of a table.

    Args:
        row: the name of its row.
        name: its own name among the trainings of the row ("seed 1").
        recipe: the file with its settings.
        settings: the settings that differ from the recipe.
        splits: the splits on which the model is evaluated; None is the validation split.
        evaluate: the options of the evaluation.
        folder: its run folder.
    """

    row: str
    name: str
    recipe: Path
    settings: Mapping[str, Any]
    splits: Sequence[str | None]
    evaluate: Mapping[str, Any]
    folder: Path

    @property
    def run(self) -> Run:
        return Run(self.folder)

    @property
    def task(self) -> str:
        return self.recipe.parent.name

    @property
    def result_file(self) -> Path:
        return self.folder / "figures.json"

    @property
    def log_file(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def identity(self) -> dict[str, Any]:
        """What the result depends on; kept beside it, so that a changed table is noticed."""
        settings = yaml_of(self.recipe) | dict(self.settings)
        settings.pop("about", None)
        split = self.splits[0] if len(self.splits) == 1 else list(self.splits)
        evaluate = {"evaluate": dict(self.evaluate)} if self.evaluate else {}
        return {"settings": settings, "split": split, **evaluate}

    def result(self) -> dict[str, Any] | None:
        """The figures of the finished training by :func:`_label`; None if it is not finished.

        Raises:
            ValueError: if it was trained with other settings than the table has now.
        """
        if not self.result_file.is_file():
            return None
        kind = Entries({"figures": dict[str, Any], "identity": dict[str, Any]})
        content = typed(str(self.result_file), json_of(self.result_file), kind)
        if content["identity"] != self.identity:
            raise ValueError(
                f"{self.folder}: the table or its recipe has changed since this run was trained. "
                "Remove the folder to train it again, or name another --folder."
            )
        return content["figures"]

    def train_command(self) -> list[str]:
        """The command that trains the network, or goes on with its training."""
        train = [*_WORDS, "train", self.task, "--run", str(self.folder)]
        if self.run.config_file.is_file():
            return [*train, "--resume"]
        return [*train, "--config", str(self.recipe), *_flags(self.settings)]

    def evaluate_command(self, split: str | None) -> list[str]:
        """The command that evaluates the trained network on a split."""
        option = {} if split is None else {"split": split}
        flags = _flags(option | dict(self.evaluate))
        return [*_WORDS, "evaluate", str(self.folder), "--json", *flags]


def _flags(options: Mapping[str, Any]) -> list[str]:
    """The words of a command that set options."""
    return [
        word
        for name, value in options.items()
        for word in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]


class _Process:
    """A training in a process of one thread, and then an evaluation of each split."""

    def __init__(self, training: _Training) -> None:
        self.training = training
        training.folder.parent.mkdir(parents=True, exist_ok=True)
        self._output = training.folder.with_name(f"{training.folder.name}.json")
        self._waiting = list(training.splits)
        self._evaluated: list[str | None] = []
        self._figures: dict[str, Any] = {}
        self._process = self._started(training.train_command(), training.log_file, "ab")

    def _started(self, command: Sequence[str], file: Path, mode: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        # A killed call may have left a process that still writes to the old file.
        self._output.unlink(missing_ok=True)
        with self.training.log_file.open("ab") as log, file.open(mode) as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=environment,
                # A signal to the table reaches the trainings once, through :meth:`stop`.
                start_new_session=True,
            )

    def poll(self) -> str | None:
        """None while it runs; then why it failed, which is empty if it did not."""
        status = self._process.poll()
        if status is None:
            return None
        training = self.training
        if status != 0:
            self._output.unlink(missing_ok=True)
            return f"{training.folder}: ended with status {status}; see {training.log_file}"
        for split in self._evaluated[-1:]:
            values = json_of(self._output)
            self._figures |= {_label(n, split, training.splits): v for n, v in values.items()}
        if self._waiting:
            split = self._waiting.pop(0)
            self._evaluated.append(split)
            self._process = self._started(training.evaluate_command(split), self._output, "wb")
            return None
        content = {"identity": training.identity, "figures": self._figures}
        written_whole(
            training.result_file,
            lambda path: path.write_text(json.dumps(content, indent=2) + "\n"),
        )
        self._output.unlink()
        return ""

    def stop(self) -> None:
        """Asks the process to save its training, and waits until it has."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
        self._output.unlink(missing_ok=True)


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="throughtime table",
        description="Trains the runs of a table, each in a process of one thread, and writes one "
        "page: mean and deviation beside published figures. Goes on where an earlier call stopped.",
    )
    parser.completers = {"name": lambda **_: [path.stem for path in _TABLES.glob("*.yaml")]}
    parser.add_argument("name", type=str, help="a file, or the name of one in recipes/tables")
    parser.add_argument("--folder", type=str | None, help="where the runs lie (runs/tables/NAME)")
    parser.add_argument("--jobs", type=int | None, help="trainings at a time (the processor cores)")
    parser.add_argument(
        "--trials", type=int | None, help="trials of each row of a random search (as in the table)"
    )
    args = parser.complete(parser.parse(argv))
    path = _file(args["name"])
    folder = path_of("--folder", args["folder"] or str(Path("runs", "tables", path.stem)))
    jobs = args["jobs"] if args["jobs"] is not None else os.cpu_count() or 1
    if jobs < 1:
        parser.error(f"--jobs: expected at least 1, got {jobs}")
    table = read_table(path)
    if args["trials"] is not None:
        if "search" not in table:
            parser.error(f"--trials: {path} has no search, so it would have no effect")
        if args["trials"] < 2:
            parser.error(f"--trials: expected at least 2, got {args['trials']}")
        table["search"] = table["search"] | {"trials": args["trials"]}
    trainings = trainings_of(path, table, folder)
    for training in trainings:
        training.result()
    waiting = [training for training in trainings if training.result() is None]
    print(f"{path.stem}: {len(trainings)} runs, {len(waiting)} to train -> {folder}", flush=True)
    failures, number = _train(waiting, jobs)
    rows = _rows(table, trainings, failures)
    figures = _figures(table, trainings)
    page = folder / "table.html"
    folder.mkdir(parents=True, exist_ok=True)
    about = {name: text for name, text in table["about"].items() if name != "title"}
    title = str(table["about"].get("title", path.stem))
    over, more = next(iter(table.get("over", {"trial": []}))), list[str]()
    if "search" in table:
        name, figure = next(iter(figures.items()))
        more = search_html(rows, name, figure, table["search"]["ranges"])
    more += curves_html(rows, list(_columns(table).values()))
    write_table(page, title, about, rows, figures, over, more)
    print(in_lines(rows, figures))
    for sentence in sources(rows):
        print(sentence)
    for failure in failures.values():
        print(failure, file=sys.stderr)
    print(f"Table: {page}")
    if number is not None:
        print("Stopped; call the command again to go on.", file=sys.stderr)
        return 128 + number
    return 1 if failures else 0


def _file(name: str) -> Path:
    """The file of a table."""
    for path in (Path(name), _TABLES / f"{name}.yaml"):
        if path.is_file():
            return path
    names = [path.stem for path in _TABLES.glob("*.yaml")]
    hint = nearest(name, names) or (f". There are: {', '.join(sorted(names))}." if names else ".")
    raise ValueError(f"{name}: no such file, and no table of that name in {_TABLES}{hint}")


def read_table(path: Path) -> dict[str, Any]:
    """The content of the file of a table.

    Raises:
        ValueError: for a missing or unknown entry, or one of a wrong type.
    """
    table = typed(str(path), yaml_of(path), _TABLE)
    if ("over" in table) == ("search" in table):
        raise ValueError(f"{path}: expected one of the entries over and search.")
    if "search" in table:
        check_search(str(path), table["search"])
    elif len(table["over"]) != 1 or not next(iter(table["over"].values())):
        raise ValueError(
            f"{path}: over: expected one setting with a list of values, such as `seed: [1, 2]`."
        )
    for name in ("figures", "runs"):
        if not table[name]:
            raise ValueError(f"{path}: {name}: expected at least one, got none.")
    if isinstance(table["figures"], dict) and table.get("split") is not None:
        raise ValueError(
            f"{path}: split: the figures are those of {' and '.join(table['figures'])}. Leave the "
            "split out."
        )
    known = list(_columns(table))
    for row, entry in table["runs"].items():
        for name in _published(table, entry):
            if name not in known:
                raise ValueError(
                    f"{path}: runs: {row}: published: {unknown('figure', name, known)}"
                )
    return table


def _columns(table: Mapping[str, Any]) -> dict[str, str]:
    """The name of the figure in each column of a table, by the label of the column."""
    splits = _figures_by_split(table)
    return {
        _label(name, split, list(splits)): name for split, names in splits.items() for name in names
    }


def _figures_by_split(table: Mapping[str, Any]) -> dict[str | None, list[str]]:
    figures = table["figures"]
    return {table.get("split"): figures} if isinstance(figures, list) else figures


def _label(name: str, split: str | None, splits: Sequence[str | None]) -> str:
    """The label of a figure; it names the split where the table has several.

    >>> _label("accuracy", "test", ["test"]), _label("accuracy", "test", ["valid", "test"])
    ('accuracy', 'accuracy (test)')
    """
    return name if len(splits) == 1 else f"{name} ({split})"


def _published(table: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, float]:
    """The published figures of a row by :func:`_label`.

    They are written as the figures of the table are: by name, or by split and name.
    """
    splits = list(_figures_by_split(table))
    published = {}
    for name, value in entry.get("published", {}).items():
        if isinstance(value, dict):
            published |= {_label(figure, name, splits): v for figure, v in value.items()}
        else:
            published[name] = value
    return published


def trainings_of(path: Path, table: Mapping[str, Any], folder: Path) -> list[_Training]:
    """All trainings of a table, in the order of its rows.

    Args:
        path: the file of the table; its recipes lie in folders beside the folder of the table.
        table: the content of the file.
        folder: where the runs lie.

    Raises:
        ValueError: for a recipe or a task that does not exist, and for options that the evaluation
            of the task of a row does not have.
    """
    trainings = []
    for number, (row, entry) in enumerate(table["runs"].items(), 1):
        recipe = path.parent.parent / f"{entry['recipe']}.yaml"
        if not recipe.is_file():
            raise ValueError(f"{path}: runs: {row}: recipe: there is no file {recipe}.")
        kind = tasks.get(recipe.parent.name).EvaluationOptions
        check_options(f"{path}: evaluate: {row}", kind, table.get("evaluate", {}))
        for name, settings in _repeated(table, row):
            trainings.append(
                _Training(
                    row,
                    name,
                    recipe,
                    entry.get("settings", {}) | settings,
                    list(_figures_by_split(table)),
                    table.get("evaluate", {}),
                    folder / f"{number}-{_as_file_name(row)}" / name.replace(" ", "-"),
                )
            )
    return trainings


def _repeated(table: Mapping[str, Any], row: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The names of the trainings of a row, each with the settings in which it differs."""
    if "search" in table:
        search = table["search"]
        for trial in range(1, search["trials"] + 1):
            yield f"trial {trial}", drawn_settings(search["ranges"], row, trial)
        return
    ((setting, values),) = table["over"].items()
    for value in values:
        yield f"{setting} {value}", {setting: value}


def _as_file_name(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-.")


def _train(waiting: Sequence[_Training], jobs: int) -> tuple[dict[str, str], int | None]:
    """Trains all that wait; returns the failures by folder, and the signal that came."""
    queue, running, told = list(waiting), list[_Process](), set[Path]()
    failures: dict[str, str] = {}
    with _signals() as came:
        try:
            while (queue or running) and not came:
                free = (each for each in list(queue) if not _is_occupied(each, told))
                for training in islice(free, jobs - len(running)):
                    queue.remove(training)
                    running.append(_Process(training))
                for process in list(running):
                    failure = process.poll()
                    if failure is None:
                        continue
                    running.remove(process)
                    training = process.training
                    if failure:
                        failures[str(training.folder)] = failure
                    left = len(queue) + len(running)
                    end = "failed" if failure else "done"
                    print(f"{training.row}, {training.name}: {end}; {left} left", flush=True)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            for process in running:
                process.stop()
    return failures, came[0] if came else None


def _is_occupied(training: _Training, told: set[Path]) -> bool:
    """Whether a process that an earlier call left behind when it was killed still trains here.

    Args:
        training: the training that is to begin.
        told: the folders of which the user has been told.
    """
    if not training.run.is_training():
        return False
    if training.folder not in told:
        told.add(training.folder)
        print(
            f"{training.row}, {training.name}: another process trains in {training.folder}; "
            "waiting for its end",
            flush=True,
        )
    return True


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects the signals that ask for an end, instead of ending at once."""
    came: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in kinds}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _rows(
    table: Mapping[str, Any], trainings: Sequence[_Training], failures: Mapping[str, str]
) -> list[Row]:
    """The rows with what is finished."""
    rows = {
        name: Row(name, _published(table, entry), entry.get("source", ""))
        for name, entry in table["runs"].items()
    }
    for training in trainings:
        row = rows[training.row]
        row.number += 1
        result = training.result()
        if str(training.folder) in failures:
            row.failures.append(failures[str(training.folder)])
        if result is None:
            continue
        row.settings[training.name] = training.settings
        for split in training.splits:
            for curves in result.get(_label("curves", split, training.splits), []):
                title = _label(curves["title"], split, training.splits)
                row.curves.setdefault(title, []).append(curves)
        row.results[training.name] = {
            name: float(value) for name, value in result.items() if isinstance(value, int | float)
        }
        _, metrics = read_metrics(training.run.metrics_file)
        row.minutes.append(float(metrics[-1]["seconds"]) / 60 if metrics else 0.0)
        row.parameters = training.run.config().get("parameters")
    return list(rows.values())


def _figures(table: Mapping[str, Any], trainings: Sequence[_Training]) -> dict[str, Figure]:
    """The figures that the table shows, each with its unit and direction."""
    declared: dict[str, Figure] = {}
    for training in trainings:
        if training.run.config_file.is_file():
            entries = training.run.config().get("figures", {})
            declared |= {name: Figure(**entry) for name, entry in entries.items()}
    return {label: declared.get(name, Figure()) for label, name in _columns(table).items()}
