"""throughtime inspect RUN: shows what a trained network does while it reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from throughtime.cli import completion
from throughtime.cli.opening import open_run
from throughtime.cli.parser import Parser
from throughtime.inspection.measures.losses import decay_of_model
from throughtime.inspection.measures.summary import MOST_LAGS
from throughtime.inspection.measures.text_properties import PROPERTIES, Property, pattern
from throughtime.inspection.pictures.folder import write_pictures
from throughtime.inspection.watched import Watched, example_of
from throughtime.reading import path_of
from throughtime.tasks.run import Run, versions
from throughtime.tasks.uses import Inspectable

__all__ = ["main"]

_MOST_CHARACTERS = 10_000
_DESCRIPTION = (
    "Shows what a trained network does while it reads a text, or an example of its held-out data. "
    "Without an option that says otherwise, a short table of measures is printed. "
    "`throughtime inspect --cell NAME` shows the equations of a cell instead of a run."
)


def main(argv: Sequence[str]) -> int:
    if any(word.partition("=")[0] == "--cell" for word in argv):
        from throughtime.cli import lecture

        return lecture.main(argv)
    parser = _parser()
    args = parser.complete(parser.parse(argv))
    _check(parser, args)
    run, task = _opened(args["run"])
    for remark in _remarks(run):
        print(remark, file=sys.stderr)
    if args["serve"] or args["html"] is not None:
        return _page(run, task, args)
    input = example_of(task, args["example"]) if args["text"] is None else args["text"]
    is_own, step = args["text"] is not None, args["step"]
    opened = [Watched(run, task, input, is_own=is_own, step=step)]
    if args["compare"] is not None:
        opened.append(Watched(*_opened(args["compare"]), input, is_own=is_own, step=step))
    properties = dict(PROPERTIES)
    if args["pattern"] is not None:
        properties[f"pattern {args['pattern']}"] = pattern(args["pattern"])
    if args["record"] is not None:
        path = path_of("--record", args["record"])
        opened[0].recording.save(path)
        print(path)
    if args["pictures"] is not None:
        for path in _pictures(path_of("--pictures", args["pictures"]), opened, args, properties):
            print(path)
    if args["measures"] or (args["record"] is None and args["pictures"] is None):
        _print_measures(opened, properties, args)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="throughtime inspect", description=_DESCRIPTION)
    parser.completers = {
        "run": completion.run_folders,
        "compare": completion.run_folders,
        "cell": completion.cell_names,
    }
    parser.add_argument("run", type=str, help="the run folder")
    parser.add_argument("--text", type=str | None, help="the text to read")
    parser.add_argument(
        "--example",
        type=int | None,
        help="the number of a held-out example to read, from 1 (default: the longest; of --html "
        "the first)",
    )
    parser.add_argument(
        "--step", type=int | None, help="a model that --keep_best has kept, instead of the best"
    )
    parser.add_argument(
        "--measures", type=bool, default=False, help="print all measures, also those that take long"
    )
    parser.add_argument(
        "--json", type=bool, default=False, help="print the measures as JSON, and nothing else"
    )
    parser.add_argument(
        "--pattern",
        type=str | None,
        help="a regular expression: which units are active inside its matches",
    )
    parser.add_argument(
        "--record",
        type=str | None,
        help="a .safetensors file for every gate, state and attention weight at every step",
    )
    parser.add_argument("--pictures", type=str | None, help="a folder for pictures (SVG)")
    parser.add_argument(
        "--unit",
        type=str | None,
        help="the unit that colours the text of a picture, such as recurrent.c_l1:31 (default: "
        "one that follows a property of the text)",
    )
    parser.add_argument(
        "--html", type=str | None, help="a file for the page of the run, which works offline"
    )
    parser.add_argument(
        "--serve",
        type=bool,
        default=False,
        help="serve the page of the run to browsers of this machine, until Ctrl-C",
    )
    parser.add_argument("--port", type=int | None, help="the port of --serve (default: any)")
    parser.add_argument("--compare", type=str | None, help="a second run folder")
    parser.add_argument(
        "--cell", type=str | None, help="the name of a cell, or path.py:Class, in place of a run"
    )
    return parser


def _check(parser: Parser, args: Mapping[str, Any]) -> None:
    """Ends the program if options exclude each other or have no effect."""
    if args["text"] is not None and args["example"] is not None:
        parser.error("--example: --text is read instead; leave one of them out")
    if args["text"] is not None and not args["text"]:
        parser.error("--text: expected a text, got an empty one")
    if args["text"] is not None and len(args["text"]) > _MOST_CHARACTERS:
        parser.error(
            f"--text: expected at most {_MOST_CHARACTERS:,} characters, got "
            f"{len(args['text']):,}. Take a part of it"
        )
    is_page = args["serve"] or args["html"] is not None
    has_table = args["measures"] or not (
        is_page or args["record"] is not None or args["pictures"] is not None
    )
    needs = [
        ("json", args["json"] and not has_table, "--measures"),
        ("pattern", args["pattern"] is not None and is_page, "the table or --pictures"),
        ("unit", args["unit"] is not None and args["pictures"] is None, "--pictures"),
        ("port", args["port"] is not None and not args["serve"], "--serve"),
        ("step", args["step"] is not None and is_page, "the best model: leave it out"),
    ]
    for name, is_idle, what in needs:
        if is_idle:
            parser.error(f"--{name}: has no effect here; it is for {what}")
    if args["serve"] and (args["text"] is not None or args["example"] is not None):
        parser.error("--text and --example have no effect with --serve: type on the page")
    if is_page and (args["measures"] or args["record"] is not None or args["pictures"] is not None):
        parser.error("--html and --serve show the page alone; call the command again for the rest")
    if args["serve"] and args["html"] is not None:
        parser.error("--html writes the page and --serve serves it; leave one of them out")
    if args["record"] is not None and args["compare"] is not None and not has_table:
        parser.error("--compare: a recording holds one run; record the other by a second call")
    if args["record"] is not None and not args["record"].endswith(".safetensors"):
        parser.error(f"--record: expected a name that ends with .safetensors, got {args['record']}")
    for name in ("record", "html"):
        folder = Path(args[name]).parent if args[name] is not None else Path()
        if not folder.is_dir():
            parser.error(f"--{name}: there is no folder {folder}. Create it first")


def _opened(folder: str) -> tuple[Run, Inspectable]:
    run, task = open_run("inspect", [folder], Inspectable, "whose model can be watched")
    if run is None:
        raise ValueError(f"{folder}: expected a run folder, got an option.")
    assert isinstance(task, Inspectable)
    return run, task


def _remarks(run: Run) -> Iterator[str]:
    """What the user must know of the run before its measures."""
    if run.is_training():
        yield f"{run.folder}: the training is going on; this is the best model so far."
    version, present = run.config()["versions"].get("throughtime"), versions()["throughtime"]
    if version != present:
        yield f"{run.folder}: trained with throughtime {version}; this is {present}."


def _page(run: Run, task: Inspectable, args: Mapping[str, Any]) -> int:
    """Writes or serves the page of one run or two."""
    runs = [run.folder, *([Path(args["compare"])] if args["compare"] is not None else [])]
    if args["serve"]:
        from throughtime.inspection.page.server import serve

        try:
            serve(runs, port=args["port"] or 0)
        except ImportError as error:
            # An optional package is missing; the message says how to install it.
            raise ValueError(str(error)) from error
        return 0
    from throughtime.inspection.page.export import write_page

    path = path_of("--html", args["html"])
    if args["example"] is not None:
        example_of(task, args["example"])
    # The page counts examples from 0.
    number = (args["example"] or 1) - 1
    write_page(runs, path, number if args["text"] is None else args["text"])
    print(path)
    return 0


def _print_measures(
    opened: Sequence[Watched], properties: Mapping[str, Property], args: Mapping[str, Any]
) -> None:
    """Prints the measures of the runs, beside each other if there are two."""
    results = [one.measures(properties, args["measures"]) for one in opened]
    if args["json"]:
        records = [
            {
                "run": str(one.run.folder),
                "task": one.run.config()["task"],
                "steps": {part: list(steps) for part, steps in one.recording.steps.items()},
                "measures": [
                    {"measure": m.measure, "where": m.where, **m.values, "source": m.source}
                    for m in rows
                ],
            }
            for one, rows in zip(opened, results, strict=True)
        ]
        print(json.dumps(records if len(records) > 1 else records[0], allow_nan=False))
        return
    texts = [{(m.measure, m.where): m.text for m in rows} for rows in results]
    keys = list(dict.fromkeys(key for of_run in texts for key in of_run))
    order = list(dict.fromkeys(measure for measure, _ in keys))
    keys.sort(key=lambda key: order.index(key[0]))
    lines = [(*key, *(of_run.get(key, "") for of_run in texts)) for key in keys]
    if len(opened) > 1:
        lines.insert(0, ("", "", *(str(one.run.folder) for one in opened)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    before = ""
    for line in lines:
        # A measure is named once for all its layers.
        shown = ("" if line[0] == before else line[0], *line[1:])
        before = line[0]
        print(
            "  ".join(
                f"{cell:<{width}}" for cell, width in zip(shown, widths, strict=True)
            ).rstrip()
        )
    if not args["measures"]:
        steps = sum(map(len, opened[0].recording.steps.values()))
        print(
            f"\nof {steps} steps; --text or --example chooses others, and --measures prints all "
            "measures."
        )


def _pictures(
    folder: Path,
    opened: Sequence[Watched],
    args: Mapping[str, Any],
    properties: Mapping[str, Property],
) -> Iterator[Path]:
    """Writes the pictures of the first run, in which the gradients of all are drawn."""
    first = opened[0]
    unit = _unit(first, args, properties)
    folder.mkdir(parents=True, exist_ok=True)
    decays, states = decay_of_model(first.task, first.model, first.input, MOST_LAGS)
    fresh, _ = decay_of_model(first.task, first.fresh(), first.input, MOST_LAGS)
    by_run = {"" if len(opened) == 1 else first.run.folder.name: decays, "before training": fresh}
    for other in opened[1:]:
        by_run[other.run.folder.name] = decay_of_model(
            other.task, other.model, other.input, MOST_LAGS
        )[0]
    yield from write_pictures(folder, first.recording, by_run, states, unit)


def _unit(
    first: Watched, args: Mapping[str, Any], properties: Mapping[str, Property]
) -> tuple[str, int]:
    """The unit that colours the text: the one that --unit names, or that follows most."""
    if args["unit"] is not None:
        return first.unit(args["unit"])
    # The pattern of the user is the last property.
    last = dict([list(properties.items())[-1]])
    return first.follower(properties if args["pattern"] is None else last)
