"""The read-outs of transcription: classes of frames, CTC, and a decoder with attention."""

import numpy as np
import pytest
import torch

from throughtime.data.transcribed import TranscribedBatch, TranscribedSignal
from throughtime.models import EncoderDecoder, beam_search
from throughtime.models.transcriber import Transcriber
from throughtime.tasks.error_rates import error_rates
from throughtime.tasks.readouts import READOUTS, Frames, Search
from throughtime.tasks.shown import Picture
from throughtime.tasks.transcription import Transcription
from throughtime.tasks.transcription_settings import TranscribingOptions, TranscriptionConfig

from ..data.sounds import as_file, tone
from ..data.timit import small_timit
from .learning import learned

SMALL = {"hidden_size": 16, "batch_size": 4, "num_filters": 20, "cell": "gru"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return small_timit(tmp_path_factory.mktemp("timit"))


def task_of(data, **options):
    return Transcription(TranscriptionConfig(data=str(data), **SMALL | options))


@pytest.mark.parametrize("readout", list(READOUTS))
def test_each_read_out_learns_the_phones_of_a_small_corpus(corpus, readout):
    options = {"stack": 2, "label_smoothing": 0.05} if readout == "attention" else {"stack": 2}
    task = task_of(corpus, readout=readout, phones=39, **options)
    task.check()
    assert task.monitor == "phoneme_error_rate"
    model = learned(task, 50)
    for search in (1, 4):
        options = task.EvaluationOptions(beam_width=search)
        figures = task.evaluate(model, "test", options).figures
        assert figures.keys() == task.figures.keys()
        assert figures["phoneme_error_rate"] <= 0.15
    if readout == "frames":
        assert figures["frame_error_rate"] <= 0.15
    table, *pictures = task.show(model)
    assert [row[0] for row in table.rows] == [one.text for one in task.recordings("valid")]
    for picture, one in zip(pictures, task.recordings("valid"), strict=True):
        assert isinstance(picture, Picture)
        T, U = task.signals.length(one.signal), len(one.text.split())
        assert picture.pixels.shape == (20 + 1 + 3 * U, T)
        assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1


def test_the_labels_of_frames_by_hand(corpus):
    task = task_of(corpus, readout="frames", phones=48)
    one = task.recordings("test")[1]
    labels = task.labels(one)
    # A frame of 200 samples begins every 80, and a phone has 640; the middle of a frame decides.
    assert len(labels) == task.signals.length(one.signal)
    expected = [one.segments[0].symbol] * 7 + [one.segments[1].symbol] * 8
    names = [task.text_of([k]) if k > 0 else None for k in labels]
    assert names[:15] == expected
    # The glottal stop is no class of the 48, so its frames, from 4 * 640, have none.
    assert names[31:39] == [None] * 8
    with_q = task_of(corpus, readout="frames", phones=61)
    names = [with_q.text_of([k]) for k in with_q.labels(with_q.recordings("test")[1])]
    assert names[31:39] == ["q"] * 8


def test_the_loss_and_the_error_of_frames_by_hand():
    class Config:
        stack, pyramid = 2, 0

    readout = Frames(Config(), 3, (5, 5))
    scores = torch.tensor([[[0.0, 2, 0], [0, 0, 2], [2.0, 0, 0]]])
    # Five frames: two of the first step, two of the second, one of the third; one is unknown.
    batch = TranscribedBatch(
        torch.zeros(1, 6, 1),
        torch.tensor([5]),
        torch.tensor([[1, 2, 2, -1, 0, 0]]),
        torch.tensor([5]),
    )
    reading = readout.judged(scores.log_softmax(-1), batch, [[1, 2]])
    right, wrong = (-torch.tensor([2.0, 0, 0]).log_softmax(0)[k] for k in (0, 1))
    assert reading.total == pytest.approx(float(3 * right + wrong))
    assert reading.num_units == 4
    assert (reading.num_wrong, reading.num_labelled) == (2, 5)


def test_an_attention_model_is_the_encoder_decoder_over_features(corpus):
    task = task_of(corpus, readout="attention", num_layers=2, pyramid=1)
    model = task.model()
    assert isinstance(model, EncoderDecoder)
    # Padding, begin and end come before the symbols; nothing unknown can be written.
    assert model.target_size == task.readout.num_classes + 2
    batch = next(iter(task.batches("train")))
    with torch.no_grad():
        loss = task.loss(model, batch)
    assert loss.count == int(batch.target_lengths.sum()) + len(batch.lengths)
    tokens = [
        [k + 2 for k in row[:n]]
        for row, n in zip(batch.targets.tolist(), batch.target_lengths.tolist(), strict=True)
    ]
    total = 0.0
    for i, row in enumerate(tokens):
        x = batch.inputs[i : i + 1, : batch.lengths[i]]
        with torch.no_grad():
            scores = model(x, batch.lengths[i : i + 1], torch.tensor([[1, *row]]))
        total -= float(scores[0].log_softmax(-1).gather(1, torch.tensor([[*row, 2]]).T).sum())
    assert float(loss.total) == pytest.approx(total, rel=1e-5)


def test_an_output_of_the_decoder_depends_on_no_neighbour_and_ends(corpus):
    task = task_of(corpus, readout="attention")
    torch.manual_seed(3)
    model = task.model().eval()
    longest = max(len(one.text.split()) for one in task.recordings("train"))
    recordings = task.recordings("test")
    together = task.evaluate(model, "test").outputs
    rows = task.signals.rows(recordings)
    for i, output in enumerate(together):
        alone = task.text_of(task.readout.symbols_of(model, rows.row(0, i), Search()))
        assert alone == output
        assert len(alone.split()) <= 1.5 * longest + 10
    assert len(beam_search(model, rows.row(0, 0)[None], width=3)[0][0].tokens) <= 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"readout": "ctc", "attention": "general"}, "--attention general: is of --readout atten"),
        ({"readout": "frames", "decoder": {"num_layers": 2}}, "--decoder .* is of --readout atten"),
        ({"readout": "attention", "label_smoothing": 1.0}, "--label_smoothing: expected 0 to less"),
        ({"readout": "attention", "attention": "dot"}, "--attention dot: needs outputs .* 32 and"),
        (
            {"readout": "attention", "attention": "none", "input_feeding": True},
            "--input_feeding: would have no effect with --attention none",
        ),
        ({"readout": "attention", "decoder": {"hiden_size": 3}}, "--decoder.hiden_size; did you"),
        ({"normalise": False, "normalise_by": "speaker"}, "--normalise_by speaker: would have no"),
        ({"reset_rate": 1.0}, "--reset_rate: expected 0 to less than 1, got 1.0"),
    ],
)
def test_settings_without_effect_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TranscriptionConfig(**SMALL | options)


