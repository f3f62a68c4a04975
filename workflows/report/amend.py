"""A reviewer puts a finding of their own in place of the AI's (contract 2, example 03).

A changed finding is a new Observation by the clinician: no AIAST, no device, `observation-replaces`. The AI's is cancelled with the reason;
the rest is accepted. The report points to the new Observation and drops its presented form.
"""

from __future__ import annotations

import re
from copy import deepcopy

from schemas.codes import (
    ABNORMAL,
    CLINAST,
    LIKELIHOOD_SNOMED,
    LIKELIHOOD_TEXT,
    NORMAL,
    OBSERVATION_REPLACES,
    PRESENCE,
    SUPPORTING_INFO,
    Canonical,
    Json,
    concept,
)
from schemas.errors import PermanentFailure
from schemas.identifiers import Namespace
from schemas.inference import NOT_COMPARED
from schemas.report import AmendedFinding, AmendedValue, ReviewAct
from schemas.terms import CHANGE_FROM_PRIOR, FINDING_COMPONENT, LIKELIHOOD_BAND
from workflows.report.amend_value import amended_value_sentence, told_quantity, value_pattern
from workflows.report.context import by_identifier, create, person
from workflows.report.findings import label_of, presence_of
from workflows.report.posted import PostedResult, with_reason
from workflows.report.text import BANNER, UNTRAINED, narrative

REASON = "Replaced by clinician observation"
_KEPT = ("basedOn", "partOf", "category", "code", "subject", "encounter", "effectiveDateTime", "bodySite")


def amended_observations(canonical: Canonical, posted: PostedResult, act: ReviewAct) -> dict[str, Json]:
    """The AI's Observation that each amendment replaces, by label; `PermanentFailure` where that is not exactly one."""
    amendments: list[AmendedFinding | AmendedValue] = [*act.amendments, *act.amended_values]
    if not amendments or act.outcome != "amended":
        raise PermanentFailure("amendment-missing", "an amendment says which finding it changes, and nothing else does")
    found: dict[str, Json] = {}
    for amendment in amendments:
        matching = [o for o in posted.observations if label_of(canonical, o) == amendment.label]
        right = [o for o in matching if ("valueQuantity" in o) == isinstance(amendment, AmendedValue)]
        if len(right) != 1 or amendment.label in found:
            raise PermanentFailure("amendment-unknown", "an amendment names a finding that the result does not hold")
        found[amendment.label] = right[0]
    return found


def clinician_observation(namespace: Namespace, old: Json, amendment: AmendedFinding, act: ReviewAct) -> Json:
    """The entry of the clinician's own Observation."""
    canonical = Canonical(namespace.base)
    same = presence_of(old) == amendment.presence
    key = namespace.key("review-finding", act.act_id, amendment.label)
    replaced = {"reference": f"Observation/{old['id']}"}
    tracking = [i for i in old["identifier"] if i["system"] == "urn:dicom:uid"]
    resource: Json = {
        "resourceType": "Observation",
        "meta": {"security": [CLINAST], "tag": old["meta"]["tag"]},
        "text": narrative(amended_sentence(old, amendment)),
        "extension": [
            *_places(canonical, old, amendment),
            {"url": OBSERVATION_REPLACES, "valueReference": replaced},
        ],
        "identifier": [{"system": canonical.sid("review-finding"), "value": key}, *tracking],
        "status": "final",
        **{name: deepcopy(old[name]) for name in _KEPT if name in old},
        "issued": act.at,
        "performer": [person(act.reviewer, act.identity)],
        "valueCodeableConcept": concept(PRESENCE[amendment.presence]),
        "interpretation": _interpretation(old, amendment, same),
        "note": [{"text": amendment.text}] if amendment.text else [],
        "derivedFrom": [*_derived_from(old, amendment), replaced],
        "component": _components(canonical, old, amendment, same),
    }
    body = {name: value for name, value in resource.items() if value != []}
    return create("urn:uuid:" + namespace.key("entry", "review-finding", key), body, by_identifier(body))


def _places(canonical: Canonical, old: Json, amendment: AmendedFinding) -> list[Json]:
    """The box stays where something is still there to be seen; what was cited stays."""
    kept = {SUPPORTING_INFO} | (
        {canonical.structure("image-region")} if amendment.presence != "not-detected" else set()
    )
    return [e for e in old.get("extension", []) if e["url"] in kept]


def _derived_from(old: Json, amendment: AmendedFinding) -> list[Json]:
    sources: list[Json] = old.get("derivedFrom", [])
    if amendment.presence != "not-detected":
        return sources
    return [s for s in sources if not s.get("reference", "").startswith("Media/")]


def _interpretation(old: Json, amendment: AmendedFinding, same: bool) -> list[Json]:
    if same:
        return deepcopy(old.get("interpretation", []))
    return {"detected": [concept(ABNORMAL)], "not-detected": [concept(NORMAL)], "indeterminate": []}[amendment.presence]


