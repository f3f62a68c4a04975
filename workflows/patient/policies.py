"""How much a patient's entity remembers, and for how long it waits for more."""

from datetime import timedelta

REMEMBERED_EVENTS = 1000
"""Event ids kept to drop redelivered events (contract 4, rule 3)."""

REMEMBERED_OBSERVATIONS = 1000
"""Announced observations kept; older ones are found by the FHIR search of every timeline anyway."""

REMEMBERED_STUDIES = 500
"""Studies kept, the newest; an older one is known again when it is announced again."""

UNPLACED_EVENTS = 200
"""Orders and reports kept that name no study which is known yet."""

BURST_WINDOW = timedelta(seconds=5)
"""Observations that come within this time after the first of them are one update: a panel of labs, not ten."""

BURST_LIMIT = 200
"""A burst is told at this size, before its time is over."""

ADDENDUM_WINDOW = timedelta(days=14)
"""For so long after a study became known, its result is told of new observations."""
