"""Music: notes, piano rolls, MIDI files, and sounds."""

from throughtime.data.music.abc_score import TuneScore, score_of
from throughtime.data.music.abc_tokens import ABCError, Tune, tunes_of
from throughtime.data.music.abc_writing import abc_text
from throughtime.data.music.events import (
    NUM_EVENTS,
    EventReader,
    event_name,
    events_of,
    notes_of_events,
    on_grid,
)
from throughtime.data.music.excerpts import Excerpt, excerpts_of
from throughtime.data.music.fluidsynth import check_sound_font, played_by_fluidsynth
from throughtime.data.music.midi import (
    midi_bytes,
    midi_of_parts,
    midi_splits,
    read_midi,
    read_parts,
)
from throughtime.data.music.notes import (
    FIRST_KEY,
    NUM_KEYS,
    Note,
    key_name,
    notes_of_roll,
    roll_of_notes,
)
from throughtime.data.music.parts import (
    PART_SETS,
    SILENT,
    PartSet,
    load_parts,
    notes_of_parts,
    read_part_steps,
    steps_of_parts,
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
    "PART_SETS",
    "PERFORMANCE_SETS",
    "RATE",
    "ROLL_SETS",
    "SILENT",
    "TUNE_SETS",
    "ABCError",
    "EventReader",
    "Excerpt",
    "Note",
    "PartSet",
    "Performances",
    "Rolls",
    "SoundMeasures",
    "Tune",
    "TuneScore",
    "TuneSet",
    "abc_text",
    "check_sound_font",
    "event_name",
    "events_of",
    "excerpts_of",
    "key_name",
    "load_parts",
    "load_performances",
    "load_rolls",
    "load_tunes",
    "measures",
    "midi_bytes",
    "midi_of_parts",
    "midi_splits",
    "notes_of_events",
    "notes_of_parts",
    "notes_of_roll",
    "on_grid",
    "played_by_fluidsynth",
    "read_midi",
    "read_part_steps",
    "read_parts",
    "roll_of_notes",
    "score_of",
    "steps_of_parts",
    "synthesise",
    "tunes_of",
    "wav_bytes",
]
