"""A damaged checkpoint is refused, whatever is wrong with it, and nothing of it is used."""

import copy
import random
import signal
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from throughtime import tasks
from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.run import Run, RunError
from throughtime.training import checkpoint
from throughtime.training.checkpoint_content import restored
from throughtime.training.config import EvolutionConfig, GradientConfig, ReinforceConfig
from throughtime.training.fit import fit
from throughtime.training.learner import learner_class
from throughtime.training.loop import Loop

from ..damage import damaged_bytes, damaged_state
from .small import written

sys.path.insert(0, str(Path(__file__).parent))
import pole

MANY = settings(
    max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
LEARNERS = ["gradient", "reinforce", "evolution"]


class Case:
    """A training that was interrupted in the middle of an epoch, and a fresh learner for it."""

    def __init__(self, folder, name):
        self.name = name
        if name == "gradient":
            text = str(written(folder) / "text.txt")
            self.task = CharLM(
                CharLMConfig(text, hidden_size=6, num_layers=1, batch_size=4, num_steps=10)
            )
            self.config = GradientConfig(sample_every=1e6, validate_every=20)
        else:
            kind = {"reinforce": ReinforceConfig, "evolution": EvolutionConfig}[name]
            small = {"episodes": 2} if name == "reinforce" else {"population": 2}
            self.task = pole.Pole(pole.PoleConfig())
            self.config = kind(sample_every=1e6, validate_every=20, log_every=7, **small)
        self.run = Run(folder / name)
        self.run.create(self.task, {}, name)
        with pytest.MonkeyPatch.context() as patch:
            after = Loop._after_step

            def interrupted(loop, report):
                if loop.position.step == 24:
                    loop.stop.signal = signal.SIGTERM
                return after(loop, report)

            patch.setattr(Loop, "_after_step", interrupted)
            assert fit(self.task, self.config, self.run).reason == "SIGTERM"
        self.content = self.run.checkpoint_file.read_bytes()
        self.saved = checkpoint.load(self.run.checkpoint_file)
        self.learner = learner_class(name)(self.task, self.config)
        self.before = copy.deepcopy((self.learner.state_dict(), self.learner.own_state()))

    def restore(self, state):
        return restored(self.run, state, self.learner, self.task.monitor)

    def refuse(self, state):
        """Asserts that the state is refused and nothing of it used; returns the message."""
        with pytest.raises(RunError, match=r"last\.ckpt: ") as error:
            self.restore(state)
        assert_same((self.learner.state_dict(), self.learner.own_state()), self.before)
        return str(error.value)


def assert_same(a, b):
    if isinstance(a, torch.Tensor):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            assert_same(a[name], b[name])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    made = {}

    def case(name):
        if name not in made:
            made[name] = Case(tmp_path_factory.mktemp("damage"), name)
        return made[name]

    return case


def test_every_learner_has_its_case():
    from throughtime.training.learner import CONFIGS

    assert set(LEARNERS) == set(CONFIGS)
    assert tasks.names()


@pytest.mark.parametrize("name", LEARNERS)
def test_a_checkpoint_that_is_whole_is_taken(cases, name):
    case = cases(name)
    learner = learner_class(name)(case.task, case.config)
    position = restored(case.run, case.saved, learner, case.task.monitor)
    assert position.step == 25
    assert_same(learner.state_dict(), {k: case.saved[k] for k in learner.state_dict()})
    assert_same(learner.own_state()["carried"] if name == "gradient" else 0,
                case.saved["processes"][0]["carried"] if name == "gradient" else 0)  # fmt: skip


def refuse_bytes(case, draw):
    content = damaged_bytes(case.content, draw)
    if content != case.content:
        case.run.checkpoint_file.write_bytes(content)
        with pytest.raises(RunError, match="the checkpoint is damaged"):
            checkpoint.load(case.run.checkpoint_file)


def refuse_structure(case, draw):
    state = damaged_state(case.saved, draw)
    try:
        case.restore(state)
    except RunError:
        assert_same((case.learner.state_dict(), case.learner.own_state()), case.before)
        return True
    # Times and the figures of the best validation may be any numbers; all else is as it was.
    position = state["position"]
    names = ("seconds", "validation_seconds", "validated", "unwritten", "best_figures")
    for name in (*names, "num_without_best", "kept"):
        position[name] = case.saved["position"][name]
    for process, own in zip(state["processes"], case.saved["processes"], strict=True):
        process["since_row"] = own["since_row"]
    position["since_row"] = case.saved["position"]["since_row"]
    assert_same(state, case.saved)
    case.learner = learner_class(case.name)(case.task, case.config)
    return False


@pytest.mark.parametrize("name", LEARNERS)
def test_no_damage_of_bytes_or_of_structure_is_taken(cases, name):
    """Some of many; the slow tests below try a thousand of each."""
    draw, case = random.Random(name), cases(name)
    for _ in range(40):
        refuse_bytes(case, draw)
    assert sum(refuse_structure(case, draw) for _ in range(80)) > 60


@pytest.mark.parametrize("value", [torch.zeros(3), [20], "20", True, 20.0, None])
def test_another_kind_of_number_of_steps_is_refused(cases, value):
    case = cases("gradient")
    state = copy.deepcopy(case.saved)
    state["steps_per_epoch"] = value
    assert "steps_per_epoch: expected a checkpoint of " in case.refuse(state)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_a_thousand_damages_of_bytes(cases, name):
    case = cases(name)
    MANY(given(st.randoms(use_true_random=False))(lambda draw: refuse_bytes(case, draw)))()


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_a_thousand_damages_of_structure(cases, name):
    case = cases(name)

    def check(draw):
        refuse_structure(case, draw)

    MANY(given(st.randoms(use_true_random=False))(check))()


def first(mapping):
    return next(iter(mapping))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["model"].popitem(), "model: expected the entry"),
        (lambda s: s["model"].update(more=torch.zeros(1)), "model: expected no entry 'more'"),
        (lambda s: s["optimizer"]["moments"].popitem(), "optimizer: expected each parameter once"),
        (lambda s: s["optimizer"].popitem(), "optimizer: of Adam: expected the entry"),
        (lambda s: s["position"].update(step=7), "position.step: expected the step 25"),
        (lambda s: s["position"].update(validated=26), "position.validated: expected at most"),
        (lambda s: s["position"].update(num_without_best=-1), "num_without_best: expected a whole"),
        (lambda s: s["position"].update(kept=[{"step": 26, "value": 1.0}]), "position.kept: exp"),
        (lambda s: s["position"].update(best=0.123), "position.best: expected the"),
        (lambda s: s["position"].update(best=float("nan")), "position.best: expected the"),
        (lambda s: s["position"].update(seconds=-1.0), "position.seconds: expected a number of"),
        (lambda s: s["position"].update(seconds="1"), "position.seconds: expected a number"),
        (lambda s: s.update(step=2**70), "step: expected a whole number of at least 0"),
        (lambda s: s.update(more=1), "expected no entry 'more'"),
        (lambda s: s["processes"][0].pop("random"), r"processes\[0\]: expected the entry 'random'"),
        (lambda s: s["processes"][0]["random"]["cpu"].fill_(255), "the state of a generator"),
        (lambda s: s["processes"][0]["since_row"].pop("steps"), "since_row: expected sums of"),
        (lambda s: s.update(processes={}), "processes: expected a list, got"),
    ],
)
@pytest.mark.parametrize("name", LEARNERS)
def test_what_is_wrong_is_named(cases, name, change, message):
    case = cases(name)
    state = copy.deepcopy(case.saved)
    change(state)
    with pytest.raises(RunError, match=message):
        case.restore(state)
    case.refuse(state)


