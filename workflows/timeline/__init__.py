"""FHIR resources -> Timeline. Pure: no I/O, no clock."""

from workflows.timeline.build import build_timeline, check_subject, patient_banner

__all__ = ["build_timeline", "check_subject", "patient_banner"]