def test_what_frames_need_is_checked_with_the_place(corpus, tmp_path):
    with pytest.raises(ValueError, match=r"--augment_speed 0.1: moves the frames"):
        task_of(corpus, readout="frames", augment_speed=0.1).check()
    for i in range(2):
        (tmp_path / f"{i}.wav").write_bytes(as_file(tone(0.2, seed=i)))
    (tmp_path / "a.seg").write_text("0 800 a\n800 1600 bc\n")
    (tmp_path / "train.tsv").write_text("0.wav\tabc\t\ta.seg\n1.wav\tabc\n")
    (tmp_path / "valid.tsv").write_text("1.wav\tabc\t\ta.seg\n")
    with pytest.raises(ValueError, match=r'"train", recording 1: expected segments that are singl'):
        task_of(tmp_path, readout="frames").check()
    (tmp_path / "a.seg").write_text("0 800 a\n800 1600 b\n")
    with pytest.raises(ValueError, match='"train", recording 2: --readout frames needs to know in'):
        task_of(tmp_path, readout="frames").check()
    (tmp_path / "train.tsv").write_text("0.wav\tabc\t\ta.seg\n")
    (tmp_path / "b.seg").write_text("0 800 z\n800 1600 b\n")
    (tmp_path / "valid.tsv").write_text("1.wav\tzb\t\tb.seg\n")
    task = task_of(tmp_path, readout="frames")
    task.check()
    # A symbol that the training lacks is learned by no frame, and counts as an error.
    labels = task.labels(task.recordings("valid")[0])
    assert labels[:9] == [-1] * 9
    assert task.evaluate(task.model()).figures["frame_error_rate"] >= 0.45


