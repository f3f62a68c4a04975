"""The whole of a patient's chart from a FHIR R4 server, and what of it is known to be missing or not to be gathered."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from schemas.errors import PermanentFailure
from schemas.identifiers import without_version
from services.clients.fhir_search import FhirSearch
from workflows.ports import Resource
from workflows.timeline.completeness import NOT_ALLOWED, NOT_FILTERED, NOT_SEARCHED, search_report
from workflows.timeline.fields import subject_of, unversioned
from workflows.timeline.kinds import COUNTED, KINDS

RECORD_TYPES = tuple(KINDS)
"""What a timeline is made of; each has the search parameter `patient`."""
INDISPENSABLE = frozenset(
    (
        "ImagingStudy",
        "DiagnosticReport",
        "Observation",
        "Condition",
        "MedicationRequest",
        "MedicationStatement",
        "Procedure",
        "AllergyIntolerance",
        "ServiceRequest",
    )
)
"""Types without which no study is read."""
_DISPENSED_WITH = {"fhir-forbidden": NOT_ALLOWED, "fhir-refused": NOT_SEARCHED, "fhir-wrong-patient": NOT_FILTERED}
"""What may go wrong with a type that is not indispensable: nothing of it is kept, and the history says that it lacks it."""
_IDS_A_SEARCH = 50


class PatientRecords(FhirSearch):
    """Adds the patient's whole chart."""

    def patient_record(self, patient: str) -> list[Resource]:
        """The Patient and all that belongs to it. A resource of another patient stops the run: the server cannot be trusted to filter.

        Medicines that are named by reference come along; a last `Parameters` says what is missing, and how many records of other types there are.
        """
        reference = unversioned(patient)
        resources, missing = [self._patient(reference)], set[str]()
        served = _Served(lambda: self._body(self._send("GET", f"{self._base}/metadata")))
        for resource_type in RECORD_TYPES:
            resources += self._of_type(resource_type, reference, missing, served)
        resources += self._medicines(resources)
        counted = {resource_type: self._count(resource_type, reference, missing) for resource_type in COUNTED}
        return resources + search_report(sorted(missing), counted)

    def _of_type(self, resource_type: str, patient: str, missing: set[str], served: _Served) -> list[Resource]:
        """The patient's resources of one type; none where the server's CapabilityStatement says that it does not serve the type."""
        said: set[str] = set()
        try:
            found = self._belonging(resource_type, patient, said)
        except PermanentFailure as failure:
            if failure.code == "fhir-refused" and not served.has(resource_type):
                return []
            if resource_type in INDISPENSABLE or failure.code not in _DISPENSED_WITH:
                raise
            found, said = [], {_DISPENSED_WITH[failure.code]}
        missing.update(f"{code}:{resource_type}" for code in said)
        return found

    def _belonging(self, resource_type: str, patient: str, missing: set[str]) -> list[Resource]:
        found: dict[str, Resource] = {}
        for resource, base in self._matches(resource_type, {"patient": patient}, missing, decimals=True):
            if not self._is_of(resource, patient, base):
                raise PermanentFailure(
                    "fhir-wrong-patient", "the FHIR server answered with a resource of another patient"
                )
            found[resource["id"]] = resource
        return list(found.values())

    def _is_of(self, resource: Resource, patient: str, base: str) -> bool:
        """Whether the subject is `patient` of this very server: relative, or absolute under our base or the server's own name for itself."""
        subject = resource.get("subject") or resource.get("patient")
        reference = subject.get("reference") if isinstance(subject, dict) else None
        if not isinstance(reference, str):
            return False
        plain = without_version(reference)
        return subject_of(resource) == patient and plain in (patient, f"{self._base}/{patient}", f"{base}/{patient}")

    def _medicines(self, resources: Iterable[Resource]) -> list[Resource]:
        """The Medications that requests, statements and administrations name by reference; none where the server does not give them."""
        found_in = [r["medicationReference"] for r in resources if isinstance(r.get("medicationReference"), dict)]
        ours = [str(one.get("reference")).removeprefix(f"{self._base}/") for one in found_in]
        ids = sorted({unversioned(name)[len("Medication/") :] for name in ours if name.startswith("Medication/")})
        found: list[Resource] = []
        for start in range(0, len(ids), _IDS_A_SEARCH):
            wanted = ",".join(ids[start : start + _IDS_A_SEARCH])
            try:
                found += [r for r, _ in self._matches("Medication", {"_id": wanted}, set()) if r["id"] in ids]
            except PermanentFailure:  # the entry then shows what the reference says, or that the medicine is not named
                break
        return found

    def _count(self, resource_type: str, patient: str, missing: set[str]) -> int:
        """How many records of a type there are that is not gathered; 0 where the server does not serve it."""
        parameters = {"patient": patient, "_summary": "count"}
        try:
            counted = 0
            for bundle in self._pages(resource_type, parameters, decimals=False):
                total = bundle.get("total")
                if isinstance(total, int):
                    return total
                counted += len(bundle.get("entry") or ())
            return counted
        except PermanentFailure as failure:
            if failure.code == "fhir-forbidden":
                missing.add(f"{NOT_ALLOWED}:{resource_type}")
            elif failure.code != "fhir-refused":
                raise
            return 0

    def _patient(self, reference: str) -> Resource:
        if not reference.startswith("Patient/"):
            raise PermanentFailure("patient-not-found", "the event's patient is not a reference to a Patient")
        try:
            patient = self.read(reference)
        except PermanentFailure as failure:
            if failure.code == "fhir-not-found":
                raise PermanentFailure("patient-not-found", "FHIR does not know the event's patient") from None
            raise
        merged = any(link.get("type") == "replaced-by" for link in patient.get("link") or ())
        if merged or patient.get("active") is False:
            raise PermanentFailure(
                "patient-replaced", "the event's patient record was merged or is out of use: send the one in use"
            )
        return patient


class _Served:
    """The types of the server's CapabilityStatement, which is asked for when it is first needed; one that names none says nothing."""

    def __init__(self, ask: Callable[[], Resource]) -> None:
        self._ask = ask
        self._types: set[str] | None = None

    def has(self, resource_type: str) -> bool:
        if self._types is None:
            rest = (self._ask().get("rest") or [{}])[0]
            self._types = {resource["type"] for resource in rest.get("resource", []) if "type" in resource}
        return not self._types or resource_type in self._types
