"""Provenance -> what a result rests on, and the comparison with what is there now. Pure: no I/O, no clock."""

from workflows.reproduce.compare import compare_answer, compare_chart, compare_instances, compare_value, conclude
from workflows.reproduce.origin import ResultOrigin, read_origin

__all__ = [
    "ResultOrigin",
    "compare_answer",
    "compare_chart",
    "compare_instances",
    "compare_value",
    "conclude",
    "read_origin",
]
