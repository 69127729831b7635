"""Music: notes, piano rolls, MIDI files, and sounds."""

from throughtime.data.music.abc_score import TuneScore, score_of
from throughtime.data.music.abc_tokens import ABCError, Tune, abc_text, tunes_of
from throughtime.data.music.events import (
    NUM_EVENTS,
    EventReader,
    event_name,
    events_of,
    notes_of_events,
    on_grid,
)
from throughtime.data.music.excerpts import Excerpt, excerpts_of
from throughtime.data.music.midi import midi_bytes, midi_splits, read_midi
from throughtime.data.music.notes import (
    FIRST_KEY,
    NUM_KEYS,
    Note,
    key_name,
    notes_of_roll,
    roll_of_notes,
)
from throughtime.data.music.performances import (
    PERFORMANCE_SETS,
    Performances,
    load_performances,
)
from throughtime.data.music.rolls import ROLL_SETS, Rolls, load_rolls
from throughtime.data.music.synthesiser import RATE, SoundMeasures, measures, synthesise, wav_bytes
from throughtime.data.music.tunes import TUNE_SETS, TuneSet, load_tunes

__all__ = [
    "FIRST_KEY",
    "NUM_EVENTS",
    "NUM_KEYS",
    "PERFORMANCE_SETS",
    "RATE",
    "ROLL_SETS",
    "TUNE_SETS",
    "ABCError",
    "EventReader",
    "Excerpt",
    "Note",
    "Performances",
    "Rolls",
    "SoundMeasures",
    "Tune",
    "TuneScore",
    "TuneSet",
    "abc_text",
    "event_name",
    "events_of",
    "excerpts_of",
    "key_name",
    "load_performances",
    "load_rolls",
    "load_tunes",
    "measures",
    "midi_bytes",
    "midi_splits",
    "notes_of_events",
    "notes_of_roll",
    "on_grid",
    "read_midi",
    "roll_of_notes",
    "score_of",
    "synthesise",
    "tunes_of",
    "wav_bytes",
]
