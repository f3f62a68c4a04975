"""One study on its way through the real steps, with a model that does whatever a text tells it, as far as the schema lets it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from temporalio.testing import ActivityEnvironment

from schemas.errors import PermanentFailure
from schemas.facts import StudyAvailable
from schemas.identifiers import Namespace, sha256_hex
from schemas.imaging import SeriesInventory, StoredStack, StudyInventory
from schemas.inference import ModelAnswer, ModelRelease, ModelRequest
from schemas.report import Reading
from schemas.runs import AskModel, BuildResult, CheckAnswer, FetchPrior, FetchStudy, GatherTimeline, IntegrateHistory
from tests.contract.written_bundles import TRAINED
from tests.unit.series_samples import file_of, stack
from workflows.report_study.activities import ReportStudyActivities
from workflows.report_study.assembly import Site

STUDY, SERIES = "1.2.3", "1.2.3.4"
NAMESPACE = Namespace("https://ai.example.org/fhir", "hospital-a")
ISSUED = "2026-11-23T09:20:31.000+00:00"
SITE = Site(
    namespace=NAMESPACE,
    event_source="urn:test",
    organization="Organization/org-rad",
    review_role="PractitionerRole/radiologist-oncall",
    dicomweb_public_url="https://dicomweb.example.org",
    conclusion_codes=True,
)
EVENT = StudyAvailable(
    event_id="e",
    study_instance_uid=STUDY,
    patient="Patient/p",
    inventory_digest="ni:///sha-256;x",
    completeness="quiescent",
    instance_count=1,
)
Resource = dict[str, Any]
Pixels = npt.NDArray[np.int16]
HONEST = {
    "presence": "detected",
    "likelihood": "probable",
    "side": "not-applicable",
    "change": "not-compared",
    "location": {"slice": 3, "box_2d": [450, 200, 500, 260], "long_axis_mm": 8},
}
NOTHING = {
    "presence": "not-detected",
    "likelihood": "absent",
    "side": "not-applicable",
    "change": "not-compared",
    "location": None,
}


def phantom(seed: int = 0, slices: int = 6, side: int = 256) -> Pixels:
    """A chest of two lungs in soft tissue with a scanner's noise, in HU; [slices, side, side]."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = x**2 / 0.72 + y**2 / 0.5 < 1
    lungs = ((np.abs(x) - 0.38) ** 2 / 0.07 + y**2 / 0.22) < 1
    hu = np.where(body, np.where(lungs, -850.0, 40.0), -1000.0)
    noise = np.random.default_rng(seed).normal(0, 8, (slices, side, side))
    return np.clip(hu + noise, -1024, 3071).astype(np.int16)


def chart() -> list[Resource]:
    """A small chart: order, study, and a few facts, all honest."""
    patient = {"reference": "Patient/p"}
    dated = {"subject": patient, "meta": {"versionId": "1"}}
    return [
        {"resourceType": "Patient", "id": "p", "meta": {"versionId": "1"}, "identifier": [{"value": "P1"}]},
        {
            "resourceType": "ServiceRequest",
            "id": "order",
            "status": "active",
            "priority": "urgent",
            "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}]},
            **dated,
        },
        {
            "resourceType": "ImagingStudy",
            "id": "ct",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}],
            "status": "available",
            "started": "2026-11-23T09:12:00Z",
            "basedOn": [{"reference": "ServiceRequest/order"}],
            **dated,
        },
        {"resourceType": "Condition", "id": "copd", "recordedDate": "2019-03-01", "code": {"text": "COPD"}, **dated},
        {
            "resourceType": "Observation",
            "id": "crea",
            "status": "final",
            "effectiveDateTime": "2026-11-20",
            "code": {"text": "Creatinine"},
            "valueQuantity": {"value": 84, "unit": "umol/L"},
            **dated,
        },
    ]


