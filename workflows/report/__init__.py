"""Answer -> FHIR: result, review and supersession as transaction Bundles. Pure: no I/O, no clock."""

from workflows.report.bundle import build_result
from workflows.report.context import ResultContext
from workflows.report.posted import PostedResult
from workflows.report.review import act_tag, build_review
from workflows.report.supersede import supersede

__all__ = ["PostedResult", "ResultContext", "act_tag", "build_result", "build_review", "supersede"]
