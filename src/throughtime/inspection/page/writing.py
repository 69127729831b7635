"""Goes on with a text from a recorded state, with units held at values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.checks import unknown
from throughtime.inspection.page.reading import Block
from throughtime.inspection.page.wire import likeliest
from throughtime.inspection.recording import Name
from throughtime.layers.evaluation import evaluating
from throughtime.layers.incoming import prepared
from throughtime.layers.recurrent import Recurrent
from throughtime.models.decoding import Sampling, draw, seeded

__all__ = ["HeldUnit", "held", "written"]


class HeldUnit(NamedTuple):
    """A unit of a state that keeps a value.

    Args:
        name: the name of the state in a recording, such as ``recurrent.c_l0``.
        unit: the number of the unit, from 0.
        value: the value.
    """

    name: str
    unit: int
    value: float


@contextmanager
def held(model: nn.Module, units: Sequence[HeldUnit]) -> Iterator[None]:
    """Sets units to their values before every call of their layers, while the model runs inside.

    A model that reads one token per call so has the values before every step, as in Radford et
    al., arXiv 1704.01444. The step itself computes its new states by the equations of the cell.

    Args:
        model: the model.
        units: the units, of states of the recurrent layers.

    Raises:
        ValueError: if there is no such state or unit.
    """
    by_module: dict[str, list[tuple[int, int, HeldUnit]]] = {}
    for held_unit in units:
        name = Name.of(held_unit.name)
        index, row = _place(model, name, held_unit)
        by_module.setdefault(name.module, []).append((index, row, held_unit))
    hooks = [
        model.get_submodule(path).register_forward_pre_hook(_setting(places), with_kwargs=True)
        for path, places in by_module.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _place(model: nn.Module, name: Name, held_unit: HeldUnit) -> tuple[int, int]:
    """The index of a state among those of its layers, and the row of its layer and direction."""
    layers = dict(model.named_modules()).get(name.module)
    if (
        not isinstance(layers, Recurrent)
        or name.layer is None
        or name.layer not in range(layers.num_layers)
        or name.is_reverse >= layers.num_directions
        or name.value not in layers.state_sizes
    ):
        states = (
            str(Name(path, state, layer))
            for path, module in model.named_modules()
            if isinstance(module, Recurrent)
            for layer in range(module.num_layers)
            for state in module.state_sizes
        )
        raise unknown("state", held_unit.name, states)
    sizes = layers.state_sizes
    size = sizes[name.value]
    if not 0 <= held_unit.unit < size:
        raise ValueError(
            f"set: expected a unit of {held_unit.name} from 0 to {size - 1}, got {held_unit.unit}."
        )
    return list(sizes).index(name.value), name.layer * layers.num_directions + name.is_reverse


def _setting(places: Sequence[tuple[int, int, HeldUnit]]) -> Any:
    def before(layers: Recurrent, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        x, *rest = args
        rest = {**dict(zip(("hx",), rest, strict=True)), **kwargs}
        hx = rest.pop("hx", None)
        incoming = prepared(layers, x, hx, *(rest.get(n) for n in ("lengths", "resets", "inputs")))
        states = [state.clone() for state in incoming.state]  # each (L*D, B, H)
        for index, row, (_, unit, value) in places:
            states[index][row, :, unit] = value
        states = [incoming.layout.without_batch(state, 1) for state in states]
        rest["hx"] = states[0] if len(states) == 1 else tuple(states)
        return (x,), rest

    return before


def written(
    model: nn.Module,
    tokens: Sequence[str],
    block: Block,
    length: int,
    sampling: Sampling,
    seed: int | None,
    units: Sequence[HeldUnit],
) -> dict[str, Any]:
    """Draws tokens one by one, and feeds each back into the model.

    Args:
        model: a language model.
        tokens: the text of each token.
        block: the block of a text after which the new tokens follow.
        length: the number of tokens to draw.
        sampling: how a token is drawn from its scores.
        seed: the seed of the random generator; None gives other tokens each time.
        units: the units that are held from the first new token on.

    Returns:
        The tokens, and the likeliest outputs in place of each of them.

    Raises:
        ValueError: if the scores of the model are not finite.
    """
    device, generator = next(model.parameters()).device, seeded(seed)
    scores, state = block.scores, block.state
    ids: list[int] = []
    rows: list[Tensor] = []
    with held(model, units), evaluating(model):
        while len(ids) < length:
            if not bool(scores.isfinite().all()):
                raise ValueError(
                    f"write: the model computed no finite scores after {len(ids)} new tokens."
                )
            rows.append(scores)
            ids.append(int(draw(scores[None], sampling, generator)))
            if len(ids) < length:
                outputs, state = model(torch.tensor([[ids[-1]]], device=device), state)
                scores = outputs[0, -1].float().cpu()
    top = likeliest(torch.stack(rows).softmax(-1), tokens) if rows else []
    return {"tokens": [tokens[i] for i in ids], "top": top}
