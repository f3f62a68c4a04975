"""FHIR resources -> Timeline. Pure: no I/O, no clock."""

from workflows.timeline.build import build_timeline
from workflows.timeline.versions import check_subject

__all__ = ["build_timeline", "check_subject"]
