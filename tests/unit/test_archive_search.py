"""Wild cards of QIDO-RS (PS3.4 C.2.2.2.4): what they match, and that no pattern keeps the archive busy."""

from __future__ import annotations

import time
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.archive.search import MOST_CHARACTERS, BadQuery, _match, parse_query

WORDS = st.text("abA^?*", max_size=8)


def matches(wanted: str, have: str) -> bool:
    """The standard's words, letter by letter."""

    @cache
    def rest(w: int, h: int) -> bool:
        if w == len(wanted):
            return h == len(have)
        if wanted[w] == "*":
            return rest(w + 1, h) or (h < len(have) and rest(w, h + 1))
        return h < len(have) and wanted[w] in (have[h], "?") and rest(w + 1, h + 1)

    return rest(0, 0)


@given(WORDS, st.text("abA^", max_size=10))
def test_a_pattern_matches_what_the_standard_says(wanted: str, have: str) -> None:
    assert _match("LO", wanted)([have]) == matches(wanted, have)


@pytest.mark.parametrize("wanted", ["*" * 60 + "Z", "*a" * 40 + "Z", "*?" * 40 + "Z", "a*" * 2000 + "Z"])
def test_a_name_of_many_stars_is_answered_at_once(wanted: str) -> None:
    """It held the archive up for ever: a minute would be a failure, and it takes less than a second."""
    began = time.monotonic()
    assert not _match("PN", wanted)(["a" * 64])
    assert time.monotonic() - began < 60


def test_a_value_without_end_is_refused() -> None:
    with pytest.raises(BadQuery):
        parse_query([("PatientName", "*" * (MOST_CHARACTERS + 1))])