def test_live_input_needs_a_read_out_of_single_steps(corpus):
    task = task_of(corpus, readout="attention", bidirectional=False)
    heard = task.heard(task.model(), None, TranscribingOptions(stream=True), print)
    with pytest.raises(ValueError, match="--readout attention, which needs the whole recording"):
        next(heard)
    task = task_of(corpus, normalise_by="recording", bidirectional=False)
    heard = task.heard(task.model(), None, TranscribingOptions(stream=True), print)
    with pytest.raises(ValueError, match="--normalise_by recording, which needs the whole"):
        next(heard)


def test_resets_change_the_training_only():
    torch.manual_seed(0)
    model = Transcriber(3, 2, hidden_size=5, reset_rate=0.5, bidirectional=True)
    plain = Transcriber(3, 2, hidden_size=5, bidirectional=True)
    plain.load_state_dict(model.state_dict())
    x, lengths = torch.randn(2, 9, 2), torch.tensor([9, 4])
    torch.testing.assert_close(model.eval()(x, lengths), plain(x, lengths))
    model.train()
    first = model(x, lengths)
    assert not torch.allclose(first, plain(x, lengths))
    torch.manual_seed(7)
    one = model(x, lengths)
    torch.manual_seed(7)
    torch.testing.assert_close(model(x, lengths), one)
    # A step that is reset does not know what comes before it.
    forward = Transcriber(3, 2, hidden_size=5, reset_rate=0.999999)
    alone = forward(x.reshape(18, 1, 2), torch.ones(18, dtype=torch.int64)).reshape(2, 9, 3)
    torch.testing.assert_close(forward(x, torch.tensor([9, 9])), alone)


def test_each_speaker_is_normalised_by_all_of_its_recordings(corpus):
    task = task_of(corpus, normalise_by="speaker")
    recordings = task.recordings("train")
    rows = task.signals.rows(recordings)
    for speaker in ("fcjf0", "mdac0"):
        own = [i for i, one in enumerate(recordings) if one.speaker == speaker]
        values = torch.cat([rows.row(0, i) for i in own]).double()
        torch.testing.assert_close(values.mean(0), torch.zeros(20).double(), rtol=0, atol=1e-5)
        torch.testing.assert_close(
            values.std(0, correction=0), torch.ones(20).double(), atol=1e-5, rtol=0
        )
    # A recording of an unknown speaker, and so a file that is predicted, is normalised by itself.
    unknown = [one._replace(speaker="") for one in recordings]
    both = (
        task.signals.rows(unknown),
        task_of(corpus, normalise_by="recording").signals.rows(recordings),
    )
    for i in range(3):
        torch.testing.assert_close(both[0].row(0, i), both[1].row(0, i))
        alone = task.signals.rows([TranscribedSignal("", recordings[i].signal)]).row(0, 0)
        torch.testing.assert_close(both[0].row(0, i), alone)
    assert not torch.allclose(rows.row(0, 0), both[0].row(0, 0))


def test_phones_are_judged_after_the_folding():
    folding = {"sil": "sil", "vcl": "sil", "ix": "ih", "ih": "ih", "q": ""}
    rates = error_rates(["sil ix q", "vcl ih"], ["vcl ih", "sil q ih new"], folding)
    assert rates == {"phoneme_error_rate": 1 / 4}
    assert np.isnan(error_rates(["q"], ["sil"], folding)["phoneme_error_rate"])
