"""Answer -> FHIR: result, review, supersession and what else happens to a result, as transaction Bundles. Pure: no I/O, no clock."""

from workflows.report.addendum import (
    AddendumContext,
    addendum_conclusion,
    addendum_headline,
    addendum_id,
    build_addendum,
)
from workflows.report.bundle import build_result
from workflows.report.closing import build_closing, check_final_report, closing_effect, stands
from workflows.report.context import ResultContext
from workflows.report.critical import critical_finding
from workflows.report.posted import PostedResult
from workflows.report.review import act_tag, build_review
from workflows.report.supersede import supersede

__all__ = [
    "AddendumContext",
    "PostedResult",
    "ResultContext",
    "act_tag",
    "addendum_conclusion",
    "addendum_headline",
    "addendum_id",
    "build_addendum",
    "build_closing",
    "build_result",
    "build_review",
    "check_final_report",
    "closing_effect",
    "critical_finding",
    "stands",
    "supersede",
]
