"""`build_timeline` beside orjson on the same resources: how much more it costs to understand a history than to parse its bytes.

The resources are made here, seeded, in the shapes, sizes and shares of a Synthea patient's (about 830 bytes a resource, of which four fifths are
observations in panels), with what Synthea lacks: versions, units that must be converted, comparators, business identifiers and corrections.
Runs come in pairs, ours right after orjson's, in processor time of this process, so that a busy machine is busy for both; each ratio is the median of
the pairs.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from schemas.codes import LOINC, SCT, UCUM
from services.bench import rounds
from workflows.timeline import build_timeline

SMALL, LARGE = 1_000, 100_000
PAIRS_SMALL, PAIRS_LARGE = 60, 3
SEED = 5
PATIENT = "Patient/bench"
STUDY = "1.2.826.0.1.3680043.8.498.5"
HL7 = "http://terminology.hl7.org/CodeSystem/"
BORN = datetime(1950, 1, 1, 8, tzinfo=UTC)

Json = dict[str, Any]

LABS = (
    ("2339-0", "Glucose", "mg/dL", 90.0),
    ("38483-4", "Creatinine", "mg/dL", 1.1),
    ("14682-9", "Creatinine [Moles/volume] in Serum or Plasma", "umol/L", 97.0),
    ("6299-2", "Urea Nitrogen", "mg/dL", 12.0),
    ("49765-1", "Calcium", "mg/dL", 9.4),
    ("2947-0", "Sodium", "mmol/L", 140.0),
    ("6298-4", "Potassium", "mmol/L", 4.2),
    ("2069-3", "Chloride", "mmol/L", 105.0),
    ("2093-3", "Total Cholesterol", "mg/dL", 190.0),
    ("1988-5", "C reactive protein", "mg/L", 5.0),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 14.0),
)
VITALS = (("8302-2", "Body Height", "cm", 170.0), ("29463-7", "Body Weight", "kg", 80.0))
PROBLEMS = (("162864005", "Body mass index 30+ - obesity (finding)"), ("59621000", "Hypertension"))


def run(small: int = SMALL, large: int = LARGE, pairs: int = PAIRS_SMALL) -> dict[str, Any]:
    """`to_orjson`: our time to orjson's at `small` resources; `growth_100k_per_1k`: our time per resource at `large` to that at `small`."""
    build_timeline(PATIENT, make_resources(200), study_instance_uid=STUDY)  # units are learnt once a process
    ours, theirs = _pairs(small, rounds(pairs))
    ours_large, theirs_large = _pairs(large, rounds(PAIRS_LARGE))
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    each, each_large = statistics.median(ours) / small, statistics.median(ours_large) / large
    return {
        "ratios": {
            "to_orjson": round(statistics.median(ratios), 3),
            "growth_100k_per_1k": round(each_large / each, 3),
        },
        "microseconds_per_resource": {
            "ours": round(each * 1e6, 2),
            "orjson": round(statistics.median(theirs) / small * 1e6, 2),
            "ours_large": round(each_large * 1e6, 2),
            "orjson_large": round(statistics.median(theirs_large) / large * 1e6, 2),
        },
        "resources": {"small": small, "large": large},
    }


def _pairs(count: int, pairs: int) -> tuple[list[float], list[float]]:
    data = orjson.dumps(make_resources(count))
    ours, theirs = [], []
    for _ in range(pairs):
        start = time.process_time()
        resources = orjson.loads(data)
        parsed = time.process_time()
        timeline = build_timeline(PATIENT, resources, study_instance_uid=STUDY)
        built = time.process_time()
        theirs.append(parsed - start)
        ours.append(built - parsed)
        del resources, timeline
        gc.collect()  # what an earlier run left behind is nobody's time
    return ours, theirs


# -- a history like Synthea's ------------------------------------------------------------------------------------------------------


