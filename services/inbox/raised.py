"""The words for a result that a critical finding has raised above its order."""

from __future__ import annotations

from schemas.codes import LABEL_BY_CODE, LIKELIHOOD_TEXT
from schemas.report import RaisedPriority
from services.db import EntryRow


def raised_of(row: EntryRow) -> str:
    """The AI's rank beside the order's, and what it rests on; empty where the order's counts."""
    if row.raised is None:
        return ""
    raised = RaisedPriority.model_validate(row.raised)
    label = LABEL_BY_CODE.get(raised.finding)
    found = f"{label.text if label else raised.finding}, {LIKELIHOOD_TEXT[raised.likelihood].lower()}"
    version = raised.critical_list.rpartition("@")[2]
    return f"Order {(row.order_priority or row.priority).upper()}, AI-raised {raised.priority.upper()}: {found} (list {version})"
