"""Music: notes, piano rolls, MIDI files, and sounds."""

from throughtime.data.music.midi import midi_bytes, midi_splits, read_midi
from throughtime.data.music.notes import (
    FIRST_KEY,
    NUM_KEYS,
    Note,
    key_name,
    notes_of_roll,
    roll_of_notes,
)
from throughtime.data.music.rolls import ROLL_SETS, Rolls, load_rolls
from throughtime.data.music.synthesiser import RATE, SoundMeasures, measures, synthesise, wav_bytes

__all__ = [
    "FIRST_KEY",
    "NUM_KEYS",
    "RATE",
    "ROLL_SETS",
    "Note",
    "Rolls",
    "SoundMeasures",
    "key_name",
    "load_rolls",
    "measures",
    "midi_bytes",
    "midi_splits",
    "notes_of_roll",
    "read_midi",
    "roll_of_notes",
    "synthesise",
    "wav_bytes",
]
