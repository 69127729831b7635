"""Generated problems that test what a recurrent network remembers, each drawn from a seed."""

from throughtime.data.problems.languages import (
    CountingLanguage,
    Dyck,
    EmbeddedReber,
    Language,
)
from throughtime.data.problems.problem import Examples, GeneratedBatches, Graded, Problem
from throughtime.data.problems.signals import Adding, Copying, Parity, TemporalOrder

__all__ = [
    "PROBLEMS",
    "Adding",
    "Copying",
    "CountingLanguage",
    "Dyck",
    "EmbeddedReber",
    "Examples",
    "GeneratedBatches",
    "Graded",
    "Language",
    "Parity",
    "Problem",
    "TemporalOrder",
]

PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        Adding(),
        Copying(),
        TemporalOrder(),
        Parity(),
        EmbeddedReber(),
        CountingLanguage("anbn", "ab"),
        CountingLanguage("anbncn", "abc"),
        Dyck(),
    )
}
"""The problems by name."""