def _components(canonical: Canonical, old: Json, amendment: AmendedFinding, same: bool) -> list[Json]:
    """The reviewer's likelihood, where one is given; measures and change from the prior only where the answer is the AI's own."""
    likelihood = FINDING_COMPONENT.coding(canonical, "likelihood")
    change = FINDING_COMPONENT.coding(canonical, "change-from-prior")
    found: list[Json] = []
    if amendment.likelihood is not None:
        band = LIKELIHOOD_BAND.coding(canonical, amendment.likelihood)
        also = [LIKELIHOOD_SNOMED[amendment.likelihood]] if amendment.likelihood in LIKELIHOOD_SNOMED else []
        found.append({"code": concept(likelihood), "valueCodeableConcept": concept(band, *also)})
    if same:
        others = [c for c in old.get("component", []) if likelihood["code"] not in _codes(c["code"])]
        return [*found, *deepcopy(others)]
    unsaid = {
        "code": concept(change),
        "valueCodeableConcept": concept(CHANGE_FROM_PRIOR.coding(canonical, NOT_COMPARED)),
    }
    return [*found, unsaid]


def _codes(value: Json) -> set[str]:
    return {str(c["code"]) for c in value.get("coding", [])}


def replaced_observation(canonical: Canonical, old: Json) -> Json:
    return with_reason(canonical, old, "cancelled", "amended-by-clinician", REASON)


def amended_report(report: Json, replaced: dict[str, Json], created: list[Json]) -> None:
    """Point an accepted report to the clinician's Observations, and drop the codes of what is no longer said to be there."""
    urls = {f"Observation/{old['id']}": entry["fullUrl"] for old, entry in zip(replaced.values(), created, strict=True)}
    report["result"] = [{"reference": urls.get(r["reference"], r["reference"])} for r in report["result"]]
    gone = [e["resource"] for e in created if presence_of(e["resource"]) != "detected"]
    codes = {(c["system"], c["code"]) for o in gone for c in o["code"].get("coding", [])}
    kept = [
        code
        for code in report.pop("conclusionCode", [])
        if not codes & {(c.get("system"), c.get("code")) for c in code.get("coding", [])}
    ]
    if kept:
        report["conclusionCode"] = kept


def amended_sentence(old: Json, amendment: AmendedFinding) -> str:
    """The finding as the reviewer states it."""
    answer = PRESENCE[amendment.presence]["display"].lower()
    band = f" ({LIKELIHOOD_TEXT[amendment.likelihood].lower()})" if amendment.likelihood else ""
    said = f" Reviewer: {amendment.text.rstrip('.')}." if amendment.text else ""
    return f"{old['code']['text']}: {answer}{band}, amended by the reviewer.{said}"


def amended_conclusion(posted: PostedResult, replaced: dict[str, Json], act: ReviewAct) -> str:
    """The report's sentences with those of the amended findings exchanged; said anew from the codes where a sentence is not to be found."""
    text = str(posted.report.get("conclusion", ""))
    for value in act.amended_values:
        old = replaced[value.label]
        before, found, after = _parted(value_pattern(old, value.label), text)
        if not found:
            return _said_anew(posted, replaced, act)
        text = before + amended_value_sentence(old, value) + after
    for amendment in act.amendments:
        old = replaced[amendment.label]
        known = re.compile(re.escape(old["code"]["text"]) + r": (?:detected|not detected|indeterminate)\b.*?\.(?=\s|$)")
        before, found, after = _parted(known, text)
        if not found:
            return _said_anew(posted, replaced, act)
        text = before + amended_sentence(old, amendment) + after
    return text


def _parted(pattern: re.Pattern[str], text: str) -> tuple[str, bool, str]:
    match = pattern.search(text)
    return (text[: match.start()], True, text[match.end() :]) if match else (text, False, "")


def _said_anew(posted: PostedResult, replaced: dict[str, Json], act: ReviewAct) -> str:
    amended = {replaced[a.label]["id"]: amended_sentence(replaced[a.label], a) for a in act.amendments}
    amended |= {replaced[v.label]["id"]: amended_value_sentence(replaced[v.label], v) for v in act.amended_values}
    warnings = [BANNER, *([UNTRAINED] if UNTRAINED in posted.report.get("conclusion", "") else [])]
    return " ".join([*warnings, *(amended.get(o["id"]) or _sentence(o) for o in posted.observations)])


def _sentence(observation: Json) -> str:
    if "valueQuantity" in observation:
        return f"{observation['code']['text']}: {told_quantity(observation['valueQuantity'])}."
    answer = presence_of(observation)
    return f"{observation['code']['text']}: {PRESENCE[answer]['display'].lower() if answer else 'unknown'}."