@pytest.mark.parametrize("name", LEARNERS)
def test_no_moment_of_another_shape_reaches_the_optimizer(cases, name):
    """The fused optimizer would write past the end of it."""
    case = cases(name)
    for key in ("exp_avg", "exp_avg_sq"):
        for change in (
            lambda t: t.flatten()[:1],
            lambda t: t.new_zeros(1).expand(t.shape),
            lambda t: t.double(),
            lambda t: t.to_sparse(),
            lambda t: t * float("nan"),
        ):
            state = copy.deepcopy(case.saved)
            moments = state["optimizer"]["moments"]
            entry = moments[first(moments)]
            entry[key] = change(entry[key])
            assert f"optimizer: of Adam: moments.{first(moments)}.{key}" in case.refuse(state)
    for steps in (0.0, -1.0, 26.0, 1.5, float("nan"), float("inf")):
        state = copy.deepcopy(case.saved)
        moments = state["optimizer"]["moments"]
        moments[first(moments)]["step"].fill_(steps)
        assert "expected a number of steps up to 25" in case.refuse(state)
    state = copy.deepcopy(case.saved)
    moments = state["optimizer"]["moments"]
    moments[first(moments)]["exp_avg_sq"].sub_(1.0)
    assert "expected numbers of at least 0" in case.refuse(state)


@pytest.mark.parametrize(
    "change",
    [
        lambda leaves: leaves[:1],
        lambda leaves: [None] * len(leaves),
        lambda leaves: [leaf[:, :1] for leaf in leaves],
        lambda leaves: [leaf[..., :1] for leaf in leaves],
        lambda leaves: [leaf.double() for leaf in leaves],
        lambda leaves: [leaf[0] for leaf in leaves],
        lambda leaves: [1.0 for leaf in leaves],
        lambda leaves: [],
    ],
)
def test_a_state_that_the_next_batch_cannot_go_on_from_is_refused(cases, change):
    case = cases("gradient")
    state = copy.deepcopy(case.saved)
    state["processes"][0]["carried"] = change(state["processes"][0]["carried"])
    assert "carried: " in case.refuse(state)


def test_the_settings_of_the_optimizer_are_those_of_the_run(cases):
    """A checkpoint does not hold them, so none can change them."""
    case = cases("gradient")
    assert "weight_decay" not in str(case.saved.keys()) + str(case.saved["optimizer"].keys())
    learner = learner_class("gradient")(case.task, case.config)
    restored(case.run, case.saved, learner, case.task.monitor)
    assert learner.optimizer.param_groups[0]["weight_decay"] == case.config.weight_decay
