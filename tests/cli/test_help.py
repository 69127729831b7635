"""Help and completion: without PyTorch, and from the same declarations as the commands."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata

import pytest

from throughtime import cells, tasks
from throughtime.cli import completion, placeholders
from throughtime.cli.main import COMMANDS, main

TEXT = "def cat():\n    return 'mat'\n\n" * 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder to work in, with a run, a folder that is none, and recipes."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "text.py").write_text(TEXT)
    small = "--hidden_size 8 --num_layers 1 --batch_size 4 --num_steps 10 --epochs 1".split()
    run = folder / "runs" / "char-lm" / "small"
    assert main(["train", "char-lm", "--data", str(folder / "text.py"), *small,
                 "--run", str(run)]) == 0  # fmt: skip
    for name in ("char-lm/mine", "scan/other", "tables/small"):
        (folder / "recipes" / name).parent.mkdir(parents=True)
        (folder / "recipes" / f"{name}.yaml").write_text("hidden_size: 3\n")
    (folder / "elsewhere").mkdir()
    return folder


def python(code, folder, *words):
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# All in one process, since each needs a moment to start.
HELPS = """
import contextlib, io, json, sys
from throughtime.cli.main import main
from throughtime.cli.placeholders import REPLACED
texts = []
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main()
    texts.append(out.getvalue())
real = [name for name in REPLACED if getattr(sys.modules.get(name), "__file__", None)]
print(json.dumps([texts, real]))
"""


def test_help_is_the_same_without_torch(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    lines = [
        ["--help"],
        ["-V"],
        ["help"],
        ["help", "cells"],
        *([name, "--help"] for name in COMMANDS),
    ]
    lines += [["train", name, "-h"] for name in tasks.names()]
    lines += [["train", "char-lm", "--learner", "evolution", "--help"]]
    lines += [
        [name, "runs/char-lm/small", "--help"] for name in ("evaluate", "generate", "inspect")
    ]
    expected = []
    for words in lines:
        with contextlib.suppress(SystemExit):
            main(words)
        expected.append(capsys.readouterr().out)
    texts, real = json.loads(python(HELPS, folder, json.dumps(lines)))
    assert real == []
    for words, text, with_torch in zip(lines, texts, expected, strict=True):
        assert text == with_torch, words
        assert len(text) > 15, words
    assert texts[1] == f"throughtime {metadata.version('throughtime')}\n"


def test_only_a_process_that_asks_for_help_gets_placeholders():
    assert placeholders.only_helps(["train", "char-lm", "--tied", "-h"])
    assert not placeholders.only_helps(["train", "char-lm", "--tied"])
    assert not placeholders.only_helps(["predict", "run", "--", "--help"])
    # A call from Python goes on afterwards, perhaps with PyTorch.
    code = (
        "import sys; from throughtime.cli.main import main; main(['--help'])\n"
        "import torch; assert torch.ones(2).sum() == 2"
    )
    assert "usage: throughtime" in python(code, ".")


def test_a_placeholder_stands_for_all_that_a_declaration_needs():
    torch = placeholders.Placeholder("torch")

    @torch.no_grad()
    def function():
        return 3

    class Layer(torch.nn.Module, dict):
        pass

    assert function() == 3
    assert Layer.__mro__ == (Layer, dict, object)
    assert not isinstance(3, torch.Tensor)
    assert not issubclass(int, torch.Tensor)
    assert isinstance(None | torch.Tensor, placeholders.Placeholder)
    assert isinstance(torch.Tensor | None, placeholders.Placeholder)
    assert list[torch.Tensor]
    assert not hasattr(torch, "__version__")


# The process starts once and forks for each line, as a completion ends its process.
COMPLETIONS = """
import json, os, sys
from throughtime.cli import completion, placeholders
placeholders.install()
from throughtime.cli import bench, cells, equations, evaluate, train
from throughtime.cli.main import main
os.environ |= {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\\n", "COMP_TYPE": "9",
               "_ARGCOMPLETE_STDOUT_FILENAME": "answer"}
