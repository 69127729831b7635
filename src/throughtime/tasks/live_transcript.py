"""Writes the transcript of a sound while the sound arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from torch import Tensor

from throughtime.models.ctc import BLANK
from throughtime.models.transcriber import Transcriber, TranscriberStream
from throughtime.tasks.signals import LiveSignal

__all__ = ["live_transcript"]


def live_transcript(
    model: Transcriber,
    live: LiveSignal,
    text_of: Callable[[Iterable[int]], str],
    say: Callable[[str], None],
) -> Iterator[str]:
    """Yields the pieces of the transcript, each as soon as it is heard.

    Args:
        model: a model that reads in one direction.
        live: the signal.
        text_of: turns symbols into a text.
        say: called once, with the latency and the real-time factor.

    Raises:
        ValueError: if the signal breaks off, after the transcript of what has arrived.
    """
    transcript = _Transcript(model.stream(), text_of)
    device = next(model.parameters()).device
    num_samples, busy = 0, 0.0
    pieces, problem = iter(live.pieces), None
    while True:
        try:
            samples = next(pieces)
        except StopIteration:
            break
        except ValueError as error:
            # What was heard before a sound breaks off is written first.
            problem = error
            break
        begin = time.perf_counter()
        num_samples += len(samples)
        text = transcript.further(live.push(samples).to(device), False)
        busy += time.perf_counter() - begin
        if text:
            yield text
    if problem is not None and not num_samples:
        raise problem
    begin = time.perf_counter()
    text = transcript.further(live.finish().to(device), True)
    busy += time.perf_counter() - begin
    yield text + "\n"
    seconds = num_samples / live.rate
    latency = 1000 * live.latency(model.stack * 2**model.pyramid)
    factor = f"{busy / seconds:.4f}" if seconds else "unknown"
    say(
        f"{seconds:.2f} s of sound; latency {latency:.0f} ms of sound (a frame, and the "
        f"frames that must follow it); real-time factor {factor} ({busy:.3f} s computing)"
    )
    if problem is not None:
        raise problem


class _Transcript:
    """The likeliest symbol of each step, without repetitions and blanks.

    Args:
        reader: the model.
        text_of: turns symbols into a text.
    """

    def __init__(self, reader: TranscriberStream, text_of: Callable[[Iterable[int]], str]) -> None:
        self._reader, self._text_of = reader, text_of
        self._last: list[int] = []
        self._before = BLANK

    def further(self, row: Tensor, is_end: bool) -> str:
        """The text of further features (T, I)."""
        text = ""
        for symbol in self._reader.read(row, is_end=is_end).argmax(-1).tolist():
            if symbol not in (BLANK, self._before):
                # What one symbol adds to a text may depend on the symbol before it.
                before = self._text_of(self._last)
                text += self._text_of([*self._last, symbol]).removeprefix(before)
                self._last = [symbol]
            self._before = symbol
        return text
