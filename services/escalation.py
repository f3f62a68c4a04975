"""The site's escalation policies: from its file, or two steps for everything above routine."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from schemas.errors import PartUnavailable
from schemas.lifecycle import EscalationPolicy, EscalationStep
from schemas.report import Priority
from schemas.terms import MAX_ESCALATION_STEPS
from services.settings import Settings

PRIORITIES: tuple[Priority, ...] = get_args(Priority)
STAT_MINUTES = 15
"""The first wait for a stat result, unless the site acknowledges faster in general."""


def escalation_policies(settings: Settings) -> dict[Priority, EscalationPolicy]:
    """A policy for each priority; `PartUnavailable` says what is wrong with the file."""
    if not settings.escalation_file:
        return {priority: _default(priority, settings) for priority in PRIORITIES}
    try:
        told = TypeAdapter(dict[Priority, EscalationPolicy]).validate_json(Path(settings.escalation_file).read_bytes())
    except (OSError, ValidationError) as error:
        raise PartUnavailable(
            "setting-escalation-file",
            "LONGVIEW_ESCALATION_FILE cannot be read as policies by priority: see docs/operations.md for its form.",
        ) from error
    if any(len(policy.steps) > MAX_ESCALATION_STEPS for policy in told.values()):
        raise PartUnavailable(
            "setting-escalation-file",
            f"LONGVIEW_ESCALATION_FILE has a policy of more than {MAX_ESCALATION_STEPS} steps.",
        )
    return {priority: told.get(priority, EscalationPolicy(name="none@v1", steps=[])) for priority in PRIORITIES}


def _default(priority: Priority, settings: Settings) -> EscalationPolicy:
    """A routine result waits in the inbox without a clock."""
    if priority == "routine":
        return EscalationPolicy(name="none@v1", steps=[])
    first = int(settings.acknowledge_minutes)
    wait = min(first, STAT_MINUTES) if priority == "stat" else first
    recipients = (settings.review_role, settings.escalation_role)
    steps = [
        EscalationStep(number=number, recipient=recipient, medium="APPWRIT", wait_minutes=wait)
        for number, recipient in enumerate(recipients, start=1)
    ]
    return EscalationPolicy(name="acknowledge@v1", steps=steps)