def make_resources(count: int, seed: int = SEED) -> list[Json]:
    """`count` resources of one patient, the Patient first; the same for the same seed."""
    made, chance, when = [_patient()], random.Random(seed), BORN  # noqa: S311
    while len(made) < count:
        when += timedelta(hours=chance.randint(1, 500) * 70_000 // max(count, 1_000) + 1)
        made += _encounter(chance, when, len(made))
    return made[:count]


def _patient() -> Json:
    name = [{"use": "official", "family": "Bench", "given": ["Mark"]}]
    return {
        "resourceType": "Patient",
        "id": "bench",
        "meta": {"versionId": "1"},
        "name": name,
        "gender": "female",
        "birthDate": "1950-01-01",
    }


def _encounter(chance: random.Random, when: datetime, number: int) -> list[Json]:
    """What one visit leaves: vital signs, a panel of laboratory values with its report, and now and then something else."""
    uid = f"{number:08x}-4a1c-4f7e-9d0e-6b1f2c3d4e5f"
    base = {
        "subject": {"reference": PATIENT},
        "encounter": {"reference": f"Encounter/{uid}"},
        "meta": {"versionId": "1", "lastUpdated": _text(when + timedelta(minutes=5))},
    }
    results = [_observation(chance, base, when, f"{uid}-l{n}", "laboratory", lab) for n, lab in enumerate(LABS)]
    vitals = [_observation(chance, base, when, f"{uid}-v{n}", "vital-signs", vital) for n, vital in enumerate(VITALS)]
    found = [
        _stay(base, when, uid),
        *vitals,
        _pressure(chance, base, when, f"{uid}-p"),
        *results,
        _report(base, when, f"{uid}-r", results),
    ]
    found += [make(chance, base, when, uid) for make in (_condition, _medication, _procedure) if chance.random() < 0.4]
    if chance.random() < 0.25:
        found.append(_study(base, when, uid, number))
    return found


def _stay(base: Json, when: datetime, uid: str) -> Json:
    fields = {key: value for key, value in base.items() if key != "encounter"}
    return {
        "resourceType": "Encounter",
        "id": uid,
        **fields,
        "status": "finished",
        "class": {"system": f"{HL7}v3-ActCode", "code": "AMB"},
        "type": [_concept(SCT, "185349003", "Encounter for check up (procedure)")],
        "period": {"start": _text(when), "end": _text(when + timedelta(minutes=30))},
    }


def _text(when: datetime) -> str:
    return when.isoformat(timespec="seconds")


def _concept(system: str, code: str, words: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": words}], "text": words}


def _resource(kind: str, uid: str, base: Json, **fields: Any) -> Json:
    return {"resourceType": kind, "id": uid, **base, **fields}


def _quantity(chance: random.Random, unit: str, mean: float) -> Json:
    value = round(mean * chance.uniform(0.7, 1.4), 14)
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def _observed(base: Json, when: datetime, uid: str, category: str, code: str, words: str, **fields: Any) -> Json:
    coded = {"system": f"{HL7}observation-category", "code": category, "display": category}
    return _resource(
        "Observation",
        uid,
        base,
        status="final",
        category=[{"coding": [coded]}],
        code=_concept(LOINC, code, words),
        effectiveDateTime=_text(when),
        issued=when.isoformat(timespec="milliseconds"),
        **fields,
    )


def _observation(
    chance: random.Random, base: Json, when: datetime, uid: str, category: str, measured: tuple[str, str, str, float]
) -> Json:
    code, words, unit, mean = measured
    quantity = _quantity(chance, unit, mean)
    if chance.random() < 0.02:
        quantity["comparator"] = "<"
    extra: Json = {}
    if category == "laboratory" and chance.random() < 0.1:
        extra["identifier"] = [{"system": "urn:oid:1.2.3.4", "value": uid}]
    return _observed(base, when, uid, category, code, words, valueQuantity=quantity, **extra)


def _pressure(chance: random.Random, base: Json, when: datetime, uid: str) -> Json:
    parts = (("8462-4", "Diastolic Blood Pressure", 80.0), ("8480-6", "Systolic Blood Pressure", 130.0))
    component = [
        {"code": _concept(LOINC, code, words), "valueQuantity": _quantity(chance, "mm[Hg]", mean)}
        for code, words, mean in parts
    ]
    return _observed(base, when, uid, "vital-signs", "55284-4", "Blood Pressure", component=component)


def _report(base: Json, when: datetime, uid: str, results: list[Json]) -> Json:
    return _resource(
        "DiagnosticReport",
        uid,
        base,
        status="final",
        category=[{"coding": [{"system": f"{HL7}v2-0074", "code": "LAB", "display": "Laboratory"}]}],
        code=_concept(LOINC, "51990-0", "Basic Metabolic Panel"),
        effectiveDateTime=_text(when),
        issued=when.isoformat(timespec="milliseconds"),
        result=[{"reference": f"Observation/{r['id']}", "display": r["code"]["text"]} for r in results],
    )


def _condition(chance: random.Random, base: Json, when: datetime, uid: str) -> Json:
    def state(system: str, code: str) -> Json:
        return {"coding": [{"system": HL7 + system, "code": code}]}

    active = chance.random() < 0.5
    ended: Json = {} if active else {"abatementDateTime": _text(when + timedelta(days=20))}
    return _resource(
        "Condition",
        f"{uid}-c",
        base,
        clinicalStatus=state("condition-clinical", "active" if active else "resolved"),
        verificationStatus=state("condition-ver-status", "confirmed"),
        code=_concept(SCT, *chance.choice(PROBLEMS)),
        onsetDateTime=_text(when),
        recordedDate=_text(when),
        **ended,
    )


def _medication(chance: random.Random, base: Json, when: datetime, uid: str) -> Json:
    return _resource(
        "MedicationRequest",
        f"{uid}-m",
        base,
        status=chance.choice(("active", "stopped")),
        intent="order",
        medicationCodeableConcept=_concept(
            "http://www.nlm.nih.gov/research/umls/rxnorm", "849574", "Naproxen sodium 220 MG Oral Tablet"
        ),
        authoredOn=_text(when),
        requester={"reference": f"Practitioner/{uid}"},
        reasonReference=[{"reference": f"Condition/{uid}-c"}],
    )


def _procedure(chance: random.Random, base: Json, when: datetime, uid: str) -> Json:
    return _resource(
        "Procedure",
        f"{uid}-o",
        base,
        status="completed",
        code=_concept(SCT, "288086009", "Suture open wound"),
        performedPeriod={"start": _text(when), "end": _text(when + timedelta(minutes=chance.randint(10, 60)))},
        reasonReference=[{"reference": f"Condition/{uid}-c", "display": "Laceration of thigh"}],
    )


def _study(base: Json, when: datetime, uid: str, number: int) -> Json:
    series = {
        "uid": f"{STUDY}.{number}.1",
        "number": 1,
        "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT", "display": "CT"},
        "numberOfInstances": 1,
        "bodySite": {"system": SCT, "code": "51185008", "display": "Thoracic structure (body structure)"},
        "started": _text(when),
        "instance": [
            {
                "uid": f"{STUDY}.{number}.1.1",
                "sopClass": {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"},
                "number": 1,
                "title": "CT Image Storage",
            }
        ],
    }
    return _resource(
        "ImagingStudy",
        f"{uid}-s",
        base,
        identifier=[{"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}.{number}"}],
        status="available",
        started=_text(when),
        numberOfSeries=1,
        numberOfInstances=1,
        series=[series],
    )
