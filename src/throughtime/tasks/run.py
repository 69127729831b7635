"""The run folder: everything that a training leaves behind, and where all commands look.

config.json         task, settings, what the task took from its data, parameters, versions
model.safetensors   the best model by validation
best/               the best models, step-N.safetensors, with --keep_best 2 or more
last.ckpt           everything that --resume goes on from
metrics.csv         losses and gradient norms along the way
samples.txt         what the model wrote along the way
shown/              tables, pictures, sounds and scores that it made along the way
evaluated.json      curves of the last evaluation that measured any
attention.json      where it looked meanwhile, for some pairs of the last validation
tensorboard/        the same for TensorBoard
report.html         curves and samples on one page
"""

from __future__ import annotations

import difflib
import json
import platform
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout
from torch import nn

from throughtime.checks import nearest
from throughtime.reading import Entries, ReadError, Whole, json_of, kinds_of, typed
from throughtime.tasks import weights
from throughtime.tasks.size import check_size
from throughtime.tasks.task import Task, get, names
from throughtime.written import written_whole

__all__ = ["Run", "RunError", "written_whole"]

_FIGURE = Entries({}, {"unit": str, "better": Literal["lower", "higher"]})
_CONFIG = Entries(
    {"task": str, **dict.fromkeys(("settings", "training", "assets", "versions"), dict[str, Any])},
    {
        "learner": str,
        "monitor": str,
        "figures": Entries(others=_FIGURE),
        "parameters": Whole(0),
    },
    Any,
)
"""What config.json holds; the settings are those of the task, and the assets too."""


class RunError(ValueError):
    """A run folder is not what it should be."""


