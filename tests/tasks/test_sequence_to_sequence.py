"""What tasks from one sequence to another share, by the smallest of them."""

import csv
import json
import logging
import math

import pytest
import torch

from throughtime import tasks
from throughtime.cli.main import main
from throughtime.data import EOS, Pair
from throughtime.tasks.addition import Addition, AdditionConfig
from throughtime.tasks.rewriting import character_error_rate, hypotheses, match_figures
from throughtime.tasks.run import Run

from .learning import learned

SMALL = {"digits": 1, "num_pairs": 40, "num_test": 10, "hidden_size": 24, "batch_size": 8}
SMALL |= {"network": "two", "attention": "general", "bidirectional": True}


@pytest.fixture
def task():
    return Addition(AdditionConfig(**SMALL))


def test_it_is_found_by_its_name():
    assert tasks.get("addition") is Addition
    with pytest.raises(ValueError, match='did you mean "addition"'):
        tasks.get("additon")


# Loss and figures


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_loss_is_the_mean_over_all_tokens_and_ends(task, label_smoothing):
    task.config.label_smoothing = label_smoothing
    model, batch = task.model(), next(iter(task.batches("train")))
    result = task.loss(model, batch)
    loss = result.mean
    logs = model(batch.source, batch.source_lengths, batch.target_in).log_softmax(-1)
    by_hand = []
    for b, length in enumerate(batch.target_lengths.tolist()):
        assert batch.target_out[b, length - 1] == EOS
        for t in range(length):
            right = -logs[b, t, batch.target_out[b, t]]
            by_hand.append((1 - label_smoothing) * right - label_smoothing * logs[b, t].mean())
    torch.testing.assert_close(loss, torch.stack(by_hand).mean())
    assert result.count == len(by_hand)
    assert result.carried is None


def test_padding_does_not_count():
    task = Addition(AdditionConfig(**SMALL | {"padded": False, "digits": 2}))
    model = task.model()
    sources, targets = task.ids("train")
    from throughtime.data import collate

    whole = task.loss(model, collate(sources[:6], targets[:6])).mean
    alone = [task.loss(model, collate([s], [t])).mean for s, t in zip(sources, targets)][:6]  # noqa: B905
    lengths = torch.tensor([len(t) + 1.0 for t in targets[:6]])
    assert len(set(lengths.tolist())) > 1
    torch.testing.assert_close(whole, (torch.stack(alone) * lengths).sum() / lengths.sum())


def test_a_model_that_knows_nothing_scores_the_logarithm_of_the_vocabulary(task):
    model = task.model()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    figures = task.evaluate(model, "valid").figures
    assert figures["loss"] == pytest.approx(math.log(len(task.tokenisers[1])))


def test_the_training_is_learned_by_heart_and_the_figures_say_so(task):
    model = learned(task, 150)
    figures = task.evaluate(model, "train").figures
    assert figures["exact_match"] == figures["character_accuracy"] == 1.0
    assert figures["loss"] < 0.1
    for line in task.show(model)[0].text.splitlines():
        sum_, _, answer = line.partition(" → ")
        a, b = sum_.split("+")
        assert answer.strip() == str(int(a) + int(b)) or answer.endswith(f"({int(a) + int(b):<2})")
    assert model.training


@pytest.mark.parametrize("beam_width", [1, 4])
def test_the_limits_of_an_untrained_model_change_no_output_of_a_trained_one(task, beam_width):
    def searched(model, **limits):
        found = hypotheses(
            model, sources, longest_target=task.longest_target, beam_width=beam_width, **limits
        )
        return [(h.tokens, h.is_finished) for (h,) in found]

    sources = [task.tokenisers[0].encode(p.source) for split in task.pairs.splits.values()
               for p in split]  # fmt: skip
    limits = {"longest_source": task.assets["longest_source"], "usual": task._usual}
    model = learned(task, 150)
    assert searched(model, **limits) == searched(model)
    # An untrained one that would never end ends much earlier.
    torch.manual_seed(0)
    model = task.model()
    with torch.no_grad():
        model.decoder.scores.bias[EOS] -= 100
    lengths = [[len(h) for h, _ in searched(model, **how)] for how in (limits, {})]
    assert max(lengths[1]) == 42
    assert max(lengths[0]) <= 13


def test_judging_leaves_a_frozen_part_in_evaluation_mode(task):
    model = task.model().train()
    model.encoder.eval()
    before = [part.training for part in model.modules()]
    task.evaluate(model, "valid")
    task.show(model)
    assert [part.training for part in model.modules()] == before
    assert model.decoder.training
    assert not model.encoder.training


@pytest.mark.parametrize("feed", [{"feed": "scheduled", "forcing": 0.5}, {"feed": "free"}])
def test_every_feed_learns(feed):
    task = Addition(AdditionConfig(**SMALL | {"attention": "none", "bidirectional": False} | feed))
    task.check()
    model = task.model()
    before = task.evaluate(model, "train").figures["loss"]
    model = learned(task, 40)
    assert task.evaluate(model, "train").figures["loss"] < before


