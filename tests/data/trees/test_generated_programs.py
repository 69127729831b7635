"""Generated specifications: always the same, one meaning each, splits, held-out combinations."""

import itertools
import random
from collections import Counter

import pytest

from throughtime.data.trees import (
    ProgramExample,
    TreeError,
    TreeSet,
    equal_trees,
    generate_programs,
    passes,
    program_type,
    read_type,
    skeleton,
    stored_programs,
)
from throughtime.data.trees.algolisp.generating import _candidates
from throughtime.data.trees.algolisp.grammar import LEAVES, rules


@pytest.fixture(scope="module")
def programs() -> TreeSet:
    return generate_programs(300, 34, 20)


def test_the_same_programs_are_generated_everywhere(programs):
    # A change of the rules changes this; the figures of models trained before do not hold for it.
    assert programs.fingerprint() == FINGERPRINT
    other = generate_programs(20, 2, 1, seed=1)
    assert [e.source for e in other.splits["train"]] != [
        e.source for e in programs.splits["train"][:20]
    ]


def test_the_splits_have_their_sizes_and_share_neither_specification_nor_program(programs):
    assert {split: len(part) for split, part in programs.splits.items()} == {
        **{"train": 300, "valid": 34, "test": 20}
    }
    for one, other in itertools.combinations(programs.splits.values(), 2):
        assert not {e.source for e in one} & {e.source for e in other}
        assert not {e.tree for e in one} & {e.tree for e in other}
    sources = [e.source for part in programs.splits.values() for e in part]
    assert len(set(sources)) == len(sources)


def test_three_of_ten_programs_of_the_test_have_a_new_skeleton(programs):
    known = {skeleton(example.tree) for example in programs.splits["train"]}
    for part in programs.splits.values():
        assert all(e.is_seen == (skeleton(e.tree) in known) for e in part)
    assert sum(not e.is_seen for e in programs.splits["test"]) == 6


def test_some_rules_are_inside_certain_others_in_the_test_only():
    draw = itertools.islice(_candidates(random.Random(0)), 800)
    by_split = Counter(candidate.split for candidate in draw)
    # A tenth is for the test because of its sha256, the rest because it is held out.
    assert by_split["test"] > 0.22 * by_split.total()
    assert by_split["train"] > 0.55 * by_split.total()


def test_each_program_has_its_type_and_passes_its_tests(programs):
    for part in programs.splits.values():
        for example in part:
            assert isinstance(example, ProgramExample)
            kinds = {name: read_type(kind) for name, kind in example.arguments}
            program_type(example.tree, kinds, read_type(example.returns))
            assert len(example.tests) == 5
            assert passes(example, example.tree)


def test_a_specification_names_its_arguments_and_constants(programs):
    for example in programs.splits["train"]:
        words = example.source.split(" ")
        assert {name for name, _ in example.arguments} <= set(words)
        assert "" not in words
        assert not any(word[0] in "@$" for word in (*words, *example.tree.labels))


def test_no_specification_has_two_meanings():
    # Without the repetitions that the generator leaves out, two programs of one text would be seen.
    programs: dict[str, object] = {}
    for seed in range(2):
        for candidate in itertools.islice(_candidates(random.Random(seed)), 1000):
            tree = programs.setdefault(candidate.source, candidate.tree)
            assert equal_trees(tree, candidate.tree), candidate.source


def test_every_rule_is_well_formed():
    kinds = rules()
    names = [rule.name for of_kind in kinds.values() for rule in of_kind]
    assert len(set(names)) == len(names) > 100
    for rule in (rule for of_kind in kinds.values() for rule in of_kind):
        numbers = {str(i) for i in range(len(rule.parts))}
        assert {part.removesuffix("!") for part in rule.parts} <= kinds.keys()
        assert all(part.removesuffix("!") in LEAVES for part in rule.parts if part.endswith("!"))
        for text in rule.texts:
            assert {word[1:] for word in text.split() if word.startswith("$")} == numbers, text
        assert rule.texts
        flat = str(rule.program)
        assert all(f"'${i}'" in flat or f"'@{i}'" in flat for i in numbers), rule.name


def test_programs_are_kept_in_files_and_read_from_them(tmp_path, monkeypatch):
    programs = stored_programs(12, 2, 1, folder=tmp_path)
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(
        "throughtime.data.trees.algolisp.stored.generate_programs", lambda *_, **__: 1 / 0
    )
    assert stored_programs(12, 2, 1, folder=tmp_path) == programs
    with pytest.raises(ZeroDivisionError):
        stored_programs(12, 2, 1, seed=1, folder=tmp_path)
    monkeypatch.undo()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    stored_programs(12, 2, 1, folder=tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents
    (folder / "test.jsonl.gz").write_bytes(contents["test.jsonl.gz"][:-20])
    with pytest.raises(TreeError, match=r"test.jsonl.gz: expected lines of JSON"):
        stored_programs(12, 2, 1, folder=tmp_path)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="expected num_test of at least 1, got 0"):
        generate_programs(10, 1, 0)


@pytest.mark.slow
def test_all_programs_are_generated_within_the_vocabulary_of_the_training():
    programs = generate_programs()
    train, test = programs.splits["train"], programs.splits["test"]
    assert {split: len(part) for split, part in programs.splits.items()} == {
        **{"train": 80_000, "valid": 9_000, "test": 11_000}
    }
    assert sum(not example.is_seen for example in test) == 3300
    known = {word for example in train for word in example.source.split()}
    assert {word for example in test for word in example.source.split()} <= known
    labels = {label for example in train for label in example.tree.labels}
    assert {label for example in test for label in example.tree.labels} <= labels
    assert not {e.source for e in train} & {e.source for e in test}
    assert programs.fingerprint() == FINGERPRINT_OF_ALL


FINGERPRINT = "ea0b40a7aa90f2a47601dc6c6ef425dd551e135bcfe6c715453055b422999a11"
FINGERPRINT_OF_ALL = "fdda8258e59749caa3def0387ed323441b97725ba193bab68f504ed1bc00a07d"