@dataclass(frozen=True)
class Run:
    """One training and what it left behind.

    Args:
        folder: where everything lies.
    """

    folder: Path

    @property
    def config_file(self) -> Path:
        return self.folder / "config.json"

    @property
    def model_file(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def best_folder(self) -> Path:
        return self.folder / "best"

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def samples_file(self) -> Path:
        return self.folder / "samples.txt"

    @property
    def shown_folder(self) -> Path:
        return self.folder / "shown"

    @property
    def evaluated_file(self) -> Path:
        return self.folder / "evaluated.json"

    @property
    def attention_file(self) -> Path:
        return self.folder / "attention.json"

    @property
    def report_file(self) -> Path:
        return self.folder / "report.html"

    @property
    def tensorboard_folder(self) -> Path:
        return self.folder / "tensorboard"

    def is_free(self) -> bool:
        """Whether nothing lies in the folder yet, but what a kill at the very beginning leaves."""
        if not self.folder.exists():
            return True
        left = (".lock", f"{self.config_file.name}.partial")
        return self.folder.is_dir() and all(p.name in left for p in self.folder.iterdir())

    def create(self, task: Task, training: dict[str, Any], learner: str = "gradient") -> None:
        """Makes the folder and writes its configuration.

        Args:
            task: what is learned.
            training: the settings of the training.
            learner: its name.
        """
        config = {
            "task": task.name,
            "learner": learner,
            "monitor": task.monitor,
            "figures": {name: asdict(figure) for name, figure in task.figures.items()},
            "settings": asdict(task.config),
            "training": training,
            "assets": task.assets,
            "parameters": sum(p.numel() for p in task.model().parameters()),
            "versions": versions(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(config, indent=2, ensure_ascii=True) + "\n"
        written_whole(self.config_file, lambda path: path.write_text(text, encoding="utf-8"))

    def lock(self) -> FileLock:
        """Makes the folder this process's own until the lock is released.

        Raises:
            RunError: where another process trains in it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise RunError(
                f"{self.folder}: another training is writing here. Wait for it, stop it, or name "
                f"another folder with --run."
            ) from error
        return lock

    def is_training(self) -> bool:
        """Whether a process trains in the folder now."""
        file = self.folder / ".lock"
        try:
            with FileLock(file, timeout=0) if file.is_file() else nullcontext():
                return False
        except Timeout:
            return True
        except OSError:
            # The folder is of another user, who may train in it; nobody else can tell.
            return False

    def config(self) -> dict[str, Any]:
        """What :meth:`create` wrote.

        A setting that is newer than the run, and whose field says by ``older_runs`` in its
        metadata what was done before there was a choice, has that value.

        Raises:
            RunError: where this is no run folder, or its configuration is damaged.
        """
        if not self.config_file.is_file():
            hint = _nearest_run(self.folder)
            what = "no such folder" if not self.folder.exists() else "no config.json in it"
            raise RunError(
                f"{self.folder}: expected a run folder, as throughtime train makes it, "
                f"got {what}{hint or '.'}"
            )
        try:
            config = typed(str(self.config_file), json_of(self.config_file), _CONFIG)
        except ReadError as error:
            raise RunError(
                f"{self.config_file}: the configuration is damaged: "
                f"{str(error).removeprefix(f'{self.config_file}: ')} Restore it from a copy, or "
                f"train again into another folder."
            ) from error
        config["settings"] = _settings_of_older_runs(config["task"]) | config["settings"]
        return config

    def task(self) -> Task:
        """The task with the settings of this run.

        Raises:
            RunError: if the settings or the assets are not those of a task of this version.
        """
        config = self.config()
        where = f"{self.config_file}: settings"
        try:
            kind = get(config["task"])
        except ValueError as error:
            raise RunError(f"{self.config_file}: task: {error}") from error
        kinds = kinds_of(kind.Config)
        optional = {f.name for f in fields(kind.Config) if f.metadata.get("may_be_missing")}
        missing = [name for name in kinds if name not in {*config["settings"], *optional}]
        if missing:
            raise RunError(
                f"{self.config_file}: expected all settings of {kind.name}, got no "
                f"{', '.join(missing)}, so the run is of an older throughtime. Write in what it "
                f"was trained with, or train again into another folder."
            )
        unknown = [name for name in config["settings"] if name not in kinds]
        if unknown:
            raise RunError(
                f"{self.config_file}: the settings are not those of {kind.name} in this version of "
                f'throughtime: there is no "{unknown[0]}"{nearest(unknown[0], kinds) or "."}'
            )
        try:
            settings = typed(where, config["settings"], Entries({}, kinds))
            typed(f"{self.config_file}: assets", config["assets"], kind.Assets)
        except ReadError as error:
            raise RunError(f"{error} Restore the file from a copy, or put it right.") from error
        try:
            return kind(kind.Config(**settings), config["assets"])
        except (ValueError, TypeError) as error:
            raise RunError(f"{where}: {error}") from error

    def save_model(self, model: nn.Module, step: int | None = None) -> None:
        """Writes the weights; those that stand in two places are written once.

        Args:
            model: the model.
            step: its step, for a model in :attr:`best_folder`; None for the best model.
        """
        content = weights.to_bytes(model)
        file = self._model_file_of(step)
        file.parent.mkdir(exist_ok=True)
        written_whole(file, lambda path: path.write_bytes(content))

    def kept_steps(self) -> list[int]:
        """The steps of the models in :attr:`best_folder`, in their order."""
        names = (file.stem for file in self.best_folder.glob("step-*.safetensors"))
        steps = (name.removeprefix("step-") for name in names)
        return sorted(int(step) for step in steps if step.isdecimal())

    def drop_models(self, but: Iterable[int]) -> None:
        """Removes the models of :attr:`best_folder`, except those of the steps ``but``."""
        for step in set(self.kept_steps()) - set(but):
            self._model_file_of(step).unlink(missing_ok=True)

    def _model_file_of(self, step: int | None) -> Path:
        return self.model_file if step is None else self.best_folder / f"step-{step}.safetensors"

    def load_model(self, task: Task, step: int | None = None) -> nn.Module:
        """The best model of this run, or one of those that ``--keep_best`` has kept.

        Args:
            task: the task of this run.
            step: the step of a model in :attr:`best_folder`; None is the best model.

        Raises:
            RunError: where none was saved yet, or the file is damaged or of another model.
        """
        file = self._model_file_of(step)
        if step is not None and not file.is_file():
            kept = ", ".join(map(str, self.kept_steps())) or "none, because --keep_best was 1"
            raise RunError(
                f"{self.best_folder}: expected the step of a model that was kept, got {step}. "
                f"There is: {kept}."
            )
        if not file.is_file():
            raise RunError(
                f"{self.folder}: no model was saved here yet. Train it: "
                f"throughtime train {task.name} --run {self.folder} --resume"
            )
        try:
            check_size(task.name, task.model)
        except ValueError as error:
            raise RunError(f"{self.config_file}: {error}") from error
        model = task.model()
        try:
            weights.put_into(model, weights.from_bytes(file.read_bytes()))
        except (ValueError, OSError) as error:
            raise RunError(
                f"{file}: cannot be read as this run's model: it is damaged or of "
                f"other settings ({error}). Restore it from a copy, or train again."
            ) from error
        return model.eval()


def _settings_of_older_runs(task: str) -> dict[str, Any]:
    # A task that is not known is refused where it is opened.
    if task not in names():
        return {}
    newer = [f for f in fields(get(task).Config) if "older_runs" in f.metadata]
    return {f.name: f.metadata["older_runs"] for f in newer}


def versions() -> dict[str, str]:
    """The versions of what takes part."""
    return {
        "throughtime": metadata.version("throughtime"),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _nearest_run(folder: Path) -> str:
    """The hint at a run of a similar name: beside the folder, else where runs usually lie."""
    beside = [file.parent.name for file in folder.parent.glob("*/config.json")]
    if hint := nearest(folder.name, beside):
        return hint
    files = [*folder.parent.parent.glob("*/*/config.json"), *Path("runs").glob("*/*/config.json")]
    elsewhere = {file.parent.name: str(file.parent) for file in files}
    names = difflib.get_close_matches(folder.name, list(elsewhere), n=1)
    return f'; did you mean "{elsewhere[names[0]]}"?' if names else ""