@pytest.mark.parametrize(
    ("decay", "quarter"),
    [("linear", 0.8), ("exponential", 0.2**0.25), ("sigmoid", 0.962), ("none", 0.2)],
)
def test_the_true_token_grows_rarer_over_the_training(decay, quarter):
    options = {"feed": "scheduled", "forcing": 0.2, "forcing_decay": decay}
    task = Addition(AdditionConfig(**SMALL | options))
    found = [task.config.forcing_at(progress) for progress in (0.0, 0.25, 1.0)]
    first = 0.2 if decay == "none" else 1.0
    assert found == pytest.approx([first, quarter, 0.2], abs=0.003)


def test_scheduled_sampling_begins_as_teacher_forcing_and_ends_with_its_own_tokens():
    task = Addition(AdditionConfig(**SMALL | {"feed": "scheduled", "forcing": 0.0}))
    model, batch = task.model(), next(iter(task.batches("train")))
    forced = Addition(AdditionConfig(**SMALL)).loss(model, batch).mean
    torch.testing.assert_close(task.loss(model, batch).mean, forced)
    assert task.loss(model, batch, progress=1.0).mean != forced


def test_the_training_tells_the_task_how_far_it_is(tmp_path, monkeypatch):
    from throughtime.training.config import GradientConfig
    from throughtime.training.fit import fit

    seen = []
    forcing_at = AdditionConfig.forcing_at

    def noting(self, progress):
        seen.append(forcing_at(self, progress))
        return seen[-1]

    monkeypatch.setattr(AdditionConfig, "forcing_at", noting)
    task = Addition(AdditionConfig(**SMALL | {"feed": "scheduled", "forcing": 0.0}))
    run = Run(tmp_path / "run")
    run.create(task, {})
    fit(task, GradientConfig(epochs=2), run)
    steps = 2 * len(task.batches("train"))
    assert seen == pytest.approx([1 - k / steps for k in range(steps)])


def test_a_beam_is_at_least_as_likely_as_the_greedy_output(task):
    model = learned(task, 20)
    sources = [pair.source for pair in task.split("valid")]
    assert len(task.rewrite(model, sources, beam_width=3)) == len(sources)
    task.config.beam_width = 3
    assert set(task.evaluate(model, "valid").figures) == {"loss", *task.judged}


def test_an_output_is_right_where_it_is_any_target_of_its_source():
    pairs = [Pair("read", "R IY D"), Pair("read", "R EH D"), Pair("a", "AH")]
    assert match_figures(pairs, ["R IY D", "R IY D", "EY"])["exact_match"] == pytest.approx(2 / 3)
    assert match_figures([Pair("a", "abcd")], ["abX"])["character_accuracy"] == 0.5
    assert match_figures([Pair("a", "ab")], ["abXX"])["character_accuracy"] == 0.5
    assert match_figures([Pair("a", "")], [""]) == {"character_accuracy": 0.0, "exact_match": 1.0}


# Sources that were not of the training


def test_an_empty_source_gives_an_empty_output_and_a_long_one_a_warning(task, caplog):
    caplog.set_level(logging.WARNING)
    model = task.model()
    long = "1+" * 40
    outputs = task.rewrite(model, ["1+2", "", long])
    assert outputs[1] == ""
    (message,) = [record.getMessage() for record in caplog.records]
    # What stands beside it does not matter.
    assert outputs[0] == task.rewrite(model, ["1+2"])[0]
    assert outputs[2] == task.rewrite(model, [long])[0]
    assert len(outputs[2]) > len(outputs[0])
    assert message.startswith("line 3: the source has 80 characters, the longest of the training 3")


def test_a_training_tells_of_long_sources_once(tmp_path, caplog):
    lines = [f"{a} {b}\t{b}\n" for a in "abc" for b in "defgh"]
    lines += ["a " * 9 + "d\td\n", "a d\td\n"]
    (tmp_path / "pairs.tsv").write_text("".join(lines))
    options = ["--data", str(tmp_path / "pairs.tsv"), "--hidden_size=8", "--epochs=3"]
    options += ["--tokenisation=words", "--sample_every=0.000001", f"--run={tmp_path / 'run'}"]
    caplog.set_level(logging.WARNING)
    assert main(["train", "translation", *options]) == 0
    told = [r.getMessage() for r in caplog.records if "the longest of the training" in r.message]
    assert len(told) == 1
    caplog.clear()
    assert main(["evaluate", str(tmp_path / "run"), "--split", "valid"]) == 0
    assert "line 1: the source has 10 words, the longest of the training 2" in caplog.text


def test_what_is_unknown_is_told_and_no_error(task):
    assert task.unknown("valid") == {}
    assets = json.loads(json.dumps(task.assets))
    assets["source_tokeniser"]["tokens"].remove("+")
    told = Addition(task.config, assets).unknown("valid")
    assert told == {"source": "4 of 12 characters (33.33 %) are unknown, 1 different ones: '+' (4)"}


