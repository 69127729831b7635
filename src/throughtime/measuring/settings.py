"""The settings of a measurement: sizes, modes, dtypes, peers and durations."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass

import torch

from throughtime.checks import unknown

__all__ = ["DTYPES", "MODES", "PACKAGES", "PEERS", "RAGGED_PEERS", "Setup", "Size", "parse_size"]

MODES = ("inference", "training")
PACKAGES = ("torchrecurrent", "ncps")
"""The packages that are peers if they are installed."""
PEERS = ("torch", *PACKAGES, "loop", "reference")
"""The peers of a layer: the fused layers of ``torch.nn``; the layers of packages; a loop over time
as a user would write it; and the project's own reference."""
RAGGED_PEERS = ("torch", "reference", "padded")
"""The peers with lengths: ``torch`` packs and unpacks the rows; ``padded`` is our layer without
lengths."""

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Size:
    """The size of a batch: B rows, and H hidden units.

    >>> str(Size(32, 256))
    '32x256'
    """

    batch: int
    hidden: int

    def __str__(self) -> str:
        return f"{self.batch}x{self.hidden}"


def parse_size(text: str) -> Size:
    """Parses a size in the form BxH.

    >>> parse_size("32x256")
    Size(batch=32, hidden=256)
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise ValueError(f'size: expected BxH, rows by hidden units, such as 32x256, got "{text}".')
    return Size(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Setup:
    """The settings of a measurement, except cell, size and mode.

    Args:
        steps: T.
        dtype: the dtype of weights and input.
        backend, save: options of our layer.
        peers: a selection of :data:`PEERS`; with ``ragged``, of :data:`RAGGED_PEERS`.
        rounds: the number of timed rounds; None is as many as fit into ``seconds``, at least 5.
        seconds: the time for one cell, size and mode.
        input_size: I; None is H. With 1 nearly all products are recurrent.
        ragged: whether rows have lengths, drawn uniformly from T/10 to T, in a bidirectional layer.
        per_flop: whether our own ``lstm`` is measured as well, to compare times per FLOP.
    """

    steps: int = 100
    dtype: torch.dtype = torch.float32
    backend: str = "cpp"
    save: str = "gates"
    peers: tuple[str, ...] = ("torch", "loop")
    rounds: int | None = None
    seconds: float = 3.0
    input_size: int | None = None
    ragged: bool = False
    per_flop: bool = False

    def __post_init__(self) -> None:
        known = RAGGED_PEERS if self.ragged else PEERS
        for peer in self.peers:
            if peer not in known:
                raise unknown("peer of a ragged batch" if self.ragged else "peer", peer, known)
        for package in PACKAGES:
            if package in self.peers and not importlib.util.find_spec(package):
                raise ValueError(
                    f'{package} is not installed; pip install "throughtime[peers]", or leave '
                    "it out of the peers."
                )
        for name, least in (("steps", 1), ("rounds", 1), ("input_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}: expected {least} or more, got {value}.")