answers = []
for line in json.loads(sys.argv.pop()):
    open("answer", "w").close()
    if os.fork() == 0:
        os.environ |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
        sys.exit(main())
    os.wait()
    answers.append(open("answer").read().split("\\n"))
print(json.dumps([answers, hasattr(sys.modules["torch"], "__file__")]))
"""


def test_words_are_completed_from_the_declarations(folder):
    lstms = [name for name in cells.names() if name.startswith("lstm-n")]
    expected = {
        "throughtime ": {*COMMANDS},
        "throughtime tra": {"train "},
        "throughtime train ": {*tasks.names()},
        "throughtime train char-lm --hidden": {"--hidden_size "},
        "throughtime train char-lm --hidden-s": {"--hidden-size "},
        "throughtime train char-lm --hidden-size 3 --tied --warm": {"--warmup-steps "},
        "throughtime train char-lm --decay ": {"cosine", "linear", "none"},
        "throughtime train char-lm --tied ": {"true", "false"},
        "throughtime train char-lm --merge=co": {"--merge=concat "},
        "throughtime train char-lm --cell lstm-n": {*lstms},
        "throughtime train char-lm --learner e": {"evolution "},
        "throughtime train char-lm --config ": {"recipes/char-lm/mine.yaml", "recipes/"},
        "throughtime train char-lm --run runs/char-lm/": {"runs/char-lm/small "},
        "throughtime evaluate ": {"runs/char-lm/small", "elsewhere/"},
        "throughtime evaluate runs/char-lm/small --unk": {"--unknown "},
        "throughtime equations lstm-n": {*lstms},
        "throughtime bench --cells gru lstm-n": {*lstms},
        "throughtime bench --modes ": {"inference", "training"},
        "throughtime table ": {"small"},
        "throughtime inspect ": {"runs/char-lm/small", "elsewhere/"},
        "throughtime inspect runs/char-lm/small --mea": {"--measures "},
        "throughtime inspect runs/char-lm/small --compare runs/char-lm/": {"runs/char-lm/small "},
        "throughtime inspect --cell lstm-n": {*lstms},
        "throughtime cells --y": {"--year "},
        "throughtime nothing ": {""},
    }
    answers, has_torch = json.loads(python(COMPLETIONS, folder, json.dumps(list(expected))))
    assert not has_torch
    for (line, words), answer in zip(expected.items(), answers, strict=True):
        assert words <= set(answer), line
        typed = line.rpartition(" ")[2]
        assert all(word.startswith(typed) for word in answer if words != {""}), line
    assert "recipes/scan/other.yaml" not in answers[list(expected).index(
        "throughtime train char-lm --config "
    )]  # fmt: skip


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_gets_a_script_that_it_accepts(shell, capsys):
    for words in (["--print_completion", shell], [f"--print-completion={shell}"]):
        assert main(words) == 0
        script = capsys.readouterr().out
        assert "throughtime" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_completes_a_word(folder, tmp_path):
    program = tmp_path / "throughtime"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m throughtime.cli.main "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(throughtime --print_completion bash)"
        COMP_LINE="throughtime train char-lm --decay co" COMP_POINT=36 COMP_TYPE=9
        COMP_WORDS=(throughtime train char-lm --decay co) COMP_CWORD=4
        _python_argcomplete throughtime
        echo "${COMPREPLY[@]}"
    """
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    bash = ["bash", "--norc", "-c", script]
    done = subprocess.run(
        bash,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["cosine"]


@pytest.mark.parametrize("words", [["--print_completion"], ["--print_completion", "csh"]])
def test_an_unknown_shell_is_refused(words, capsys):
    assert main(words) == 2
    assert "expected one of bash, zsh, fish" in capsys.readouterr().err
