"""What a result is made of, and the small pieces that its resources share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import cached_property

from schemas.codes import DCM, DICOM_UID, V2_0203, Canonical, Json, coding, concept
from schemas.identifiers import Namespace, without_version
from schemas.imaging import SeriesSource
from schemas.inference import ModelRelease
from schemas.report import Priority, RaisedPriority, Reading, ReviewerIdentity
from schemas.timeline import StudyEntry, Timeline
from workflows.report.kept import Kept

_WHO = re.compile(r"(Practitioner|PractitionerRole|Organization)/[A-Za-z0-9.-]{1,64}")
_ENCOUNTER = re.compile(r"Encounter/[A-Za-z0-9.-]{1,64}")


@dataclass(frozen=True)
class ResultContext:
    """Everything that decides the bytes of a result's Bundle. Times are RFC 3339."""

    namespace: Namespace
    thread_id: str
    result_id: str
    manifest_ni: str
    timeline: Timeline
    series: SeriesSource
    prior: StudyEntry | None
    """The study that the model compared with: the newest of those it was shown."""
    reading: Reading
    model: ModelRelease
    release: str
    prompt_template: bytes
    rendered_prompt_ni: str
    started: str
    ended: str
    issued: str
    organization: str
    review_role: str
    priority: Priority
    """The one that counts: the order's, or that of `raised`."""
    acknowledge_by: str | None
    dicomweb_public_url: str
    escalation_policy: str = "none@v1"
    """Name and version of the policy by which people are told of the result."""
    conclusion_codes: bool = False
    """Site switch: some records file `conclusionCode` to the problem list, so it is off until that was tested there (contract 1.1)."""
    earlier: tuple[StudyEntry, ...] = ()
    """Priors before the named one that the model was shown as well, oldest first."""
    time_zone: tzinfo = UTC
    """Of times of day that a document writes without an offset."""
    raised: RaisedPriority | None = None
    """What holds the result above its order."""
    order_priority: Priority = "routine"
    """Written where the result is `raised`."""
    kept: tuple[Kept, ...] = ()
    """Objects of the evidence store that reproducing the result needs, named by digest in Provenance (contract 1.4)."""

    @property
    def canonical(self) -> Canonical:
        return Canonical(self.namespace.base)

    @cached_property
    def patient(self) -> Json:
        return {"reference": without_version(self.timeline.patient.resource)}

    @cached_property
    def tag(self) -> Json:
        return coding(self.canonical.sid("ai-result"), self.result_id)

    @cached_property
    def imaging_study(self) -> Json:
        return imaging_study_reference(self.series.study_instance_uid, self.timeline)

    @cached_property
    def based_on(self) -> list[Json]:
        order = self.timeline.order
        if order is None:
            return []
        reference: Json = {"reference": without_version(order.resource)}
        if order.accession is not None:
            identifier: Json = {
                "type": concept(coding(V2_0203, "ACSN", "Accession ID")),
                "value": order.accession.value,
            }
            reference["identifier"] = identifier | (
                {"system": order.accession.system} if order.accession.system else {}
            )
        return [reference]

    def urn(self, *parts: str) -> str:
        """`fullUrl` of an entry: derived, so that equal content gives equal bytes."""
        return "urn:uuid:" + self.namespace.key("entry", *parts)

    @property
    def device_urn(self) -> str:
        return self.urn("device", self.release)

    @property
    def report_urn(self) -> str:
        return self.urn("report", self.result_id)

    @cached_property
    def effective(self) -> Json:
        study = self.timeline.study
        return {"effectiveDateTime": study.started} if study and study.started else {}

    @cached_property
    def encounter(self) -> Json:
        order = self.timeline.order
        known = order is not None and order.encounter is not None and _ENCOUNTER.fullmatch(order.encounter)
        return {"encounter": {"reference": order.encounter}} if order is not None and known else {}


def imaging_study_reference(study_instance_uid: str, timeline: Timeline) -> Json:
    """By reference where FHIR knows the study, always by StudyInstanceUID (contract 1.1)."""
    identifier = {
        "type": concept(coding(DCM, "110180", "Study Instance UID")),
        "system": DICOM_UID,
        "value": f"urn:oid:{study_instance_uid}",
    }
    known = timeline.study
    return ({"reference": without_version(known.resource)} if known else {"type": "ImagingStudy"}) | {
        "identifier": identifier
    }


def person(name: str, identity: ReviewerIdentity | None) -> Json:
    """A Reference to whoever has decided: the Practitioner, or whoever the issuer means by this subject (R4 2.3.0.1, logical reference).

    Without a login it is a name and nothing else: what somebody types never becomes a reference.
    """
    if identity is None:
        return {"display": name}
    known = {"reference": identity.practitioner} if identity.practitioner else {"type": "Practitioner"}
    return known | {"identifier": {"system": identity.issuer, "value": identity.subject}, "display": name}


def who(text: str) -> Json:
    """A Reference to a role or organization that a setting names: literal if it is one, else by name alone (`Smith/Jones` is a name)."""
    return {"reference": text} if _WHO.fullmatch(text) else {"display": text}


def review_period(issued: str, acknowledge_by: str | None) -> Json:
    """`Task.restriction.period` (contract 1.5): without an end where nobody is told when it is over."""
    return {"start": issued} | ({"end": acknowledge_by} if acknowledge_by else {})


def versioned_reference(canonical: Canonical, reference: str) -> Json:
    """A version-specific reference, repeated as an identifier because some servers strip versions (contract 1.4)."""
    identifier = {"system": canonical.sid("resource-version"), "value": reference}
    return {"reference": reference, "identifier": identifier}


def create(full_url: str, resource: Json, if_none_exist: str) -> Json:
    """A conditional create: posting it twice makes nothing new."""
    request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": if_none_exist}
    return {"fullUrl": full_url, "resource": resource, "request": request}


def by_identifier(resource: Json) -> str:
    first = resource["identifier"][0]
    return f"identifier={first['system']}|{first['value']}"
