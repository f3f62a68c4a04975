"""What a chart holds beside values: sides, notes, reasons, implants, stays, plans, the family. Nothing of it is dropped without a mark."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.timeline import Timeline, TimelineEntry
from workflows.timeline import build_timeline, fit_history
from workflows.timeline.line import line_of, shown
from workflows.timeline.words import as_printed

PATIENT = {"resourceType": "Patient", "id": "p"}


def fact(kind: str, id: str = "x", **fields: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": id, "subject": {"reference": "Patient/p"}, **fields}


def chart(*resources: dict[str, Any]) -> Timeline:
    return build_timeline("Patient/p", [PATIENT, *resources], study_instance_uid="1.2.3")


def told(*resources: dict[str, Any]) -> str:
    """The line of the first entry without its id, date, kind and status."""
    return line_of("", chart(*resources).entries[0]).split(": ", 1)[1]


def concept(text: str) -> dict[str, Any]:
    return {"text": text}


# -- values ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("27.843399578011336", "27.8"),
        ("190.34349123456", "190"),
        ("1.08993847", "1.09"),
        ("0.012345678", "0.0123"),
        ("4821.123456", "4821"),
        ("<5.123456789", "<5.12"),
        ("-3.0000000001", "-3.00"),
        ("1.10", "1.10"),
        ("7.354", "7.354"),
        ("1.0205", "1.0205"),
        ("98.6", "98.6"),
        ("12345678", "12345678"),
        ("250", "250"),
        ("1E400", "1E400"),
        ("1" + "0" * 40, "1.00E+40"),
        ("not a number at all", "not a number at all"),
    ],
)
def test_a_number_is_printed_as_a_laboratory_prints_it(written: str, printed: str) -> None:
    assert as_printed(written) == printed


def test_the_digits_of_the_source_stay_in_the_entry_that_is_cited() -> None:
    bmi = {"value": 27.843399578011336, "unit": "kg/m2", "system": "http://unitsofmeasure.org", "code": "kg/m2"}
    [entry] = chart(fact("Observation", status="final", code=concept("Body Mass Index"), valueQuantity=bmi)).entries
    assert shown(entry) == "27.8 kg/m2"
    assert (entry.value, entry.normal_value) == ("27.843399578011336", "27.843399578011336")


def test_what_the_source_wrote_as_text_is_not_rounded() -> None:
    number = fact("Observation", status="final", code=concept("Accession"), valueString="20.26112345678")
    assert told(number) == "Accession 20.26112345678"


def test_blood_pressure_is_shown_with_both_its_values() -> None:
    parts = [
        {"code": concept("Systolic"), "valueQuantity": {"value": 128.37465928374, "unit": "mm[Hg]"}},
        {
            "code": concept("Diastolic"),
            "valueQuantity": {"value": 81, "unit": "mm[Hg]"},
            "interpretation": [concept("high")],
        },
    ]
    pressure = fact("Observation", status="final", code=concept("Blood Pressure"), component=parts)
    assert told(pressure) == "Blood Pressure Systolic 128 mm[Hg]; Diastolic 81 mm[Hg] (interpretation: high);"


def test_a_haemolysed_sample_of_the_left_arm_says_so() -> None:
    potassium = fact(
        "Observation",
        status="final",
        code=concept("Potassium"),
        valueQuantity={"value": 6.9, "unit": "mmol/L"},
        bodySite=concept("Left arm"),
        method=concept("ISE"),
        note=[{"text": "haemolysed"}],
        referenceRange=[{"low": {"value": 3.5, "unit": "mmol/L"}, "high": {"value": 5.1, "unit": "mmol/L"}}],
    )
    assert told(potassium) == (
        "Potassium 6.9 mmol/L (body site: Left arm; method: ISE; note: haemolysed; reference: 3.5 mmol/L to 5.1 mmol/L)"
    )


def test_the_side_is_told_where_an_extension_names_it() -> None:
    url = "http://hl7.org/fhir/StructureDefinition/observation-structureLaterality"
    left = {"url": url, "valueCodeableConcept": concept("Left")}
    nodule = fact(
        "Observation", status="final", code=concept("Nodule"), bodySite=concept("Breast") | {"extension": [left]}
    )
    assert told(nodule) == "Nodule (body site: Breast; Left)"


# -- diagnoses, medicines, orders --------------------------------------------------------------------------------------------------


def test_a_tumour_has_its_stage_and_site() -> None:
    tumour = fact(
        "Condition",
        code=concept("Lung cancer"),
        stage=[{"summary": concept("Stage IIB"), "type": concept("clinical")}],
        bodySite=[concept("Right upper lobe")],
        severity=concept("Severe"),
        onsetAge={"value": 61, "unit": "a"},
    )
    assert (
        told(tumour)
        == "Lung cancer (Severe; stage: summary: Stage IIB; type: clinical; body site: Right upper lobe; onset: 61 a)"
    )


def medicine(**fields: Any) -> dict[str, Any]:
    return fact("MedicationRequest", "m", status="active", intent="order", authoredOn="2026-01-01", **fields)


def test_a_medicine_named_by_reference_is_named() -> None:
    drug = {"resourceType": "Medication", "id": "77", "code": concept("Methotrexate")}
    mixture = {"resourceType": "Medication", "id": "a", "ingredient": [{"itemCodeableConcept": concept("Insulin")}]}
    stored = medicine(medicationReference={"reference": "Medication/77/_history/3", "display": "MTX"})
    assert told(stored, drug) == "Methotrexate"
    assert told(stored) == "MTX"
    assert told(medicine(medicationReference={"reference": "#a"}, contained=[mixture])) == "Insulin"
    assert told(medicine(medicationReference={"reference": "Medication/77"})) == "medicine not named"
    assert chart(stored, drug).other_types == {"Medication": 1}, "it is no fact of its own"


@pytest.mark.parametrize(
    ("dosage", "words"),
    [
        ({"text": "10 mg", "asNeededBoolean": True}, "10 mg; as needed"),
        ({"text": "10 mg as needed", "asNeededBoolean": True}, "10 mg as needed"),
        ({"text": "10 mg", "asNeededCodeableConcept": concept("pain")}, "10 mg; as needed for pain"),
        ({"text": "10 mg"}, "10 mg"),
        (
            {
                "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
                "route": concept("oral"),
                "doseAndRate": [{"doseRange": {"low": {"value": 1}, "high": {"value": 2, "unit": "tablet"}}}],
            },
            "1 to 2 tablet; 2 in 1 d; oral",
        ),
    ],
)
def test_a_dose_says_whether_it_is_taken_only_as_needed(dosage: dict[str, Any], words: str) -> None:
    order = medicine(medicationCodeableConcept=concept("Morphine"), dosageInstruction=[dosage])
    assert told(order) == f"Morphine ({words})"


def test_a_prescription_and_an_order_say_why() -> None:
    copd = fact("Condition", "copd", code=concept("COPD"))
    why = {"reasonReference": [{"reference": "Condition/copd"}], "reasonCode": [concept("dyspnoea")]}
    order = fact(
        "ServiceRequest", "o", status="active", intent="order", code=concept("CT chest"), authoredOn="2026", **why
    )
    assert (
        told(medicine(medicationCodeableConcept=concept("Tiotropium"), **why), copd)
        == "Tiotropium (reason: COPD; reason: dyspnoea)"
    )
    assert told(order, copd) == "CT chest (reason: COPD; reason: dyspnoea)"
    assert told(order) == "CT chest (reason: not named; reason: dyspnoea)"
    refuted = copd | {"verificationStatus": {"coding": [{"code": "refuted"}]}}
    assert told(order, refuted) == "CT chest (reason: ruled out: COPD; reason: dyspnoea)"


def study(**fields: Any) -> dict[str, Any]:
    identifier = [{"system": "urn:dicom:uid", "value": "urn:oid:1.9"}]
    return fact("ImagingStudy", "s", status="available", identifier=identifier, **fields)


def test_a_study_that_nobody_described_is_named_by_modality_and_body_site() -> None:
    knee = {
        "modality": {"code": "MR"},
        "bodySite": {"code": "72696002", "display": "Knee"},
        "laterality": {"display": "Left"},
    }
    assert told(study(series=[knee, knee])) == "MR Knee Left"
    assert told(study(series=[knee], description="MR of the knee")) == "MR of the knee (MR; Knee; Left)"
    assert told(study()) == "ImagingStudy"


# -- kinds -------------------------------------------------------------------------------------------------------------------------

KINDS = [
    (
        fact(
            "Encounter",
            status="finished",
            **{"class": {"code": "EMER"}},
            type=[concept("Emergency room admission")],
            period={"start": "2025-02-01", "end": "2025-02-03"},
            reasonCode=[concept("Chest pain")],
        ),
        "2025-02-01 encounter finished: emergency: Emergency room admission until 2025-02-03 (reason: Chest pain)",
    ),
    (
        fact(
            "CarePlan",
            status="active",
            intent="plan",
            category=[concept("Terminal care")],
            activity=[{"detail": {"code": concept("Palliative care"), "status": "in-progress"}}],
            addresses=[{"display": "Lung cancer"}],
        ),
        "undated care-plan active: Terminal care (Palliative care (in-progress); addresses: Lung cancer)",
    ),
    (
        fact("Goal", lifecycleStatus="active", description=concept("Weight below 80 kg"), startDate="2025"),
        "2025 goal active: Weight below 80 kg",
    ),
    (
        fact("Immunization", status="completed", vaccineCode=concept("Influenza"), occurrenceDateTime="2025-10-01"),
        "2025-10-01 immunization completed: Influenza",
    ),
    (
        fact(
            "Device",
            status="active",
            type=concept("Cardiac pacemaker"),
            deviceName=[{"name": "Azure XT", "type": "model-name"}],
            safety=[concept("MR unsafe")],
        ),
        "undated device active: Cardiac pacemaker (Azure XT; safety: MR unsafe)",
    ),
    (
        fact("DeviceUseStatement", status="active", device={"display": "Aneurysm clip"}, bodySite=concept("Brain")),
        "undated device active: Aneurysm clip (body site: Brain)",
    ),
    (
        fact(
            "MedicationAdministration",
            status="completed",
            medicationCodeableConcept=concept("Iohexol"),
            effectiveDateTime="2025-03-01T10:00:00Z",
            dosage={"dose": {"value": 100, "unit": "mL"}, "route": concept("intravenous")},
        ),
        "2025-03-01 administration completed: Iohexol (100 mL; intravenous)",
    ),
    (
        fact(
            "FamilyMemberHistory",
            status="completed",
            relationship=concept("mother"),
            condition=[{"code": concept("Breast cancer"), "onsetAge": {"value": 41, "unit": "a"}}],
            deceasedBoolean=True,
        ),
        "undated family-history completed: mother: Breast cancer (onset: 41 a) (deceased: yes)",
    ),
    (
        fact("Flag", status="active", code=concept("Contrast reaction 2019"), period={"start": "2019-05-01"}),
        "2019-05-01 flag active: Contrast reaction 2019",
    ),
]


@pytest.mark.parametrize(("resource", "line"), KINDS, ids=[one["resourceType"] for one, _ in KINDS])
def test_every_clinical_kind_of_a_chart_is_in_the_history(resource: dict[str, Any], line: str) -> None:
    timeline = chart(resource)
    assert line_of("", timeline.entries[0]).strip() == line
    assert timeline.left_out == {}
    assert Timeline.model_validate_json(timeline.model_dump_json()) == timeline


def test_other_kinds_are_counted_by_their_names() -> None:
    bills = [fact("Claim", f"c{n}") for n in range(3)]
    scanner = {"resourceType": "Device", "id": "ct", "type": concept("CT scanner")}
    timeline = chart(*bills, scanner)
    assert timeline.entries == []
    assert (timeline.left_out, timeline.other_types) == ({"other-type": 4}, {"Claim": 3, "Device": 1})


def test_a_pacemaker_and_a_warning_stay_where_the_history_is_cut() -> None:
    stays = [fact("Encounter", f"e{n}", status="finished", period={"start": f"2025-01-{n + 1:02}"}) for n in range(20)]
    pacemaker = fact("Device", "d", status="active", type=concept("Pacemaker"))
    warning = fact("Flag", "f", status="active", code=concept("Contrast reaction"))
    excerpt = fit_history(chart(*stays, pacemaker, warning), 120)
    assert {"Device/d", "Flag/f"} <= {line.entry.resource for line in excerpt.lines}
    assert {each.kind for each in excerpt.dropped} == {"encounter"}


def test_a_malformed_fact_is_counted_and_never_stops_the_others() -> None:
    sound = fact("Observation", "ok", status="final", code=concept("CRP"))
    broken: list[dict[str, Any]] = [
        fact("Observation", "a", status="final", meta="x"),
        fact("Observation", "b", status="final", category="x", note=[{"text": {}}], code=5),
        fact("Condition", "c", verificationStatus="confirmed"),
        fact("CarePlan", "d", status="active", activity=["x"]),
        fact("DiagnosticReport", "e", status="final", presentedForm="x"),
        fact("MedicationRequest", "f", status="active", doNotPerform="yes"),
    ]
    timeline = chart(sound, *broken)
    assert [entry.text for entry in timeline.entries] == ["CRP"]
    assert sum(timeline.left_out.values()) == len(broken)


def test_what_no_table_names_is_told_all_the_same() -> None:
    """An element of a later version of the standard, or one that nobody thought of."""
    entry: TimelineEntry = chart(
        fact("Procedure", status="completed", code=concept("Biopsy"), tissueGrade=concept("G3"))
    ).entries[0]
    assert entry.detail == "tissue grade: G3"