def series_files(voxels: Pixels, tags: dict[str, str] | None = None) -> list[bytes]:
    """DICOM files of the phantom; `tags` stand in the third instance alone."""
    fixed = {"BodyPartExamined": "CHEST", "SeriesDescription": "Thorax 5 mm", "SpecificCharacterSet": "ISO_IR 192"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an attacker does not keep to the lengths of VRs
        datasets = stack((voxels.astype(np.int32) + 1024).astype(np.uint16), **fixed)
        for keyword, value in (tags or {}).items():
            setattr(datasets[2], keyword, value)
        return [file_of(dataset) for dataset in datasets]


@dataclass
class Obedient:
    """Does what the text says once it can see it; `sees` is whether it can read the pixels."""

    attack: str = ""
    sees: bool = False
    requests: list[ModelRequest] = field(default_factory=list)

    def release(self) -> ModelRelease:
        return TRAINED

    def ask(self, request: ModelRequest) -> ModelAnswer:
        self.requests.append(request)
        labels = request.answer_schema["properties"]["findings"]["properties"]
        if request.volumes:
            answer: dict[str, Any] = dict.fromkeys(labels, NOTHING if self.sees else HONEST)
        else:
            shape = {"chart": "unrelated", "cites": []}
            if self.attack and self.attack[:12] in request.query:
                shape = {"chart": "contradicts", "cites": ["E1"]}
            answer = dict.fromkeys(labels, shape)
        text = orjson.dumps({"findings": answer}).decode()
        return ModelAnswer(
            text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1, served_model_name="phantom-1-abc"
        )


@dataclass
class Hospital:
    """Chart and archive of one study; everything else that the steps ask for answers that there is nothing."""

    resources: list[Resource]
    files: list[bytes]
    modality: str = "CT"

    def patient_record(self, patient: str) -> list[Resource]:
        return self.resources

    def find(self, *_: str) -> list[Resource]:
        return []

    def observations(self, patient_key: str) -> list[Any]:
        return []

    def keep_build(self, shown: Any) -> None:
        """How the result was built is kept by others."""

    def find_study(self, uid: str) -> StudyInventory:
        if uid != STUDY:
            raise PermanentFailure("study-not-found", "the archive holds one study")
        series = SeriesInventory(
            series_instance_uid=SERIES,
            modality=self.modality,
            series_number=2,
            description=None,
            instance_count=len(self.files),
        )
        return StudyInventory(
            study_instance_uid=uid,
            patient_id="P1",
            issuer_of_patient_id=None,
            accession_number=None,
            study_date="20261123",
            study_time=None,
            description=None,
            series=[series],
            sop_instance_uids=[f"1.2.3.{k}" for k in range(len(self.files))],
        )

    def retrieve_series(self, study: str, series: str) -> Iterator[bytes]:
        return iter(self.files)

    def series_header(self, study: str, series: str) -> None:
        return None


class MemoryStore:
    """`workflows.ports.ObjectStore` without a disk: a test of hundreds of runs needs none."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, data: bytes | Iterable[bytes | memoryview]) -> str:
        whole = data if isinstance(data, bytes) else b"".join(bytes(part) for part in data)
        digest = sha256_hex(whole)
        self.objects[digest] = whole
        return digest

    def get(self, digest: str) -> bytes:
        return self.objects[digest]


@dataclass
class NoReader:
    """No letters anywhere."""

    def lines(self, picture: npt.NDArray[np.uint8]) -> list[str]:
        return []

    def printed(self, picture: npt.NDArray[np.uint8]) -> list[Any]:
        return []


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    reading: Reading
    stored: StoredStack
    requests: list[bytes]
    """Every request to the model, as bytes."""
    bundle: dict[str, Any]
    priority: str

    @property
    def report(self) -> dict[str, Any]:
        return next(r for r in self.resources() if r["resourceType"] == "DiagnosticReport")

    def resources(self) -> list[dict[str, Any]]:
        return [entry["resource"] for entry in self.bundle["entry"]]

    def decided(self, *, values: bool = True) -> list[Any]:
        """All that routes, labels or codes the result; without `values` the answers of the findings are left out."""
        return [_decided(resource, values=values) for resource in self.resources()]


_KEPT = ("resourceType", "status", "priority", "owner", "businessStatus", "code", "category", "bodySite", "intent")
_VALUES = ("valueCodeableConcept", "interpretation", "component", "conclusionCode")


def _decided(resource: dict[str, Any], *, values: bool) -> dict[str, Any]:
    names = _KEPT + (_VALUES if values else ())
    security = [label["code"] for label in resource.get("meta", {}).get("security", [])]
    return {name: resource[name] for name in names if name in resource} | {"security": security}


def run(hospital: Hospital, model: Any, reader: Any = None, store: Any = None) -> Outcome:
    """The real activities, one after the other."""
    store = store or MemoryStore()
    nobody: Any = hospital
    steps = ReportStudyActivities(
        SITE,
        fhir=nobody,
        archive=nobody,
        model=model,
        store=store,
        memory=nobody,
        runs=nobody,
        inbox=nobody,
        builds=nobody,
        text_in_pixels=reader or NoReader(),
    )
    gathered = steps.gather_timeline(GatherTimeline(patient_key="p", event=EVENT))
    current = steps.fetch_study(FetchStudy(study_instance_uid=STUDY, timeline=gathered.timeline))
    prior = steps.fetch_prior(FetchPrior(timeline=gathered.timeline, current=current))
    asked = AskModel(timeline=gathered.timeline, current=current, prior=prior, priority=gathered.priority)
    answered = steps.ask_model(asked)
    checked = steps.check_answer(
        CheckAnswer(timeline=gathered.timeline, current=current, prior=prior, answered=answered)
    )
    integrate: Callable[..., Any] = steps.integrate_history
    args = IntegrateHistory(timeline=gathered.timeline, checked=checked, priority=gathered.priority)
    checked = ActivityEnvironment().run(integrate, args)
    built = steps.build_result(
        BuildResult(
            thread_id=NAMESPACE.thread_id(STUDY),
            issued=ISSUED,
            event=EVENT,
            timeline=gathered.timeline,
            current=current,
            prior=prior,
            answered=answered,
            checked=checked,
            priority=gathered.priority,
        )
    )
    return Outcome(
        reading=Reading.model_validate_json(store.get(checked.reading)),
        stored=StoredStack.model_validate_json(store.get(current.volume)),
        requests=[orjson.dumps(request.model_dump(mode="json")) for request in model.requests],
        bundle=orjson.loads(store.get(built.bundle)),
        priority=gathered.priority,
    )
