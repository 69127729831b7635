"""The settings of a recurrent network, once for all tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from throughtime import cells
from throughtime.cells.cell import Cell
from throughtime.checks import nearest
from throughtime.layers.spec import LayerSpec, default_of

__all__ = ["FREE", "NetworkConfig", "free"]

FREE = {"free_on_resume": True}
"""The metadata of a setting that a resumed run may change."""

# A task chooses the layout of its own tensors and the width of its input.
_NOT_SETTINGS = ("cell", "input_size", "hidden_size", "num_layers", "batch_first")
_WITHOUT_INFLUENCE = ("backend", "save", "strict")


def free(default: Any) -> Any:
    """A field of settings that a resumed run may change."""
    return dataclasses.field(default=default, metadata=FREE)


def _option_fields() -> list[tuple[str, Any, dataclasses.Field[Any]]]:
    """The options of a recurrent layer as fields of a configuration."""
    options = []
    for option in dataclasses.fields(LayerSpec):
        if option.name in _NOT_SETTINGS:
            continue
        # A run of an older version does not have every option; it was trained with the default.
        metadata: dict[str, Any] = {"help": option.metadata["help"], "may_be_missing": True}
        metadata |= FREE if option.name in _WITHOUT_INFLUENCE else {}
        # A mutable default needs a factory.
        default: dict[str, Any] = (
            {"default": option.default}
            if option.default is not dataclasses.MISSING
            else {"default_factory": option.default_factory}
        )
        options.append(
            (option.name, option.type, dataclasses.field(**default, metadata=metadata))
        )
    return options


class _Network:
    """What every configuration of a recurrent network can do."""

    REFUSED: ClassVar[Mapping[str, str]] = {}
    """The options that a task cannot use, and why."""

    def __post_init__(self) -> None:
        config: Any = self
        for option in dataclasses.fields(config):
            reason = self.REFUSED.get(option.name)
            if reason is not None and getattr(self, option.name) != default_of(option):
                raise ValueError(
                    f"--{option.name} {getattr(self, option.name)}: {reason}. Leave it out."
                )

    def network(self, side: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The arguments of a recurrent network, as the models of the package take them.

        Args:
            side: settings that differ from the shared ones, by name.

        Returns:
            ``cell`` (a Cell), ``hidden_size``, ``num_layers``, and the options of the layer.
        """
        config: Any = self
        values = {name: getattr(self, name) for name in _NAMES}
        for name, value in (side or {}).items():
            if name not in values:
                raise ValueError(f'unknown setting "{name}"{nearest(name, values) or "."}')
            values[name] = value
        refused = {o.name for o in dataclasses.fields(config)} & set(self.REFUSED)
        cell: Cell = cells.get(values.pop("cell"), **(values.pop("cell_options") or {}))
        return {"cell": cell} | {k: v for k, v in values.items() if k not in refused}


_SIZES: list[tuple[str, Any, dataclasses.Field[Any]]] = [
    ("cell", str, dataclasses.field(default="lstm")),
    (
        "cell_options",
        dict[str, Any] | None,
        dataclasses.field(default=None, metadata={"may_be_missing": True}),
    ),
    ("hidden_size", int, dataclasses.field(default=256)),
    ("num_layers", int, dataclasses.field(default=1)),
]
_FIELDS = [*_SIZES, *_option_fields()]
_NAMES = [name for name, _, _ in _FIELDS]
_HELP = {
    "cell": "the recurrence; `throughtime cells` lists them.",
    "cell_options": "the arguments of the cell's constructor, by name.",
    "hidden_size": "units of each recurrent layer.",
    "num_layers": "number of recurrent layers.",
} | {name: entry.metadata["help"] for name, _, entry in _option_fields()}

if TYPE_CHECKING:
    # The fields are derived; a type checker takes any.
    NetworkConfig: Any
else:
    NetworkConfig = dataclasses.make_dataclass(
        "NetworkConfig",
        _FIELDS,
        bases=(_Network,),
        namespace={
            "__module__": __name__,
            "__doc__": "The settings of a recurrent network.\n\n    Args:\n"
            + "".join(f"        {name}: {text}\n" for name, text in _HELP.items()),
        },
    )