# A run


def test_assets_are_json_and_open_a_model_without_its_data(task, monkeypatch):
    model = learned(task, 10)
    assets = json.loads(json.dumps(task.assets))
    again = Addition(task.config, assets)
    monkeypatch.setattr(Addition, "read_pairs", lambda self: pytest.fail("reads the data"))
    assert again.rewrite(model, ["1+2"]) == task.rewrite(model, ["1+2"])
    copy = again.model()
    copy.load_state_dict(model.state_dict())
    assert again.assets == assets


def test_other_pairs_than_those_of_the_training_are_refused(task):
    other = Addition(AdditionConfig(**SMALL | {"data_seed": 1}), task.assets)
    with pytest.raises(ValueError, match="no longer those of the training"):
        _ = other.pairs


def test_an_unknown_split_is_refused(task):
    with pytest.raises(ValueError, match='no split "test2", only train, valid, test'):
        task.evaluate(task.model(), "test2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, "--label_smoothing: expected 0 to less than 1"),
        ({"batch_size": 0}, "--batch_size: expected at least 1"),
        ({"beam_width": 0}, "--beam_width: expected at least 1"),
        ({"feed": "scheduled"}, "--forcing: expected a probability from 0 to 1.*got None"),
        ({"forcing": 0.5}, "--forcing 0.5: is for --feed scheduled.*--feed teacher"),
        (
            {"feed": "scheduled", "forcing": 1.5},
            "--forcing: expected a probability from 0 to 1.*got 1.5",
        ),
        ({"forcing_decay": "none"}, "--forcing_decay none: is for --feed scheduled"),
        (
            {"feed": "scheduled", "forcing": 0.0, "forcing_decay": "exponential"},
            "--forcing 0: no exponential",
        ),
        (
            {"feed": "scheduled", "forcing": 1.0, "forcing_decay": "exponential"},
            "--forcing 1: no exponential",
        ),
        ({"num_pairs": 60}, "expected at most 55 pairs"),
        ({"cell": "lstn"}, 'did you mean "lstm"'),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_training(options, message):
    with pytest.raises(ValueError, match=message):
        Addition(AdditionConfig(**SMALL | options)).check()


def test_the_command_trains_writes_every_figure_and_evaluates(tmp_path, capsys):
    run = tmp_path / "run"
    options = [f"--{name}={value}" for name, value in SMALL.items()]
    assert main(["train", "addition", *options, "--epochs=2", f"--run={run}"]) == 0
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    valid = [row for row in rows if row["split"] == "valid"]
    assert len(valid) == 2
    assert all(0 <= float(row[name]) <= 1 for row in valid for name in Addition.judged)
    train = [row for row in rows if row["split"] == "train"]
    assert {row["exact_match"] for row in train} == {""}
    assert all(math.isfinite(float(row["loss"])) for row in train)

    capsys.readouterr()
    assert main(["evaluate", str(run), "--split", "test", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    task = Run(run).task()
    own = task.evaluate(Run(run).load_model(task), "test")
    wrong = character_error_rate(task.split("test"), own.outputs)
    shape = {"split": "test", "pairs": len(task.split("test")), "beam_width": 1}
    assert figures == {**shape, **own.figures, "character_error_rate": wrong}


def test_a_resumed_run_takes_its_own_settings_and_no_others(tmp_path, capsys):
    run = str(tmp_path / "run")
    given = SMALL | {"feed": "scheduled", "forcing": 0.3, "forcing_decay": "sigmoid"}
    options = [f"--{name}={value}" for name, value in given.items()]
    assert main(["train", "addition", *options, "--epochs=1", f"--run={run}"]) == 0
    resumed = ["train", "addition", "--resume", f"--run={run}"]
    for own in ("--attention=general", "--forcing_decay=sigmoid", "--forcing=0.3"):
        assert main([*resumed, own, "--epochs=2"]) == 0
    capsys.readouterr()
    assert main([*resumed, "--network=one"]) == 1
    assert "the run has network=two, got one" in capsys.readouterr().err


def test_a_training_that_was_cut_off_in_its_first_epoch_goes_on_as_if_it_had_not_been(tmp_path):
    from throughtime.training.config import GradientConfig
    from throughtime.training.fit import fit
    from throughtime.training.loop import Loop

    class CutOff(Exception):
        pass

    def train(folder, resume=False, stop_at=None):
        task = Addition(AdditionConfig(**SMALL))
        config = GradientConfig(epochs=1, save_every=0.0)
        run = Run(tmp_path / folder)
        run.create(task, {})
        after_step = Loop._after_step

        def stopping(self, report):
            is_ended = after_step(self, report)
            if self.position.step == stop_at:
                raise CutOff
            return is_ended

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Loop, "_after_step", stopping)
            fit(task, config, run, resume=resume)
        return run.load_model(task).state_dict()

    whole = train("whole")
    with pytest.raises(CutOff):
        train("cut", stop_at=2)
    resumed = train("cut", resume=True)
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, rtol=0, atol=0)
