"""Pipes: read once where once is enough, refused where the data is read again."""

import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from throughtime.cli.main import main
from throughtime.data import load, load_pairs, reopenable
from throughtime.data.sentences import load_sentences
from throughtime.tasks.char_lm import CharLMConfig
from throughtime.tasks.cloze import ClozeConfig
from throughtime.tasks.translation import TranslationConfig

# The shell names the pipes of `<(command)` in this folder; Windows has none.
pytestmark = pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="no /dev/fd here")

TEXT = "the cat sat on the mat.\n" * 100


@contextmanager
def pipe(content):
    """The name of a pipe that another thread fills, as the shell makes it of <(command)."""
    read, write = os.pipe()

    def fill():
        # A pipe that is refused is closed before it is read.
        with suppress(BrokenPipeError), os.fdopen(write, "wb") as file:
            file.write(content.encode())

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield f"/dev/fd/{read}"
    finally:
        os.close(read)
        thread.join()


@contextmanager
def nameless(tmp_path, content):
    """The name of a file that was deleted while it was open, as the shell makes it of <<END."""
    path = tmp_path / "deleted"
    path.write_text(content)
    with path.open("rb") as file:
        path.unlink()
        yield f"/dev/fd/{file.fileno()}"


def test_a_text_is_read_of_a_pipe():
    long = TEXT * 100
    with pipe(long) as name:
        assert "".join(load(name).splits.values()) == long
    with pipe("a b\n" * 10) as name:
        assert load_sentences(name).splits["train"] == ["a b"] * 9
    with pipe("") as name, pytest.raises(ValueError, match="expected a text, got no characters"):
        load(name)


def test_a_text_is_read_of_a_file_without_a_name(tmp_path):
    with nameless(tmp_path, TEXT) as name:
        assert "".join(load(name).splits.values()) == TEXT


def test_a_device_without_an_end_is_refused():
    for refuse in (load, load_pairs):
        with pytest.raises(ValueError, match="/dev/zero: expected a file or"):
            refuse("/dev/zero")


REFUSED = r"{name}: expected a file or folder, because a training reads .*\(command > data.txt\)"


@pytest.mark.parametrize("config", [CharLMConfig, ClozeConfig, TranslationConfig])
def test_a_training_refuses_what_it_could_not_read_again(config, tmp_path):
    with pipe("a\tb\n" * 20) as name, pytest.raises(ValueError, match=REFUSED.format(name=name)):
        config(data=name)
    with (
        nameless(tmp_path, "a") as name,
        pytest.raises(ValueError, match=REFUSED.format(name=name)),
    ):
        config(data=name)


def test_a_training_of_pairs_refuses_a_pipe_among_two_files(tmp_path):
    file = tmp_path / "t"
    file.write_text("a\n" * 20)
    for order in (1, -1):
        with pipe("a\n" * 20) as name:
            both = ",".join([str(file), name][::order])
            with pytest.raises(ValueError, match=REFUSED.format(name=name)):
                TranslationConfig(data=both)
            with pytest.raises(ValueError, match=REFUSED.format(name=name)):
                load_pairs(both)


def test_a_pipe_with_a_name_among_the_files_of_a_folder_is_refused(tmp_path):
    (tmp_path / "train.de").write_text("a\n")
    os.mkfifo(tmp_path / "train.en")
    with pytest.raises(ValueError, match=r"train\.en: expected a file or folder"):
        load_pairs(str(tmp_path), languages="de-en")


def test_a_file_keeps_its_absolute_path_also_by_another_name(tmp_path, monkeypatch):
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    (tmp_path / "link").symlink_to(file)
    monkeypatch.chdir(tmp_path)
    assert CharLMConfig(data="link").data == str(file.resolve())
    with file.open("rb") as open_file:
        assert reopenable(file) == file.resolve()
        assert CharLMConfig(data=f"/dev/fd/{open_file.fileno()}").data == str(file.resolve())


def test_the_commands_train_on_a_file_and_judge_a_pipe(tmp_path, capsys):
    file, run = tmp_path / "text.txt", str(tmp_path / "run")
    file.write_text(TEXT)
    small = "--hidden_size 4 --num_layers 1 --batch_size 4 --num_steps 10 --epochs 1".split()
    with pipe(TEXT) as name:
        assert main(["train", "char-lm", "--data", name, *small, "--run", run]) in (1, 2)
        assert f"{name}: expected a file or folder, because" in capsys.readouterr().err
    assert not Path(run).exists()
    assert main(["train", "char-lm", "--data", str(file), *small, "--run", run]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--data", str(file), "--json"]) == 0
    expected = capsys.readouterr().out
    with pipe(TEXT) as name:
        assert main(["evaluate", run, "--data", name, "--json"]) == 0
    assert capsys.readouterr().out == expected
