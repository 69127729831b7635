"""Cells with tensors as attributes: learned parameters, modules, and constants.

A layer copies each learned tensor once per stacked layer and direction, and passes the copy to the
step among the parameters of the cell. The author of the cell wrote ``self.alpha``, not
``p.alpha``; so :class:`Owning` calls the step on a copy of the cell whose attributes are the passed
values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from throughtime.cells.cell import Cell, Parameter
from throughtime.cells.wrapped import Wrapped

__all__ = ["OwnTensor", "Owning", "has_own", "own_tensors"]


@dataclass(frozen=True, eq=False)
class OwnTensor:
    """A tensor that is an attribute of a cell, or of a module or cell in it.

    Args:
        kind: ``parameter``, ``buffer`` (of a module), or ``constant`` (a plain tensor).
        value: the tensor of the cell. The copies of the layers start with its values.
        paths: the attributes that lead to it, such as ``("norm", "weight")`` for
            ``cell.norm.weight``. A tied tensor has several paths.
    """

    kind: str
    value: Tensor
    paths: tuple[tuple[str, ...], ...]

    def copy_into(self, weight: Tensor) -> Tensor:
        """Initialises the copy of a layer with the values of the cell."""
        return weight.copy_(self.value)


def own_tensors(cell: Cell) -> dict[str, OwnTensor]:
    """The floating-point tensors of a cell by name: ``norm_weight`` for ``cell.norm.weight``.

    Not included, because the step uses them as they are: tensors of integers, plain tensors without
    dimensions, and plain tensors that require a gradient.

    Raises:
        ValueError: for a parameter or a module inside a list or dict, a complex parameter, or a
            name that the layer uses for another parameter.
    """
    # By the identity of the tensor, so that a tied tensor is one entry with several paths.
    known: dict[int, tuple[str, OwnTensor]] = {}
    for path, kind, value in _walk(cell, (), type(cell).__name__):
        name, tied = "_".join(path).replace(".", "_"), known.get(id(value))
        paths = (path,) if tied is None else (*tied[1].paths, path)
        known[id(value)] = (tied[0] if tied else name, OwnTensor(kind, value, paths))
    tensors: dict[str, OwnTensor] = {}
    taken = {*cell.parameter_specs, "weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"}
    for name, own in known.values():
        if name in taken or name in tensors:
            raise ValueError(
                f"{type(cell).__name__}: the tensor {'.'.join(own.paths[0])} would be the layer's "
                f"parameter {name}, which it has already. Give the attribute another name."
            )
        tensors[name] = own
    return tensors


def has_own(cell: Cell) -> bool:
    """Whether the cell has tensors or modules as attributes, so that :class:`Owning` is needed.

    A module counts even if it has no tensors, because it has a training mode.
    """
    has_module = any(isinstance(value, nn.Module) for value in _attributes(cell).values())
    inner = [value for value in vars(cell).values() if isinstance(value, Cell)]
    return has_module or bool(own_tensors(cell)) or any(map(has_own, inner))


def _attributes(cell: Cell) -> dict[str, Any]:
    """The attributes of a cell, and the tensors and modules among those of its class."""
    kinds = [kind for kind in reversed(type(cell).__mro__) if kind not in (Cell, object)]
    of_class = {k: v for kind in kinds for k, v in vars(kind).items()}
    tensors = {k: v for k, v in of_class.items() if isinstance(v, (Tensor, nn.Module))}
    return {**tensors, **vars(cell)}


def _walk(
    cell: Cell, above: tuple[str, ...], who: str
) -> Iterator[tuple[tuple[str, ...], str, Tensor]]:
    """Yields the path, the kind and the value of each tensor; a tied tensor once for each path.

    Args:
        cell: the cell to search.
        above: the path from the outermost cell to ``cell``.
        who: the name of the outermost cell, with which error messages begin.
    """
    for name, value in _attributes(cell).items():
        path = (*above, name)
        if isinstance(value, nn.Parameter):
            if value.is_complex():
                raise ValueError(
                    f"{who}: expected the parameter {'.'.join(path)} of real numbers, got "
                    f"{value.dtype}. Write two parameters, for the real and the imaginary part."
                )
            if value.is_floating_point():
                yield path, "parameter", value
        elif isinstance(value, nn.Module):
            for key, parameter in value.named_parameters(remove_duplicate=False):
                yield (*path, *key.split(".")), "parameter", parameter
            for key, buffer in value.named_buffers(remove_duplicate=False):
                if buffer.is_floating_point():
                    yield (*path, *key.split(".")), "buffer", buffer
        elif isinstance(value, Cell):
            yield from _walk(value, path, who)
        elif isinstance(value, Tensor):
            if value.is_floating_point() and value.dim() and not value.requires_grad:
                yield path, "constant", value
        elif isinstance(value, (list, tuple, dict)):
            _refuse_inside(value, f"{who}: {'.'.join(path)}")


def _refuse_inside(values: Any, where: str) -> None:
    """Raises a ValueError if a list, tuple or dict contains a learned tensor at any depth.

    Like torch.nn.Module, a layer does not search lists, so the tensor would never be trained.
    """
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, (list, tuple, dict)):
            _refuse_inside(value, where)
        learned = isinstance(value, (nn.Parameter, nn.Module))
        if learned or (isinstance(value, Cell) and has_own(value)):
            raise ValueError(
                f"{where} is a {type(values).__name__} with a {type(value).__name__} in it, which "
                f"no layer would train. Make each an attribute of its own, or use "
                f"torch.nn.ParameterList or torch.nn.ModuleList."
            )


class Owning(Wrapped):
    """A cell with the same equations, which receives its tensors as parameters of the step.

    Args:
        cell: the wrapped cell.
        learns: whether the modules of the cell are in training mode.

    Attributes:
        owned: the tensors of the wrapped cell by name; see :func:`own_tensors`.
        tree: the names of these tensors in nested dicts, by the attributes that lead to them:
            ``{"norm": {"weight": "norm_weight"}}``.
    """

    follows = (*Wrapped.follows, "owned", "tree")

    def __init__(self, cell: Cell, learns: bool) -> None:
        super().__init__(cell)
        self.learns = learns
        self.owned = own_tensors(cell)
        further = {k: Parameter(size=tuple(own.value.shape)) for k, own in self.owned.items()}
        self.parameters = {**cell.parameter_specs, **further}
        self.tree: dict[str, Any] = {}
        for name, own in self.owned.items():
            for path in own.paths:
                branch = self.tree
                for attribute in path[:-1]:
                    branch = branch.setdefault(attribute, {})
                branch[path[-1]] = name

    def step(self, x, W, R, s, p, u: Any = None):
        values = vars(p)
        inner = _cell_with(self.cell, self.tree, values, self.learns)
        own = SimpleNamespace(**{k: values[k] for k in self.cell.parameter_specs})
        return dict(inner.step(x, W, R, s, own, *([u] if self.cell.input_specs else [])))


def _cell_with(cell: Cell, tree: Mapping[str, Any], values: Mapping[str, Any], learns: bool) -> Any:
    """A copy of a cell whose tensors are replaced.

    Args:
        cell: the cell.
        tree: the names of its tensors; see :class:`Owning`.
        values: the new tensors by name.
        learns: whether the modules of the copy are in training mode.
    """
    new = copy(cell)
    for name, old in _attributes(cell).items():
        below = tree.get(name)
        if isinstance(below, str):
            vars(new)[name] = values[below]
        elif isinstance(old, nn.Module):
            vars(new)[name] = _module_with(old, below or {}, values, learns)
        elif isinstance(old, Cell) and below:
            vars(new)[name] = _cell_with(old, below, values, learns)
    return new


def _module_with(
    module: nn.Module, tree: Mapping[str, Any], values: Mapping[str, Any], learns: bool
) -> nn.Module:
    """A copy of a module whose parameters and buffers are replaced; see :func:`_cell_with`.

    The copy is made by hand, because torch.nn.Module accepts only tensors as parameters, and in a
    trace the values are symbols.
    """
    new = object.__new__(type(module))
    vars(new).update(vars(module))
    for kind in ("_parameters", "_buffers"):
        own: dict[str, Any] = dict(vars(module)[kind])
        own.update({k: values[tree[k]] for k in own if isinstance(tree.get(k), str)})
        vars(new)[kind] = own
    vars(new)["_modules"] = {
        name: child and _module_with(child, tree.get(name, {}), values, learns)
        for name, child in module._modules.items()
    }
    vars(new)["training"] = learns
    return new
