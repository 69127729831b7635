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
from pathlib import Path
from typing import Any

from throughtime import tasks
from throughtime.checks import nearest
from throughtime.cli.parser import Parser
from throughtime.inspection.metrics import read_metrics
from throughtime.inspection.table import Row, in_lines, write_table
from throughtime.reading import Each, Entries, Maybe, json_of, path_of, typed, yaml_of
from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.task import Figure

__all__ = ["main", "read_table", "trainings_of"]

_TABLES = Path("recipes") / "tables"
_SECONDS_BETWEEN_LOOKS = 0.2

_ROW = Entries(
    {"recipe": str},
    {
        "settings": dict[str, Any],
        "published": dict[str, float],
        "source": str,
    },
)
_TABLE = Entries(
    {
        "about": dict[str, Any],
        "over": dict[str, list[Any]],
        "figures": Each(str),
        "runs": Entries(others=_ROW),
    },
    {"split": Maybe(str)},
)


@dataclass(frozen=True)
class _Training:
    """One training of a table.

    Args:
        row: the name of its row.
        name: its own name among the trainings of the row ("seed 1").
        recipe: the file with its settings.
        settings: the settings that differ from the recipe.
        split: the split on which the model is evaluated; None is the validation split.
        folder: its run folder.
    """

    row: str
    name: str
    recipe: Path
    settings: Mapping[str, Any]
    split: str | None
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
        return {"settings": settings, "split": self.split}

    def result(self) -> dict[str, float] | None:
        """The figures of the finished training; None if it is not finished.

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

    def commands(self) -> Iterator[list[str]]:
        """The commands that train the network, go on with its training, and evaluate it."""
        words = [sys.executable, "-m", "throughtime.cli.main"]
        train = [*words, "train", self.task, "--run", str(self.folder)]
        if self.run.config_file.is_file():
            yield [*train, "--resume"]
        else:
            options = [
                word
                for name, value in self.settings.items()
                for word in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
            ]
            yield [*train, "--config", str(self.recipe), *options]
        split = [] if self.split is None else ["--split", self.split]
        yield [*words, "evaluate", str(self.folder), "--json", *split]


class _Process:
    """A training in a process of one thread: its commands, one after another."""

    def __init__(self, training: _Training) -> None:
        self.training = training
        training.folder.parent.mkdir(parents=True, exist_ok=True)
        self._commands = training.commands()
        self._process: subprocess.Popen[bytes] | None = None
        self._output = training.folder.with_name(f"{training.folder.name}.json")
        self._start(next(self._commands))

    def _start(self, command: Sequence[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self.training.log_file.open("ab") as log, self._output.open("wb") as output:
            is_evaluation = "evaluate" in command
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output if is_evaluation else log,
                stderr=log,
                env=environment,
                # A signal to the table reaches the trainings once, through :meth:`stop`.
                start_new_session=True,
            )

    def poll(self) -> str | None:
        """None while it runs; then why it failed, which is empty if it did not."""
        assert self._process is not None
        status = self._process.poll()
        if status is None:
            return None
        if status != 0:
            self._output.unlink(missing_ok=True)
            return (
                f"{self.training.folder}: ended with status {status}; see {self.training.log_file}"
            )
        command = next(self._commands, None)
        if command is not None:
            self._start(command)
            return None
        figures = json_of(self._output)
        content = {"identity": self.training.identity, "figures": figures}
        written_whole(
            self.training.result_file,
            lambda path: path.write_text(json.dumps(content, indent=2) + "\n"),
        )
        self._output.unlink()
        return ""

    def stop(self) -> None:
        """Asks the process to save its training, and waits until it has."""
        assert self._process is not None
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
    args = parser.complete(parser.parse(argv))
    path = _file(args["name"])
    folder = path_of("--folder", args["folder"] or str(Path("runs", "tables", path.stem)))
    jobs = args["jobs"] if args["jobs"] is not None else os.cpu_count() or 1
    if jobs < 1:
        parser.error(f"--jobs: expected at least 1, got {jobs}")
    table = read_table(path)
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
    write_table(page, title, about, rows, figures, next(iter(table["over"])))
    print(in_lines(rows, figures))
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
    if len(table["over"]) != 1 or not next(iter(table["over"].values())):
        raise ValueError(
            f"{path}: over: expected one setting with a list of values, such as `seed: [1, 2]`."
        )
    for name in ("figures", "runs"):
        if not table[name]:
            raise ValueError(f"{path}: {name}: expected at least one, got none.")
    return table


def trainings_of(path: Path, table: Mapping[str, Any], folder: Path) -> list[_Training]:
    """All trainings of a table, in the order of its rows.

    Args:
        path: the file of the table; its recipes lie in folders beside the folder of the table.
        table: the content of the file.
        folder: where the runs lie.

    Raises:
        ValueError: for a recipe or a task that does not exist.
    """
    ((setting, values),) = table["over"].items()
    trainings = []
    for number, (row, entry) in enumerate(table["runs"].items(), 1):
        recipe = path.parent.parent / f"{entry['recipe']}.yaml"
        if not recipe.is_file():
            raise ValueError(f"{path}: runs: {row}: recipe: there is no file {recipe}.")
        tasks.get(recipe.parent.name)
        settings = entry.get("settings", {})
        for value in values:
            trainings.append(
                _Training(
                    row,
                    f"{setting} {value}",
                    recipe,
                    settings | {setting: value},
                    table.get("split"),
                    folder / f"{number}-{_as_file_name(row)}" / f"{setting}-{value}",
                )
            )
    return trainings


def _as_file_name(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-.")


def _train(waiting: Sequence[_Training], jobs: int) -> tuple[dict[str, str], int | None]:
    """Trains all that wait; returns the failures by folder, and the signal that came."""
    queue, running = list(waiting), list[_Process]()
    failures: dict[str, str] = {}
    with _signals() as came:
        try:
            while (queue or running) and not came:
                while queue and len(running) < jobs:
                    running.append(_Process(queue.pop(0)))
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
        name: Row(name, entry.get("published", {}), entry.get("source", ""))
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
    return {name: declared.get(name, Figure()) for name in table["figures"]}
