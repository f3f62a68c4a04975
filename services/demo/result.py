"""Reads the result back from where clinicians will find it: the FHIR server and the inbox. What is not there as promised is a failure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx

from schemas.codes import PRESENCE, SCT
from schemas.errors import PermanentFailure
from schemas.identifiers import without_version
from schemas.inbox import InboxResult
from schemas.runs import ResultWritten
from services.demo.load import Fhir

Resource = dict[str, Any]

INBOX_SECONDS = 20.0
LONG_AXIS = "103339001"
"""SNOMED CT: the long axis (contract 1.2)."""
UNTRAINED_NOTICE = "The model is untrained: its weights are random, and what it says about the images is meaningless."


@dataclass(frozen=True)
class ReadBack:
    """What FHIR says of the result."""

    report: str
    task: str
    status: str
    labels: list[str]
    release: str
    findings: list[dict[str, Any]]
    conclusion: str


def read_back(fhir: Fhir, written: ResultWritten) -> ReadBack:
    """Report, findings, device and task from the FHIR server; `PermanentFailure` unless the report is `partial`, labelled AIAST, and has its Task."""
    report = fhir.read(without_version(written.report))
    task = fhir.read(without_version(written.task))
    labels = [str(label.get("code")) for label in report.get("meta", {}).get("security", [])]
    if report.get("status") != "partial" or "AIAST" not in labels:
        raise PermanentFailure(
            "report-not-labelled", "the report in FHIR is not 'partial' with the label AIAST: do not use it."
        )
    if task.get("resourceType") != "Task":
        raise PermanentFailure("task-missing", "the report has no Task in FHIR: see 'longview runs'.")
    observations = [fhir.read(without_version(result["reference"])) for result in report.get("result", [])]
    return ReadBack(
        report=without_version(written.report),
        task=without_version(written.task),
        status=str(report["status"]),
        labels=labels,
        release=_release(fhir, observations),
        findings=[_finding(observation) for observation in observations],
        conclusion=str(report.get("conclusion", "")),
    )


def _release(fhir: Fhir, observations: list[Resource]) -> str:
    """The release's name, as the Device says it that the findings name."""
    references = [o["device"]["reference"] for o in observations if "reference" in o.get("device", {})]
    if not references:
        return ""
    device = fhir.read(without_version(references[0]))
    for version in device.get("version", []):
        if "release" in _text(version.get("type", {})).lower():
            return str(version.get("value", "")).partition("+")[0]
    names = device.get("deviceName", [])
    return str(names[0].get("name", "")) if names else ""


def _finding(observation: Resource) -> dict[str, Any]:
    """One row of the findings table: what was looked for, whether it is there, how likely, how large, what changed."""
    code = observation.get("code", {})
    answered = [coding.get("code") for coding in observation.get("valueCodeableConcept", {}).get("coding", [])]
    components = {_code(component.get("code", {})): component for component in observation.get("component", [])}
    axis = components.get(LONG_AXIS, {}).get("valueQuantity", {}).get("value")
    return {
        "label": _code(code),
        "text": _text(code),
        "presence": next((presence for presence, meant in PRESENCE.items() if meant["code"] in answered), ""),
        "likelihood": _code(components.get("likelihood", {}).get("valueCodeableConcept", {})),
        "long_axis_mm": None if axis is None else float(axis),
        "change": _code(components.get("change-from-prior", {}).get("valueCodeableConcept", {})),
    }


def _text(concept: Resource) -> str:
    codings = concept.get("coding") or [{}]
    return str(concept.get("text") or codings[0].get("display") or codings[0].get("code") or "")


def _code(concept: Resource) -> str:
    """The local code where there is one beside SNOMED's, else the first code."""
    codings = concept.get("coding") or []
    local = [coding for coding in codings if coding.get("system") != SCT]
    return str((local or codings or [{}])[0].get("code", ""))


def inbox_entry(inbox_url: str, result_id: str) -> InboxResult:
    """The result as the inbox shows it; `PermanentFailure` if it does not show it in time."""
    deadline = time.monotonic() + INBOX_SECONDS
    while True:
        entry = _ask_inbox(f"{inbox_url.rstrip('/')}/api/results/{result_id}")
        if entry is not None:
            return entry
        if time.monotonic() > deadline:
            raise PermanentFailure(
                "inbox-entry-missing", "the inbox does not show the result: see 'longview status' and the inbox's log."
            )
        time.sleep(0.5)


def _ask_inbox(url: str) -> InboxResult | None:
    try:
        response = httpx.get(url, timeout=5.0, trust_env=False, headers={"Accept": "application/json"})
    except httpx.HTTPError:
        return None
    if response.status_code != 200:
        return None
    return InboxResult.model_validate(response.json()["result"], strict=False)
