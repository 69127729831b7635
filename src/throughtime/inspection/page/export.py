"""The page and the answers for one input as one file, which works without a server."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from throughtime.inspection.page.files import FILES, content_of
from throughtime.inspection.page.session import Session
from throughtime.tasks.run import written_whole

__all__ = ["write_page"]

MOST_BYTES = 20_000_000
"""The largest size of a file."""

_BEAM_WIDTH = 4

_LINK = re.compile(r'<link rel="stylesheet" href="\./([\w.]+)">')
_SCRIPT = re.compile(r'<script type="module" src="\./([\w.]+)"></script>')
_IMPORT = re.compile(r'\b(from|import)(\s*\(?\s*)"\./([\w.]+\.js)"')
# A file has no headers of its own. Its scripts are in it; it may load nothing.
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'\">"
)


def write_page(
    runs: Sequence[str | Path],
    path: str | Path,
    input: str | int = 0,
    *,
    say: Callable[[str], Any] = print,
) -> None:
    """Writes the page with all values of one input into one HTML file.

    The page is below 20 MB. If the values of the input take more, gates are left out, and then
    states; ``say`` and the page tell which.

    Args:
        runs: the run folders.
        path: the file.
        input: the text that the models read, or the index of a held-out example of the first run,
            from 0.
        say: called with each remark for the user, a line of text.

    Raises:
        ValueError: if a folder is no run that can be inspected, a model cannot read the input, or
            the input is so long that the page would be larger without any values.
    """
    session = Session(runs)
    text = session.runs[0].typed(input)
    question = {"text": text} if text is not None else {"example": input}
    # After the inputs were read: without data only a text says what parts a model has.
    firsts = [session.answer("read", {"run": i, **question}) for i in range(len(runs))]
    about = session.answer("runs", {})["runs"]
    reads = []
    for index, run in enumerate(about):
        names = [value["name"] for part in run["parts"] for value in part["values"]]
        request = {"run": index, **question}
        reads.append(_answer(session, "read", request, values=names))
    further = _further(session, about, question)
    rest = len(_page([{"about": about, "firsts": firsts, "further": further}]))
    space = (MOST_BYTES - rest) // len(reads)
    if space < 0:
        raise ValueError(
            f"{path}: the page would have more than {MOST_BYTES / 1e6:g} MB. Give a shorter input."
        )
    for run, read in zip(about, reads, strict=True):
        left_out = _fit(run, read["answer"], space)
        if left_out:
            sentence = f"To stay small, this page has no values of {', '.join(left_out)}."
            run["notes"].append(sentence)
            say(f"{run['folder']}: {sentence}")
    answers = [{"name": "runs", "request": {}, "answer": {"runs": about}}, *reads, *further]
    page = _page(answers)
    written_whole(Path(path), lambda whole: whole.write_text(page, encoding="utf-8"))


def _answer(session: Session, name: str, request: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A request and its answer, as the page looks for them.

    Args:
        more: fields that do not count when the page looks for the request.
    """
    return {"name": name, "request": request, "answer": session.answer(name, {**request, **more})}


def _further(
    session: Session, about: Sequence[dict[str, Any]], question: dict[str, Any]
) -> list[dict[str, Any]]:
    """The answers to the questions that need no choice of the user but the input."""
    answers = []
    languages = [i for i, run in enumerate(about) if run["is_language"]]
    for pair in itertools.permutations(languages, 2):
        answers.append(_answer(session, "compare", {"runs": list(pair), **question}))
    for index, run in enumerate(about):
        if run["has_beam"] and "text" in question:
            request = {"run": index, **question, "width": _BEAM_WIDTH}
            answers.append(_answer(session, "beam", request))
    return answers


def _fit(run: dict[str, Any], answer: dict[str, Any], space: int) -> list[str]:
    """Removes the values that do not fit into so many bytes from the run and the answer.

    States and attention weights are kept rather than gates.

    Returns:
        The names of those that were removed.
    """
    values = {value["name"]: value for part in run["parts"] for value in part["values"]}
    wanted = {name for name, value in values.items() if value["is_state"] or value["is_attention"]}
    kept = set()
    for value in sorted(answer["values"], key=lambda value: value["name"] not in wanted):
        space -= len(json.dumps(value))
        if space >= 0:
            kept.add(value["name"])
    answer["values"] = [value for value in answer["values"] if value["name"] in kept]
    for part in run["parts"]:
        part["values"] = [value for value in part["values"] if value["name"] in kept]
    return [name for name in values if name not in kept]


def _page(answers: Sequence[dict[str, Any]]) -> str:
    """The page with its styles, its modules and the answers in it."""
    page = _text("index.html")
    page = _LINK.sub(lambda link: f"<style>\n{_text(link[1])}</style>", page)
    # No "<" in the JSON, so that no text of the user can end its element.
    data = json.dumps(answers, allow_nan=False).replace("<", "\\u003c")
    imports = {f"lens/{name}": _module(name) for name in sorted(FILES) if name.endswith(".js")}

    def scripts(script: re.Match[str]) -> str:
        return (
            f'<script type="application/json" id="answers">{data}</script>\n'
            f'<script type="importmap">{json.dumps({"imports": imports})}</script>\n'
            f'<script type="module">import "lens/{script[1]}";</script>'
        )

    page = _SCRIPT.sub(scripts, page)
    return page.replace("<head>", f"<head>\n{_POLICY}", 1)


def _module(name: str) -> str:
    """A module as a data URL, which imports the others by the names of the import map."""
    text = _IMPORT.sub(r'\1\2"lens/\3"', _text(name))
    return f"data:text/javascript;base64,{base64.b64encode(text.encode()).decode('ascii')}"


def _text(name: str) -> str:
    return content_of(name)[0].decode("utf-8")
