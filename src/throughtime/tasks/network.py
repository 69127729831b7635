"""The settings of a recurrent network, declared once for all tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from throughtime.cells.cell import Cell
from throughtime.checks import nearest
from throughtime.layers.named_cell import named_cell
from throughtime.layers.spec import LayerSpec, check_option, default_of
from throughtime.reading import typed

__all__ = ["FREE", "MAY_BE_MISSING", "NetworkConfig", "check_range", "forwards_only", "free"]

FREE = {"free_on_resume": True}
"""The metadata of a setting that a resumed run may change."""

MAY_BE_MISSING = {"may_be_missing": True}
"""The metadata of a setting that older run folders lack; such a run gets the setting's default."""

# The task itself fixes the layout of its tensors and the width of its input, and _SIZES declares
# the other three.
_NOT_DERIVED = ("cell", "input_size", "hidden_size", "num_layers", "batch_first")
# These change the speed and the memory, but not what is computed.
_WITHOUT_INFLUENCE = ("backend", "save", "strict")


def free(default: Any) -> Any:
    """Declares a dataclass field of settings that a resumed run may change."""
    return dataclasses.field(default=default, metadata=FREE)


def _option_fields() -> list[tuple[str, Any, Any]]:
    """The options of a recurrent layer as (name, type, field) of a settings dataclass."""
    options = []
    for option in dataclasses.fields(LayerSpec):
        if option.name in _NOT_DERIVED:
            continue
        metadata: dict[str, Any] = {"help": option.metadata["help"], **MAY_BE_MISSING}
        metadata |= FREE if option.name in _WITHOUT_INFLUENCE else {}
        # dataclasses refuses a mutable default and takes a factory for it.
        default: dict[str, Any] = (
            {"default": option.default}
            if option.default is not dataclasses.MISSING
            else {"default_factory": option.default_factory}
        )
        options.append((option.name, option.type, dataclasses.field(**default, metadata=metadata)))
    return options


def check_range(config: Any, names: Sequence[str], *, most: int, least: int = 1) -> None:
    """Raises a ValueError for a setting that is out of its range; None is a setting not made."""
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise ValueError(f"--{name}: expected at least {least}, got {value}.")
        if value is not None and value > most:
            raise ValueError(f"--{name}: expected at most {most:,}, got {value:,}.")


def forwards_only(what: str, model: str = "the model") -> dict[str, str]:
    """The options that a model must refuse because it predicts what follows, with the reasons.

    Args:
        what: the plural of what it predicts ("events").
        model: the name of the model in the reasons.
    """
    return {
        "bidirectional": f"{model} must not read the {what} that it predicts",
        "merge": f"{model} reads in one direction",
        "independent": f"{model} reads in one direction",
    }


class _Network:
    """The methods of :class:`NetworkConfig`, whose fields are created at run time below."""

    REFUSED: ClassVar[Mapping[str, str]] = {}
    """The options that a task cannot use, each with the reason for the error message."""
    STEP_INPUTS: ClassVar[Sequence[str]] = ()
    """The further inputs of a cell at each step that the task computes."""

    def __post_init__(self) -> None:
        config: Any = self
        for option in dataclasses.fields(config):
            reason = self.REFUSED.get(option.name)
            if reason is not None and getattr(self, option.name) != default_of(option):
                raise ValueError(
                    f"--{option.name} {getattr(self, option.name)}: {reason}. Leave it out."
                )
            if option.name in _OPTIONS:
                check_option(f"--{option.name}", option.name, getattr(self, option.name))
        self._cell({})
        if hasattr(self, "embedding_size"):
            check_range(self, ("embedding_size",), most=2**31 - 1)

    def recurrent(self) -> dict[str, Any]:
        """The constructor arguments of a recurrent network, for the models of the package.

        Returns:
            ``cell`` (a Cell), ``hidden_size``, ``num_layers``, and those options of the layer
            whose value, or whose default in this class, differs from the layer's own default.
            The other options are left to the model, which may have defaults of its own.
        """
        config: Any = self
        arguments: dict[str, Any] = {"cell": self._cell({})}
        for option in dataclasses.fields(config):
            name, value = option.name, getattr(self, option.name)
            if name in ("hidden_size", "num_layers"):
                arguments[name] = value
            elif name in _OPTIONS and name not in self.REFUSED:
                default = default_of(_OPTIONS[name])
                if value != default or default_of(option) != default:
                    arguments[name] = value
        return arguments

    def override(self, name: str, settings: Mapping[str, Any] | None) -> dict[str, Any]:
        """The arguments by which one part of a model differs from those of :meth:`recurrent`.

        Args:
            name: the name of the part, which is the prefix of its flags ("encoder").
            settings: the settings of this class that differ for the part, by name.

        Raises:
            ValueError: for an unknown setting, with the nearest, and for one of a wrong type.
        """
        settings = dict(settings or {})
        for key, value in settings.items():
            if key not in _NAMES:
                flags = [f"--{name}.{known}" for known in _NAMES]
                hint = nearest(f"--{name}.{key}", flags) or "."
                raise ValueError(f"unknown option --{name}.{key}{hint}")
            settings[key] = typed(f"--{name}.{key}", value, _KINDS[key])
            if key in _OPTIONS:
                check_option(f"--{name}.{key}", key, settings[key])
        if {"cell", "cell_options"} & set(settings):
            settings["cell"] = self._cell(settings)
            settings.pop("cell_options", None)
        return settings

    def _cell(self, settings: Mapping[str, Any]) -> Cell:
        config: Any = self
        name = settings.get("cell", config.cell)
        # The shared cell_options are for the shared cell; another cell has other arguments.
        shared = config.cell_options if name == config.cell else None
        cell = named_cell("--cell_options", name, settings.get("cell_options", shared))
        for needed, spec in cell.given_inputs.items():
            if spec.default is None and needed not in self.STEP_INPUTS:
                raise ValueError(
                    f"--cell {name}: this cell reads a further input at each step, {needed}, which "
                    "this task does not have. Choose another cell."
                )
        return cell


_SIZES: list[tuple[str, Any, Any]] = [
    ("cell", str, dataclasses.field(default="lstm")),
    (
        "cell_options",
        dict[str, Any] | None,
        dataclasses.field(default=None, metadata=MAY_BE_MISSING),
    ),
    ("hidden_size", int, dataclasses.field(default=256)),
    ("num_layers", int, dataclasses.field(default=1)),
]
_FIELDS = [*_SIZES, *_option_fields()]
_NAMES = [name for name, _, _ in _FIELDS]
_KINDS = {name: kind for name, kind, _ in _FIELDS}
_OPTIONS = {option.name: option for option in dataclasses.fields(LayerSpec)}
_HELP = {
    "cell": "name of the recurrent cell; `throughtime cells` lists the names.",
    "cell_options": "arguments of the cell's constructor, by name.",
    "hidden_size": "number of units of each recurrent layer.",
    "num_layers": "number of recurrent layers.",
} | {name: entry.metadata["help"] for name, _, entry in _option_fields()}

if TYPE_CHECKING:
    # The fields are created at run time, so a type checker cannot know them.
    NetworkConfig: Any
else:
    NetworkConfig = dataclasses.make_dataclass(
        "NetworkConfig",
        _FIELDS,
        bases=(_Network,),
        kw_only=True,
        namespace={
            "__module__": __name__,
            "__doc__": "The settings of a recurrent network.\n\n    Args:\n"
            + "".join(f"        {name}: {text}\n" for name, text in _HELP.items()),
        },
    )
