"""How much a patient's entity remembers."""

REMEMBERED_EVENTS = 1000
"""Event ids kept to drop redelivered events (contract 4, rule 3)."""

REMEMBERED_OBSERVATIONS = 1000
"""Announced observations kept; older ones are found by the FHIR search of every timeline anyway."""
