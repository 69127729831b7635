"""The blocks of a layer's weights as the step uses them."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.layers import Recurrent

__all__ = ["StepWeights"]


class StepWeights:
    """The matrices and biases of one layer and direction by block, transformed as for the step."""

    def __init__(self, layer: Recurrent, suffix: str) -> None:
        cell = layer.equations

        def split(name: str, of: tuple[str, ...]) -> dict[str, Tensor]:
            whole = getattr(layer, name + suffix, None)
            parts = () if whole is None else whole.detach().chunk(len(of))
            return dict(zip(of, parts, strict=False))

        learned = layer.cell.recurrent_block_names
        recurrent = split("weight_hh", learned)
        if layer.proj_size:
            # Unlike the kernels, the Scan needs no padding of the projection to a square block.
            (block,) = set(cell.recurrent_block_names) - set(learned)
            recurrent[block] = getattr(layer, f"weight_hr{suffix}").detach()
        self.matrix = {
            "W": split("weight_ih", cell.gates),
            "R": dict(cell.transform(recurrent)) if recurrent else {},
        }
        self.bias = {
            "W": split("bias_ih", cell.gates),
            "R": split("bias_hh", cell.recurrent_bias_names),
        }

    def rows(self, matrix: str, name: str) -> int:
        """The number of rows of a block, which is the number of features of its product."""
        return len(self.matrix[matrix][name])

    def blocks(self, matrix: str, names: list[str]) -> tuple[Tensor, Tensor | None]:
        """Blocks stacked along the rows, and their biases, or None if no block has a bias."""
        weights = [self.matrix[matrix][name] for name in names]
        known = self.bias[matrix]
        biases = [
            known[n] if n in known else w.new_zeros(len(w))
            for n, w in zip(names, weights, strict=True)
        ]
        has_bias = any(name in known for name in names)
        return torch.cat(weights), torch.cat(biases) if has_bias else None
