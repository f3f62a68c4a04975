"""The phantom patient's chart as a FHIR R4 transaction: every resource has an id of its own making, so loading it twice changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from services.demo.ct import PatientTags, StudyTags

Resource = dict[str, Any]

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
RXNORM, ICD10 = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://hl7.org/fhir/sid/icd-10"
HL7 = "http://terminology.hl7.org/CodeSystem"
DICOM = "http://dicom.nema.org/resources/ontology/DCM"
CT_CHEST = ("24627-2", "CT Chest")

LABS: dict[str, tuple[str, str, str, float, float, tuple[str, ...]]] = {
    "2160-0": ("Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 0.7, 1.3, ("1.02", "1.05", "1.10", "1.18")),
    "718-7": ("Hemoglobin [Mass/volume] in Blood", "g/dL", "g/dL", 13.0, 17.0, ("14.1", "13.9", "13.4", "12.6")),
    "6690-2": ("Leukocytes [#/volume] in Blood", "10*3/uL", "10*3/uL", 4.0, 10.0, ("7.2", "7.9", "8.1", "9.4")),
    "1988-5": ("C reactive protein [Mass/volume] in Serum or Plasma", "mg/L", "mg/L", 0.0, 5.0, ("3.1", "2.8", "6.0", "11.7")),
}  # fmt: skip
"""LOINC code -> display, unit, UCUM code, normal range, values from the oldest to the newest (kept as written)."""

LAB_DAYS_BEFORE = (330, 188, 92, 6)


@dataclass(frozen=True)
class Chart:
    """What the chart is about: the patient, both studies with their counts, and the systems of its identifiers."""

    base: str
    """Base of the entries' `fullUrl`."""
    prefix: str
    """Begins every id."""
    patient: PatientTags
    given: str
    family: str
    prior: StudyTags
    current: StudyTags
    slices: tuple[int, int]
    """Of the prior and of the current series."""
    mrn_system: str
    accession_system: str

    @property
    def subject(self) -> str:
        return self.ref("Patient", "patient")

    def ref(self, kind: str, name: str) -> str:
        return f"{kind}/{self.prefix}-{name}"


def chart_bundle(chart: Chart) -> Resource:
    """The transaction Bundle: PUT Type/id for each resource."""
    entries = [_entry(chart, resource) for resource in _resources(chart)]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _entry(chart: Chart, resource: Resource) -> Resource:
    path = f"{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": f"{chart.base}/{path}", "resource": resource, "request": {"method": "PUT", "url": path}}


def _resources(chart: Chart) -> Iterable[Resource]:
    yield _patient(chart)
    yield from _staff(chart)
    yield from _encounters(chart)
    yield from _conditions(chart)
    yield from _medications(chart)
    yield _allergy(chart)
    yield _procedure(chart)
    yield from _smoking(chart)
    yield from _labs(chart)
    yield from _imaging(chart)
    yield _prior_report(chart)


def _resource(chart: Chart, kind: str, local_id: str, /, **elements: Any) -> Resource:
    return {"resourceType": kind, "id": f"{chart.prefix}-{local_id}", **elements}


