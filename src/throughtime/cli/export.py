"""throughtime export RUN: writes a trained model as C or ONNX, for programs without Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from torch import nn

from throughtime.cli import completion
from throughtime.cli.opening import open_run
from throughtime.cli.parser import Parser
from throughtime.interchange.c import save_c
from throughtime.interchange.onnx.checking import check_contents
from throughtime.interchange.onnx.export import file_of, onnx_contents
from throughtime.reading import path_of
from throughtime.written import written_together, written_whole

__all__ = ["main"]

_ENDS = {"c": (".h", ".c", ".bin"), "onnx": (".onnx",)}


def main(argv: Sequence[str]) -> int:
    run, task = open_run("export", argv)
    parser = Parser(
        prog="throughtime export",
        description="Writes a trained model as ONNX files, whose outputs are compared with those "
        "of the model on ONNX Runtime; or, if it can run one step at a time, as a C file with its "
        "header. NAME.json beside it holds the vocabulary, the labels and what else the run took "
        "from its data.",
    )
    parser.completers = {"run": completion.run_folders}
    parser.add_argument("run", type=str, help="the run folder")
    parser.add_argument("--to", type=Literal["c", "onnx"], help="what to write", required=True)
    parser.add_argument("--output", type=str, help="the folder for the files", required=True)
    parser.add_argument(
        "--step", type=int | None, help="a model that --keep_best has kept, instead of the best"
    )
    parser.add_argument(
        "--name", type=str | None, help="the name of the files (default: that of the task)"
    )
    parser.add_argument(
        "--weights",
        type=Literal["float", "double", "int8"],
        default="float",
        help="of C: the type of the numbers; int8 computes in float",
    )
    parser.add_argument(
        "--binary",
        type=bool,
        default=False,
        help="of C: whether the weights go to a file of their own, which the program loads",
    )
    parser.add_argument(
        "--overwrite", type=bool, default=False, help="whether existing files may be replaced"
    )
    words = parser.parse(argv)
    args = parser.complete(words)
    assert run is not None
    assert task is not None
    for option in ("weights", "binary"):
        if args["to"] == "onnx" and option in words:
            parser.error(f"--{option} is an option of --to c. Leave it out")
    folder = path_of("--output", args["output"])
    if folder.exists() and not folder.is_dir():
        parser.error(f"--output: expected a folder, got the file {folder}")
    name = args["name"] or task.name.replace("-", "_")
    if Path(name).name != name:
        parser.error(f"--name: expected the name of a file without its ending, got {name}")
    about = folder / f"{name}.json"
    if not args["overwrite"]:
        _check_free(folder / f"{name}{end}" for end in (".json", *_ENDS[args["to"]]))
    model = run.load_model(task, args["step"])
    if args["to"] == "c":
        files = save_c(
            model,
            folder,
            name=name,
            weights=args["weights"],
            binary=args["binary"],
            overwrite=args["overwrite"],
        )
    else:
        path = folder / f"{name}.onnx"
        contents = onnx_contents(model)
        if not args["overwrite"]:
            _check_free(file_of(path, end) for end in contents)
        files = _write_onnx(contents, model, path)
    text = json.dumps({"task": task.name, "assets": task.assets}, ensure_ascii=False) + "\n"
    written_whole(about, lambda path: path.write_text(text, encoding="utf-8"))
    for file in (*files, about):
        print(f"{file}  {file.stat().st_size:,} bytes")
    return 0


def _write_onnx(contents: Mapping[str, bytes], model: nn.Module, path: Path) -> list[Path]:
    """Writes ONNX files, if ONNX Runtime computes the outputs of the model with them."""
    check_contents(contents, model, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {file_of(path, end): content for end, content in contents.items()}
    written_together(
        {
            file: lambda partial, content=content: partial.write_bytes(content)
            for file, content in files.items()
        }
    )
    return list(files)


def _check_free(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists():
            raise ValueError(
                f"{path} exists. Choose another folder or --name, or pass --overwrite."
            )
