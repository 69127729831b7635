"""Answers the requests of the page; see :mod:`throughtime.inspection.page`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal

from throughtime.checks import unknown
from throughtime.inspection.measures.correlation import followers
from throughtime.inspection.measures.projection import pca, tsne
from throughtime.inspection.measures.text_properties import PROPERTIES
from throughtime.inspection.page.about import about
from throughtime.inspection.page.beam_tree import beam_tree
from throughtime.inspection.page.following import as_text, followed
from throughtime.inspection.page.held_out import fires, matches, points, units_above
from throughtime.inspection.page.opened import OpenedRun
from throughtime.inspection.page.patterns import timed_pattern
from throughtime.inspection.page.wire import finite, packed
from throughtime.inspection.page.writing import HeldUnit, written
from throughtime.models.decoding import Sampling
from throughtime.reading import Each, Entries, Maybe, Number, Whole, typed
from throughtime.tasks.uses import Searches

__all__ = ["Session"]

_MOST_TOKENS = 2000
_MOST_PLACES = 100
_MOST_BEAMS = 20
_MOST_POINTS = 1000


def _name(value: object) -> str:
    # The search for the most similar name takes long for a long one.
    if not isinstance(value, str) or len(value) > 200:
        raise ValueError("expected a name.")
    return value


_RUN, _INDEX = {"run": Whole(0)}, Whole(0)
_INPUT = {"text": str, "example": _INDEX}
_SET = Entries({"name": _name, "unit": _INDEX, "value": Number()})
_KINDS: dict[str, Entries] = {
    "runs": Entries(),
    "read": Entries(_RUN, {**_INPUT, "values": Each(_name), "known": _INDEX, "version": _INDEX}),
    "fires": Entries({**_RUN, "name": _name, "unit": _INDEX}, {"most": Whole(1, _MOST_PLACES)}),
    "match": Entries(
        {**_RUN, "name": _name, "from": _INDEX, "to": _INDEX, "threshold": Number()},
        {**_INPUT, "is_strict": bool},
    ),
    "follow": Entries(_RUN, {"property": _name, "pattern": str}),
    "write": Entries(
        {**_RUN, "text": str, "at": _INDEX, "length": Whole(0, _MOST_TOKENS)},
        {
            "temperature": Maybe(Number()),
            "top_k": Maybe(Whole()),
            "top_p": Maybe(Number()),
            "seed": Maybe(Whole(0, 2**32 - 1)),
            "set": Maybe(Each(_SET)),
        },
    ),
    "compare": Entries({"runs": Each(_INDEX)}, _INPUT),
    "beam": Entries({**_RUN, "text": str, "width": Whole(1, _MOST_BEAMS)}),
    "project": Entries(
        {**_RUN, "method": Literal["pca", "tsne"]}, {"name": _name, "embedding": _name}
    ),
}
"""The fields of each request."""


class Session:
    """Answers the requests of all pages that show the same runs.

    A page keeps its own state, such as its text; the session keeps only what it has computed.
    Several threads may ask at once.

    Args:
        folders: the run folders.

    Raises:
        ValueError: if a folder is no run that can be inspected.
    """

    def __init__(self, folders: Sequence[str | Path]) -> None:
        self._versions = count(1)
        self._lock = threading.Lock()
        self._is_closed = threading.Event()
        self.runs = [self._opened(Path(folder)) for folder in folders]

    def _opened(self, folder: Path) -> OpenedRun:
        return OpenedRun(folder, next(self._versions), self._check)

    def _check(self) -> None:
        if self._is_closed.is_set():
            raise ValueError("The server is ending.")

    def close(self) -> None:
        """Ends the long computations that go on in other threads."""
        self._is_closed.set()

    def answer(self, name: str, request: Any) -> dict[str, Any]:
        """The answer to a request.

        Args:
            name: the name of the request.
            request: its fields.

        Raises:
            ValueError: with a sentence for the user, if it cannot be answered.
            ImportError: if a package is missing that it needs.
        """
        if name not in _KINDS:
            raise unknown("request", name[:200], _KINDS)
        return _ANSWERS[name](self, typed(name, request, _KINDS[name]))

    def _run(self, index: int) -> OpenedRun:
        if index >= len(self.runs):
            raise ValueError(f"run: expected an index below {len(self.runs)}, got {index}.")
        return self.runs[index]

    def _runs(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            # Requests that go on keep the model with which they have begun.
            self.runs = [self._opened(r.folder) if r.is_stale else r for r in self.runs]
        return {"runs": [about(run) for run in self.runs]}

    def _read(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self._run(request["run"])
        input = _input(request)
        reading = run.read(input)
        known = 0
        if run.reader is not None and request.get("version", run.version) == run.version:
            known = min(request.get("known", 0), len(reading.steps[""]))
        names = dict.fromkeys(request.get("values", ()))
        features = reading.features
        return {
            "steps": {part: list(tokens) for part, tokens in reading.steps.items()},
            "known": known,
            "version": run.version,
            "values": [packed(name, reading.values(name, known)) for name in names],
            "top": reading.top(known),
            "features": None if features is None else packed("features", features),
            "feature_names": list(reading.feature_names),
            "unknown": run.unknown(input),
            "text": run.typed(input),
        }

    def _fires(self, request: dict[str, Any]) -> dict[str, Any]:
        recordings = self._run(request["run"]).recordings
        name, unit = request["name"], request["unit"]
        width = recordings[0].values[name].shape[1] if name in recordings[0].values else None
        if width is not None and unit >= width:
            raise ValueError(f"unit: expected one of {name} below {width}, got {unit}.")
        return fires(recordings, name, unit, request.get("most", 20))

    def _match(self, request: dict[str, Any]) -> dict[str, Any]:
        run, name, threshold = self._run(request["run"]), request["name"], request["threshold"]
        begin, end = request["from"], request["to"]
        values = run.read(_input(request)).values(name)
        if not begin < end <= len(values):
            raise ValueError(
                f"match: expected from < to, and to of at most {len(values)}, the number of steps, "
                f"got from={begin} and to={end}."
            )
        recordings = run.recordings
        units = units_above(values, begin, end, threshold, request.get("is_strict", False))
        return {"units": units, **matches(recordings, name, units, end - begin, threshold)}

    def _follow(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self._run(request["run"])
        _one_of(request, "property", "pattern")
        recordings = run.recordings
        texts = [as_text(steps) for r in recordings for steps in r.steps.values()]
        if "pattern" in request:
            property = timed_pattern(request["pattern"], texts)
        elif request["property"] not in PROPERTIES:
            raise unknown("property", request["property"], PROPERTIES)
        else:
            property = PROPERTIES[request["property"]]
        units = followers(*followed(recordings, property))
        correlations = finite(unit.correlation for unit in units)
        return {
            "units": [
                {"name": unit.name, "unit": unit.unit, "correlation": correlation}
                for unit, correlation in zip(units, correlations, strict=True)
            ],
            "steps": sum(len(steps) for r in recordings for steps in list(r.steps.values())[-1:]),
        }

    def _write(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self._run(request["run"])
        language, reader = self._language(run), run.reader
        assert reader is not None
        options = {
            name: request[name]
            for name in ("temperature", "top_k", "top_p")
            if request.get(name) is not None
        }
        sampling = Sampling(**options)
        ids, at = run.ids(request["text"]), request["at"]
        if at > len(ids):
            raise ValueError(
                f"at: expected at most {len(ids)}, the number of tokens of the text, got {at}."
            )
        units = [HeldUnit(**unit) for unit in request.get("set") or ()]
        with run.lock:
            block = reader.read(ids[:at])[-1] if at else reader.start()
            arguments = (run.model, language.tokens, block, request["length"], sampling)
            return written(*arguments, request.get("seed"), units)

    def _language(self, run: OpenedRun) -> Any:
        if run.language is None:
            raise ValueError(f"{run.folder}: the model does not write token by token.")
        return run.language

    def _compare(self, request: dict[str, Any]) -> dict[str, Any]:
        runs = [self._run(index) for index in request["runs"]]
        if not runs:
            raise ValueError("compare: expected at least one run, got none.")
        input = _input(request)
        text = input if isinstance(input, str) else runs[0].example(input)
        tokens: list[list[str]] = []
        nats: list[list[float]] = []
        for run in runs:
            language = self._language(run)
            try:
                ids = run.ids(text)
            except ValueError as error:
                raise ValueError(f"{run.folder}: {error}") from error
            if not ids:
                raise ValueError("expected at least one character, got an empty text.")
            tokens.append([language.tokens[i] for i in ids])
            if tokens[-1] != tokens[0]:
                raise ValueError(
                    f"{run.folder} and {runs[0].folder} cut the text into different tokens, so "
                    "they cannot be compared token by token."
                )
            assert run.reader is not None
            with run.lock:
                nats.append(run.reader.nats(ids))
        lines = []
        for first, last in _lines(tokens[0]):
            sums = finite(sum(of_run[first:last]) for of_run in nats)
            lines.append({"text": "".join(tokens[0][first:last]), "nats": sums})
        return {"lines": lines, "tokens": tokens[0], "nats": [finite(of_run) for of_run in nats]}

    def _beam(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self._run(request["run"])
        if not isinstance(run.task, Searches):
            raise ValueError(f"{run.folder}: the model does not write by a beam search.")
        text = run.text(request["text"])
        with run.lock:
            return beam_tree(run.task, run.model, text, request["width"])

    def _project(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self._run(request["run"])
        if _one_of(request, "name", "embedding") == "name":
            values, tokens = points(run.recordings, request["name"], _MOST_POINTS)
        else:
            values, tokens = run.embedding(request["embedding"])
            values, tokens = values[:_MOST_POINTS], list(tokens[:_MOST_POINTS])
        projection = tsne(values) if request["method"] == "tsne" else pca(values)
        return {
            "points": projection.points.tolist(),
            "tokens": tokens,
            "explained": projection.explained.tolist(),
        }


_ANSWERS: dict[str, Callable[[Session, dict[str, Any]], dict[str, Any]]] = {
    name: getattr(Session, f"_{name}") for name in _KINDS
}


def _input(request: dict[str, Any]) -> str | int:
    """The text, or the number of the example, that a request names."""
    return request[_one_of(request, "text", "example")]


def _one_of(request: dict[str, Any], first: str, second: str) -> str:
    """The one of two fields that a request has."""
    if (first in request) == (second in request):
        which = "both" if first in request else "neither"
        raise ValueError(f'expected either "{first}" or "{second}", got {which}.')
    return first if first in request else second


def _lines(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """The first token of each line, and that after its last."""
    ends = [i + 1 for i, token in enumerate(tokens) if "\n" in token]
    ends += [len(tokens)] if not ends or ends[-1] < len(tokens) else []
    return list(zip([0, *ends], ends, strict=False))
