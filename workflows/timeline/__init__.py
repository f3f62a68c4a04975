"""FHIR resources -> Timeline, and what of it is compared and fits into a prompt. Pure: no I/O, no clock."""

from workflows.timeline.budget import dropped_sentence, fit_history
from workflows.timeline.build import build_timeline, patient_banner
from workflows.timeline.priors import PriorPolicy, Subject, choose_priors
from workflows.timeline.versions import check_subject

__all__ = [
    "PriorPolicy",
    "Subject",
    "build_timeline",
    "check_subject",
    "choose_priors",
    "dropped_sentence",
    "fit_history",
    "patient_banner",
]
