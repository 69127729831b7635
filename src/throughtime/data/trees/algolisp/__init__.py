"""AlgoLisp, a small functional language: its programs, their values, records and generation."""

from throughtime.data.trees.algolisp.checking import program_type
from throughtime.data.trees.algolisp.compiling import ProgramError
from throughtime.data.trees.algolisp.generating import generate_programs
from throughtime.data.trees.algolisp.machine import MOST_STEPS, NoEndError, Program, equal_values
from throughtime.data.trees.algolisp.records import (
    COMMUTATIVE,
    ProgramExample,
    Test,
    passes,
    read_metaset,
    read_records,
    record_of,
    skeleton,
)
from throughtime.data.trees.algolisp.stored import stored_programs
from throughtime.data.trees.algolisp.types import read_type, type_name
from throughtime.data.trees.algolisp.units import UNITS

__all__ = [
    "COMMUTATIVE",
    "MOST_STEPS",
    "UNITS",
    "NoEndError",
    "Program",
    "ProgramError",
    "ProgramExample",
    "Test",
    "equal_values",
    "generate_programs",
    "passes",
    "program_type",
    "read_metaset",
    "read_records",
    "read_type",
    "record_of",
    "skeleton",
    "stored_programs",
    "type_name",
]
