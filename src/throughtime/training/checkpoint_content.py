"""The content of a checkpoint: collects it from a training, and restores a training from it.

All of it is checked before any of it is used.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from throughtime.reading import Each, Entries, ReadError, Whole, typed
from throughtime.tasks.run import Run, RunError
from throughtime.training import checkpoint
from throughtime.training.checkpoint_kinds import random_kinds
from throughtime.training.learner import Learner
from throughtime.training.position import (
    FIGURES,
    Kept,
    Position,
    Row,
    check_position,
    position_kind,
)

__all__ = ["restored", "state_of"]


def state_of(learner: Learner, position: Position) -> dict[str, Any]:
    """The content of a checkpoint; all processes must call this together."""
    own = {
        "random": checkpoint.random_state(),
        "since_row": position.since_row,
        **learner.own_state(),
    }
    return {
        "step": position.step,
        "position": asdict(position),
        "processes": learner.processes.gather(own),
        **learner.state_dict(),
    }


def restored(run: Run, saved: dict[str, Any], learner: Learner, monitor: str) -> Position:
    """Restores the learner and the random numbers, and returns the position of the training.

    Args:
        run: the run folder.
        saved: the result of :func:`throughtime.training.checkpoint.load`.
        learner: the learner, which is unchanged if the checkpoint is refused.
        monitor: the figure by which the best model is kept.

    Raises:
        RunError: if the checkpoint does not belong to this task, model, optimizer and number of
            processes.
    """
    where, processes = str(run.checkpoint_file), learner.processes
    try:
        state = typed(where, saved, Entries({"processes": list, "step": Whole(0)}, others=object))
        if len(state["processes"]) != processes.size:
            raise RunError(
                f"{where}: was written by {len(state['processes'])} process(es), each "
                f"with the state of its rows; resume with --devices {len(state['processes'])}, got "
                f"{processes.size}."
            )
        shared, own_kinds = learner.state_kinds(state["step"])
        own_kind = Entries({"random": random_kinds(), "since_row": FIGURES, **own_kinds})
        kinds = {"step": Whole(0), "position": position_kind(), "processes": Each(own_kind)}
        state = typed(where, saved, Entries({**kinds, **shared}))
        position, own = state["position"], state["processes"][processes.rank]
        if position["step"] != state["step"]:
            raise ReadError(f"{where}: position.step", f"expected the step {state['step']}.")
        position["since_row"] = own["since_row"]
        check_position(f"{where}: position", position, monitor, set(learner.means))
        learner.load_state_dict(state, own, state["step"])
    except (ReadError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        what = str(error).removeprefix(f"{where}: ")
        raise RunError(
            f"{where}: the checkpoint does not fit this run ({what.rstrip('.')}), so "
            f"it cannot be resumed. The best model beside it can still be used."
        ) from error
    checkpoint.set_random_state(own["random"])
    rows = [Row(**row) for row in position.pop("unwritten")]
    kept = [Kept(**validation) for validation in position.pop("kept", ())]
    return Position(**position, unwritten=rows, kept=kept)
