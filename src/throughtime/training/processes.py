"""The processes of a training: their ranks, and what they compute together."""

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
    """Whether this process is the first one, which writes the files, by its environment.

    The environment is known before the processes are connected: torchrun sets RANK, SLURM sets
    SLURM_PROCID, and throughtime itself sets LOCAL_RANK, beside NODE_RANK.
    """
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    if "LOCAL_RANK" not in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        return os.environ.get("SLURM_PROCID", "0") == "0"
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return node == "0" and os.environ.get("LOCAL_RANK", "0") == "0"


class Processes:
    """The processes of a training.

    Each method is a meeting: it returns after all processes have called it. A single process does
    not communicate.

    Args:
        rank: the number of this process, from 0.
        size: the number of processes.
        device: the device of the tensors that are exchanged.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | str = "cpu") -> None:
        self.rank, self.size, self.device = rank, size, torch.device(device)

    @property
    def is_first(self) -> bool:
        """Whether this is the first process, which writes the run folder."""
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
        """The largest value of all processes."""
        if self.size == 1:
            return mine
        value = torch.tensor(float(mine), dtype=torch.float64, device=self.device)
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
        return float(value)

    def any(self, mine: bool) -> bool:
        """Whether the condition holds in at least one process."""
        return bool(self.largest(float(mine)))

    @contextmanager
    def together(self) -> Iterator[None]:
        """A context in which an error of one process is raised in all of them.

        Raises:
            RunError: in the other processes, with the message of the first ValueError or OSError.
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
        """The values of all processes, by rank."""
        if self.size == 1:
            return [mine]
        everything: list[Any] = [None] * self.size
        distributed.all_gather_object(everything, mine)
        return everything
