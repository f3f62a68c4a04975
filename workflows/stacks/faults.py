"""Which failures lie in one series, so that the others of the study are read, and which in the study."""

from __future__ import annotations

from schemas.errors import PermanentFailure

OF_THE_STUDY = frozenset({
    "study-mismatch", "study-ambiguous", "study-not-found", "study-without-patient", "uid-invalid", "archive-refused", "archive-answer",
})  # fmt: skip
"""The archive answers with something else than was asked for, or not at all: nothing that it says of the study is believed."""


def raise_if_of_study(failure: PermanentFailure) -> None:
    """Raise a failure that is not of one series alone."""
    if failure.code in OF_THE_STUDY:
        raise failure