def _concept(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def _reference(reference: str) -> Resource:
    return {"reference": reference}


def _day(moment: datetime, before: int = 0) -> str:
    return (moment.date() - timedelta(days=before)).isoformat()


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _patient(chart: Chart) -> Resource:
    born = date.fromisoformat(chart.patient.birth_date).isoformat()
    record_number = {"coding": [{"system": f"{HL7}/v2-0203", "code": "MR", "display": "Medical record number"}]}
    return _resource(
        chart,
        "Patient",
        "patient",
        identifier=[
            {"use": "usual", "type": record_number, "system": chart.mrn_system, "value": chart.patient.patient_id}
        ],
        active=True,
        name=[{"use": "official", "family": chart.family, "given": [chart.given]}],
        gender={"F": "female", "M": "male"}[chart.patient.sex],
        birthDate=born,
    )


def _staff(chart: Chart) -> Iterable[Resource]:
    yield _resource(chart, "Organization", "radiology", active=True, name="Demonstration hospital, radiology")
    yield _resource(
        chart,
        "Practitioner",
        "radiologist",
        active=True,
        name=[{"family": "Meridian", "given": ["Robin"], "prefix": ["Dr"]}],
    )
    yield _resource(
        chart,
        "PractitionerRole",
        "duty-radiologist",
        active=True,
        practitioner=_reference(chart.ref("Practitioner", "radiologist")),
        organization=_reference(chart.ref("Organization", "radiology")),
        code=[_concept(SNOMED, "66862007", "Radiologist")],
    )


def _encounters(chart: Chart) -> Iterable[Resource]:
    for name, study in (("prior", chart.prior), ("current", chart.current)):
        began = study.started - timedelta(hours=2)
        yield _resource(
            chart,
            "Encounter",
            f"encounter-{name}",
            status="finished" if name == "prior" else "in-progress",
            **{"class": {"system": f"{HL7}/v3-ActCode", "code": "AMB", "display": "ambulatory"}},
            subject=_reference(chart.subject),
            period={"start": _moment(began)}
            | ({"end": _moment(study.started + timedelta(hours=1))} if name == "prior" else {}),
            serviceProvider=_reference(chart.ref("Organization", "radiology")),
        )


def _conditions(chart: Chart) -> Iterable[Resource]:
    known = (
        ("copd", "13645005", "Chronic obstructive pulmonary disease", 2900),
        ("hypertension", "38341003", "Hypertensive disorder", 4100),
        ("nodule", "427359005", "Solitary nodule of lung", 186),
    )
    for name, code, text, before in known:
        yield _resource(
            chart,
            "Condition",
            f"condition-{name}",
            clinicalStatus=_concept(f"{HL7}/condition-clinical", "active", "Active"),
            verificationStatus=_concept(f"{HL7}/condition-ver-status", "confirmed", "Confirmed"),
            category=[_concept(f"{HL7}/condition-category", "problem-list-item", "Problem List Item")],
            code=_concept(SNOMED, code, text),
            subject=_reference(chart.subject),
            onsetDateTime=_day(chart.current.started, before),
            recordedDate=_day(chart.current.started, before),
        )


def _medications(chart: Chart) -> Iterable[Resource]:
    for name, code, text, before in (
        ("tiotropium", "69120", "tiotropium", 2600),
        ("lisinopril", "29046", "lisinopril", 3900),
    ):
        yield _resource(
            chart,
            "MedicationRequest",
            f"medication-{name}",
            status="active",
            intent="order",
            medicationCodeableConcept=_concept(RXNORM, code, text),
            subject=_reference(chart.subject),
            authoredOn=_day(chart.current.started, before),
            dosageInstruction=[{"text": "once daily"}],
        )


def _allergy(chart: Chart) -> Resource:
    return _resource(
        chart,
        "AllergyIntolerance",
        "allergy-penicillin",
        clinicalStatus=_concept(f"{HL7}/allergyintolerance-clinical", "active", "Active"),
        verificationStatus=_concept(f"{HL7}/allergyintolerance-verification", "confirmed", "Confirmed"),
        type="allergy",
        category=["medication"],
        criticality="high",
        code=_concept(SNOMED, "91936005", "Allergy to penicillin"),
        patient=_reference(chart.subject),
        recordedDate=_day(chart.current.started, 5200),
    )


def _procedure(chart: Chart) -> Resource:
    return _resource(
        chart,
        "Procedure",
        "procedure-bronchoscopy",
        status="completed",
        code=_concept(SNOMED, "10847001", "Bronchoscopy"),
        subject=_reference(chart.subject),
        performedDateTime=_day(chart.current.started, 170),
    )


def _smoking(chart: Chart) -> Iterable[Resource]:
    yield _resource(
        chart,
        "Observation",
        "smoking",
        status="final",
        category=[_concept(f"{HL7}/observation-category", "social-history", "Social History")],
        code=_concept(LOINC, "72166-2", "Tobacco smoking status"),
        subject=_reference(chart.subject),
        effectiveDateTime=_day(chart.current.started, 188),
        valueCodeableConcept=_concept(SNOMED, "8517006", "Ex-smoker"),
    )


def _labs(chart: Chart) -> Iterable[Resource]:
    for code, (display, unit, ucum, low, high, values) in LABS.items():
        for before, value in zip(LAB_DAYS_BEFORE, values, strict=True):
            yield _lab(
                chart,
                f"lab-{code}-{before}",
                _concept(LOINC, code, display),
                before,
                float(value),
                (unit, ucum, low, high),
            )


def _lab(
    chart: Chart, name: str, code: Resource, before: int, value: float, scale: tuple[str, str, float, float]
) -> Resource:
    unit, ucum, low, high = scale
    quantity = {"unit": unit, "system": UCUM, "code": ucum}
    flag = ("H", "High") if value > high else ("L", "Low") if value < low else ("N", "Normal")
    return _resource(
        chart,
        "Observation",
        name,
        status="final",
        category=[_concept(f"{HL7}/observation-category", "laboratory", "Laboratory")],
        code=code,
        subject=_reference(chart.subject),
        effectiveDateTime=_moment(chart.current.started - timedelta(days=before)),
        valueQuantity={"value": value, **quantity},
        interpretation=[_concept(f"{HL7}/v3-ObservationInterpretation", *flag)],
        referenceRange=[{"low": {"value": low, **quantity}, "high": {"value": high, **quantity}}],
    )


def _accession(chart: Chart, study: StudyTags) -> Resource:
    kind = {"coding": [{"system": f"{HL7}/v2-0203", "code": "ACSN", "display": "Accession ID"}]}
    return {"type": kind, "system": chart.accession_system, "value": study.accession}


def _imaging(chart: Chart) -> Iterable[Resource]:
    for name, study, slices in (("prior", chart.prior, chart.slices[0]), ("current", chart.current, chart.slices[1])):
        yield _order(chart, name, study)
        yield _imaging_study(chart, name, study, slices)


def _order(chart: Chart, name: str, study: StudyTags) -> Resource:
    return _resource(
        chart,
        "ServiceRequest",
        f"order-{name}",
        identifier=[_accession(chart, study)],
        status="completed" if name == "prior" else "active",
        intent="order",
        category=[_concept(SNOMED, "363679005", "Imaging")],
        priority="routine" if name == "prior" else "urgent",
        code=_concept(LOINC, *CT_CHEST),
        subject=_reference(chart.subject),
        encounter=_reference(chart.ref("Encounter", f"encounter-{name}")),
        authoredOn=_moment(study.started - timedelta(days=3)),
        requester=_reference(chart.ref("PractitionerRole", "duty-radiologist")),
        reasonCode=[{"text": "Follow-up of a pulmonary nodule" if name == "current" else "Chronic cough"}],
    )


def _imaging_study(chart: Chart, name: str, study: StudyTags, slices: int) -> Resource:
    ct = {"system": DICOM, "code": "CT", "display": "Computed Tomography"}
    series = {
        "uid": study.series_uid,
        "number": 1,
        "modality": ct,
        "description": study.series_description,
        "numberOfInstances": slices,
        "bodySite": {"system": SNOMED, "code": "51185008", "display": "Thoracic structure"},
    }
    return _resource(
        chart,
        "ImagingStudy",
        f"study-{name}",
        identifier=[{"system": "urn:dicom:uid", "value": f"urn:oid:{study.study_uid}"}, _accession(chart, study)],
        status="available",
        modality=[ct],
        subject=_reference(chart.subject),
        encounter=_reference(chart.ref("Encounter", f"encounter-{name}")),
        started=_moment(study.started),
        basedOn=[_reference(chart.ref("ServiceRequest", f"order-{name}"))],
        numberOfSeries=1,
        numberOfInstances=slices,
        description=study.description,
        series=[series],
    )


def _prior_report(chart: Chart) -> Resource:
    return _resource(
        chart,
        "DiagnosticReport",
        "report-prior",
        identifier=[_accession(chart, chart.prior)],
        basedOn=[_reference(chart.ref("ServiceRequest", "order-prior"))],
        status="final",
        category=[_concept(f"{HL7}/v2-0074", "CT", "CAT Scan")],
        code=_concept(LOINC, *CT_CHEST),
        subject=_reference(chart.subject),
        encounter=_reference(chart.ref("Encounter", "encounter-prior")),
        effectiveDateTime=_moment(chart.prior.started),
        issued=_moment(chart.prior.started + timedelta(hours=5)),
        performer=[_reference(chart.ref("Organization", "radiology"))],
        resultsInterpreter=[_reference(chart.ref("PractitionerRole", "duty-radiologist"))],
        imagingStudy=[_reference(chart.ref("ImagingStudy", "study-prior"))],
        conclusion="Solid nodule of 9 mm in the right upper lobe. No enlarged lymph nodes, no effusion. Follow-up CT in six months.",
    )
