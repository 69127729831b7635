"""Where a model of sequence to sequence looked, as its run folder keeps it for the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from torch import nn

from throughtime.data import UNK, Tokeniser
from throughtime.inspection.attention_map import AttentionMap
from throughtime.models import Hypothesis
from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.sequence_to_sequence import SequenceToSequence
from throughtime.tasks.task import Task

__all__ = ["align", "has_attention", "record_alignments", "recorded_alignments", "tokens_of"]

_PAIRS, _MOST_TOKENS, _MOST_DRAWN = 4, 40, 500


def has_attention(task: Task) -> bool:
    """Whether the models of this task look back at a source."""
    return isinstance(task, SequenceToSequence) and task.config.attention != "none"


def align(task: SequenceToSequence, source: str, found: Hypothesis) -> AttentionMap | None:
    """The map of one hypothesis; None where it is empty, or there is no attention.

    Args:
        task: of which the tokenisers are.
        source: as the model read it.
        found: what it wrote.
    """
    if found.attention is None or not found.tokens:
        return None
    reads, writes = task.tokenisers
    ids, texts = reads.encode(source), [task.shown(source), writes.decode(found.tokens)]
    # The search has cut a long source, and nobody could read a map of more tokens than these.
    weights = found.attention[:_MOST_DRAWN, :_MOST_DRAWN]
    T, S = weights.shape
    if (T, S) != (len(found.tokens), len(ids)):
        texts = [text if len(text) < 200 else f"{text[:199]}…" for text in texts]
        texts[1] += (
            f" (of {len(ids):,} tokens the first {S}, of {len(found.tokens):,} the first {T})"
        )
    return AttentionMap(
        tokens_of(reads, ids[:S], reads.unknown(source)),
        tokens_of(writes, found.tokens[:T]),
        [[round(w, 4) for w in row] for row in weights.tolist()],
        " → ".join(texts),
    )


def tokens_of(tokeniser: Tokeniser, ids: Sequence[int], unknown: Sequence[str] = ()) -> list[str]:
    """Each id as text; the unknown ones as they were written, where that is known."""
    left = iter(unknown)
    return [
        next(left, tokeniser.decode([i])) if i == UNK else tokeniser.decode([i]) or "·" for i in ids
    ]


def record_alignments(run: Run, task: Task, model: nn.Module, step: int) -> None:
    """Writes where the model looks for the first pairs of the validation; else does nothing.

    Args:
        run: the folder; see :attr:`throughtime.tasks.run.Run.attention_file`.
        task, model: what is learned, and how far it is.
        step: of the training.
    """
    if not isinstance(task, SequenceToSequence) or not has_attention(task):
        return
    reads, writes = task.tokenisers
    pairs = [p for p in task.split("valid")[:50] if 0 < len(reads.encode(p.source)) <= _MOST_TOKENS]
    pairs = pairs[:_PAIRS]
    coded = [reads.encode(pair.source) for pair in pairs]
    found = task.search(model, coded)
    maps: list[dict[str, Any]] = []
    for pair, (best,) in zip(pairs, found, strict=True):
        drawn = align(task, pair.source, best)
        if drawn is not None:
            is_right = writes.decode(best.tokens) == pair.target
            title = drawn.title if is_right else f"{drawn.title} ({pair.target})"
            # A model that has learned little may write without end.
            kept = {"target": drawn.target[:_MOST_TOKENS], "weights": drawn.weights[:_MOST_TOKENS]}
            maps.append(drawn._replace(title=title, **kept)._asdict())
    text = json.dumps({"step": step, "maps": maps}) + "\n"
    written_whole(run.attention_file, lambda path: path.write_text(text, encoding="utf-8"))


def recorded_alignments(run: Run) -> tuple[int, list[AttentionMap]]:
    """The step of the training, and the maps; none where none were recorded."""
    if not run.attention_file.is_file():
        return 0, []
    content = json.loads(run.attention_file.read_text(encoding="utf-8"))
    return content["step"], [AttentionMap(**drawn) for drawn in content["maps"]]
