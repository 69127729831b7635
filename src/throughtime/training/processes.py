"""What several processes decide together, and which of them writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as distributed

from throughtime.tasks.run import RunError

__all__ = ["Processes", "is_first_by_environment"]


def is_first_by_environment() -> bool:
    """Whether this process is the one that writes, as its environment says.

    Known before the processes have met: torchrun sets RANK, SLURM sets SLURM_PROCID, and
    Lightning sets LOCAL_RANK for the processes that it starts, beside NODE_RANK.
    """
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    if "LOCAL_RANK" not in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        return os.environ.get("SLURM_PROCID", "0") == "0"
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return node == "0" and os.environ.get("LOCAL_RANK", "0") == "0"


class Processes:
    """The processes of a training; one alone asks nobody.

    Every method but the properties is a meeting: all processes must call it.

    Args:
        rank: the number of this process, from 0.
        size: the number of processes.
        device: of the tensors that are exchanged.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | str = "cpu") -> None:
        self.rank, self.size, self.device = rank, size, torch.device(device)

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def sum(self, mine: float) -> float:
        """The sum over the processes."""
        if self.size == 1:
            return mine
        value = torch.tensor(float(mine), dtype=torch.float64, device=self.device)
        distributed.all_reduce(value)
        return float(value)

    def mean(self, mine: float) -> float:
        """The mean over the processes."""
        return self.sum(mine) / self.size

    def largest(self, mine: float) -> float:
        """The largest of what the processes have."""
        if self.size == 1:
            return mine
        value = torch.tensor(float(mine), dtype=torch.float64, device=self.device)
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
        return float(value)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What goes wrong inside in one process ends all of them, with the same error.

        Raises:
            RunError: with the message of the first process that raised a ValueError or OSError.
        """
        error: Exception | None = None
        try:
            yield
        except (ValueError, OSError) as caught:
            error = caught
        messages = [text for text in self.gather(error and str(error)) if text is not None]
        if messages:
            raise error or RunError(messages[0])

    def gather(self, mine: Any) -> list[Any]:
        """What every process has, by rank."""
        if self.size == 1:
            return [mine]
        everything: list[Any] = [None] * self.size
        distributed.all_gather_object(everything, mine)
        return everything
