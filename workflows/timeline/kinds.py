"""Which FHIR R4 resources are facts of a history, where their dates stand, and which of their elements are no clinical content.

An element that no table here names is told in words (`telling.py`): what this code does not know is shown rather than dropped.
"""

from __future__ import annotations

from schemas.timeline import EntryKind

KINDS: dict[str, EntryKind] = {
    "ImagingStudy": "imaging-study",
    "DiagnosticReport": "report",
    "Observation": "observation",
    "Condition": "condition",
    "MedicationRequest": "medication",
    "MedicationStatement": "medication",
    "MedicationAdministration": "administration",
    "Procedure": "procedure",
    "AllergyIntolerance": "allergy",
    "ServiceRequest": "order",
    "Encounter": "encounter",
    "CarePlan": "care-plan",
    "Goal": "goal",
    "Immunization": "immunization",
    "Device": "device",
    "DeviceUseStatement": "device",
    "FamilyMemberHistory": "family-history",
    "Flag": "flag",
}
MALFORMED = (AttributeError, KeyError, TypeError, ValueError, IndexError, RecursionError)
"""What reading a resource raises that is not of R4's shape; pydantic's `ValidationError` is a `ValueError`."""

COUNTED = (
    "AdverseEvent",
    "ClinicalImpression",
    "Composition",
    "DetectedIssue",
    "DocumentReference",
    "MedicationDispense",
    "NutritionOrder",
    "QuestionnaireResponse",
    "RiskAssessment",
)
"""Clinical records that no entry is made of: how many there are is asked, so that nobody takes the history for all of the chart."""

_ONSET = ("onsetDateTime", "onsetPeriod", "recordedDate")
_EFFECTIVE = ("effectiveDateTime", "effectivePeriod")
WHEN: dict[str, tuple[str, ...]] = {
    "ImagingStudy": ("started",),
    "DiagnosticReport": (*_EFFECTIVE, "issued"),
    "Observation": (*_EFFECTIVE, "effectiveInstant", "issued"),
    "Condition": _ONSET,
    "MedicationRequest": ("authoredOn",),
    "MedicationStatement": (*_EFFECTIVE, "dateAsserted"),
    "MedicationAdministration": _EFFECTIVE,
    "Procedure": ("performedDateTime", "performedPeriod"),
    "AllergyIntolerance": _ONSET,
    "ServiceRequest": ("authoredOn", "occurrenceDateTime", "occurrencePeriod"),
    "Encounter": ("period",),
    "CarePlan": ("period", "created"),
    "Goal": ("startDate", "statusDate"),
    "Immunization": ("occurrenceDateTime", "recorded"),
    "Device": (),
    "DeviceUseStatement": ("timingDateTime", "timingPeriod", "recordedOn"),
    "FamilyMemberHistory": ("date",),
    "Flag": ("period",),
}
"""Where the date of a fact stands: the first that is there counts, and the entry names it."""

RECORDED = ("issued", "recordedDate", "authoredOn", "dateAsserted", "recorded", "recordedOn", "created")

_HANDLED: dict[str, str] = {
    "ImagingStudy": "code description procedureCode procedureReference modality series endpoint numberOfSeries numberOfInstances",
    "DiagnosticReport": "code category conclusion conclusionCode presentedForm result imagingStudy basedOn resultsInterpreter specimen",
    "Observation": "code category component interpretation hasMember effectiveTiming dataAbsentReason device specimen "
    "valueQuantity valueCodeableConcept valueString valueInteger valueBoolean valueDateTime valueTime valueRange valueRatio valuePeriod "
    "valueSampledData",
    "Condition": "code category clinicalStatus verificationStatus abatementDateTime abatementPeriod severity",
    "MedicationRequest": "category medicationCodeableConcept medicationReference intent doNotPerform dosageInstruction priority "
    "supportingInformation dispenseRequest substitution groupIdentifier performerType priorPrescription reportedReference",
    "MedicationStatement": "category medicationCodeableConcept medicationReference dosage informationSource derivedFrom",
    "MedicationAdministration": "category medicationCodeableConcept medicationReference request device dosage supportingInformation",
    "Procedure": "code category report usedReference outcome",
    "AllergyIntolerance": "code category clinicalStatus verificationStatus reaction criticality",
    "ServiceRequest": "code category intent doNotPerform priority requisition specimen supportingInfo relevantHistory performerType",
    "Encounter": "class type classHistory statusHistory priority account episodeOfCare appointment",
    "CarePlan": "category title intent activity author contributor careTeam supportingInfo",
    "Goal": "category description expressedBy lifecycleStatus priority",
    "Immunization": "vaccineCode manufacturer isSubpotent primarySource reportOrigin lotNumber expirationDate doseQuantity programEligibility "
    "fundingSource education",
    "Device": "type deviceName manufactureDate udiCarrier distinctIdentifier expirationDate lotNumber serialNumber owner contact url "
    "definition parent",
    "DeviceUseStatement": "device derivedFrom",
    "FamilyMemberHistory": "relationship condition name",
    "Flag": "code category author",
}
"""What the readers of `entries.py` and `care.py` take into an entry themselves, and what says nothing about the patient's health."""

_ADMINISTRATIVE = (
    "resourceType id meta language text contained extension identifier subject patient encounter context status basedOn partOf "
    "performer requester recorder recorderRole author authorReference participant serviceProvider location source "
    "instantiatesCanonical instantiatesUri replaces instantiates eventHistory referrer interpreter "
    "derivedFrom insurance detectedIssue"
)
"""Who, where and by which paper; references to what is an entry of its own."""

_SECOND_DATES = {
    "Goal": frozenset(("statusDate",)),
    "ServiceRequest": frozenset(("occurrenceDateTime", "occurrencePeriod")),
}
"""They date an entry where there is nothing better; beside it they are told."""

SHOWN: dict[str, frozenset[str]] = {
    kind: frozenset((*_ADMINISTRATIVE.split(), *_HANDLED[kind].split(), *WHEN[kind], *RECORDED))
    - _SECOND_DATES.get(kind, frozenset())
    for kind in KINDS
}
"""Elements after which nothing is left to be told."""

_PARTS = frozenset(("series", "reaction", "dosageInstruction", "dosage", "activity", "condition", "deviceName"))
SIMPLE = {kind: shown - _PARTS for kind, shown in SHOWN.items()}
"""Those of them that hold no part (BackboneElement), which alone can carry a modifier of its own. Nearly all of a chart holds nothing else."""
