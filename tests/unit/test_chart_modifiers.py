"""Elements that turn the meaning of a fact around: a clinician reads the negation in words, or is told that something was left out."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.timeline import Timeline
from workflows.timeline import build_timeline, fit_history

PATIENT = {"resourceType": "Patient", "id": "p", "gender": "male", "birthDate": "1960-05-01"}


def fact(kind: str, **fields: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": "x", "subject": {"reference": "Patient/p"}, **fields}


def chart(*resources: dict[str, Any], **more: Any) -> Timeline:
    return build_timeline("Patient/p", [PATIENT, *resources], study_instance_uid="1.2.3", **more)


def lines(timeline: Timeline) -> list[str]:
    return [line.text.split(": ", 1)[1] for line in fit_history(timeline, 10_000).lines]


def medicine(**fields: Any) -> dict[str, Any]:
    order = {"status": "active", "intent": "order", "medicationCodeableConcept": {"text": "Metformin"}}
    return fact("MedicationRequest", **order, authoredOn="2026-01-01") | fields


def test_a_medicine_that_must_not_be_given_is_not_read_as_a_medicine_that_is() -> None:
    assert lines(chart(medicine(doNotPerform=True))) == ["not to be given: Metformin"]
    assert lines(chart(medicine(doNotPerform=False))) == ["Metformin"]


def test_an_examination_that_must_not_be_done_is_said_so_and_orders_no_study() -> None:
    order = fact(
        "ServiceRequest", status="active", intent="order", doNotPerform=True, code={"text": "CT with contrast"}
    )
    timeline = chart(order, service_request="ServiceRequest/x")
    assert lines(timeline) == ["not to be done: CT with contrast"]
    assert timeline.order is None


@pytest.mark.parametrize(
    ("intent", "words"),
    [
        ("proposal", "proposed, not ordered: Metformin"),
        ("plan", "planned, not ordered: Metformin"),
        ("option", "one of several options, not ordered: Metformin"),
        ("original-order", "Metformin"),
    ],
)
def test_what_was_only_thought_of_was_not_ordered(intent: str, words: str) -> None:
    assert lines(chart(medicine(intent=intent))) == [words]


NEGATED = {"url": "https://x.test/negated", "valueBoolean": True}


@pytest.mark.parametrize(
    "resource",
    [
        fact("Observation", status="final", code={"text": "Tumour present"}, modifierExtension=[NEGATED]),
        fact("Observation", status="final", code={"text": "Tumour"}, implicitRules="https://x.test/rules"),
        fact(
            "Observation",
            status="final",
            code={"text": "Panel"},
            component=[{"code": {"text": "Tumour"}, "valueBoolean": True, "modifierExtension": [NEGATED]}],
        ),
        fact("Condition", code={"text": "Cancer"}, stage=[{"summary": {"text": "IV"}, "modifierExtension": [NEGATED]}]),
        medicine(dosageInstruction=[{"text": "500 mg", "modifierExtension": [NEGATED]}]),
        fact(
            "AllergyIntolerance",
            code={"text": "Penicillin"},
            reaction=[{"manifestation": [{"text": "rash"}], "modifierExtension": [NEGATED]}],
        ),
    ],
    ids=["whole", "rules", "component", "stage", "dose", "reaction"],
)
def test_what_a_modifier_that_nobody_here_knows_may_turn_around_is_left_out_and_counted(resource: Any) -> None:
    timeline = chart(resource)
    assert timeline.entries == []
    assert timeline.left_out == {"modifier-unknown": 1}


def test_a_medicine_whose_own_record_was_withdrawn_is_not_named_by_it() -> None:
    drug = {"resourceType": "Medication", "id": "m", "code": {"text": "Warfarin"}}
    order = medicine(medicationReference={"reference": "Medication/m"})
    del order["medicationCodeableConcept"]
    assert lines(chart(order, drug)) == ["Warfarin"]
    assert lines(chart(order, drug | {"status": "entered-in-error"})) == ["medicine not named"]
    assert lines(chart(order, drug | {"modifierExtension": [NEGATED]})) == ["medicine not named"]


@pytest.mark.parametrize(
    ("verification", "expected"),
    [
        ({"coding": [{"code": "refuted"}]}, ["ruled out: Lung cancer"]),
        ({"coding": [{"code": "differential"}]}, ["differential diagnosis, not confirmed: Lung cancer"]),
        ({"coding": [{"code": "confirmed"}]}, ["Lung cancer"]),
        ({"coding": [{"code": "entered-in-error"}]}, []),
        ({"text": "Entered in error"}, []),
    ],
)
def test_a_diagnosis_says_how_sure_it_is(verification: dict[str, Any], expected: list[str]) -> None:
    state = {"clinicalStatus": {"coding": [{"code": "active"}]}, "verificationStatus": verification}
    assert lines(chart(fact("Condition", code={"text": "Lung cancer"}, **state))) == expected


def test_an_allergy_that_was_refuted_is_no_allergy() -> None:
    state = {"verificationStatus": {"coding": [{"code": "refuted"}]}}
    assert lines(chart(fact("AllergyIntolerance", code={"text": "Penicillin"}, **state))) == ["ruled out: Penicillin"]


@pytest.mark.parametrize(
    ("resource", "expected", "left_out"),
    [
        (
            fact("MedicationStatement", status="not-taken", medicationCodeableConcept={"text": "Aspirin"}),
            ["not taken: Aspirin"],
            {},
        ),
        (fact("Procedure", status="not-done", code={"text": "Biopsy"}), [], {"withdrawn": 1}),
        (fact("Immunization", status="not-done", vaccineCode={"text": "Influenza"}), [], {"withdrawn": 1}),
        (
            fact("MedicationAdministration", status="not-done", medicationCodeableConcept={"text": "Iohexol"}),
            [],
            {"withdrawn": 1},
        ),
        (
            fact("Immunization", status="completed", isSubpotent=True, vaccineCode={"text": "Hepatitis B"}),
            ["dose too weak to count: Hepatitis B"],
            {},
        ),
        (fact("Goal", lifecycleStatus="rejected", description={"text": "Stop smoking"}), [], {"withdrawn": 1}),
        (
            fact("FamilyMemberHistory", status="health-unknown", relationship={"text": "father"}),
            ["father: health unknown"],
            {},
        ),
        (
            fact(
                "CarePlan",
                status="active",
                intent="plan",
                title="Palliative care",
                activity=[
                    {"detail": {"code": {"text": "Resuscitation"}, "doNotPerform": True, "status": "not-started"}}
                ],
            ),
            ["Palliative care (not to be done: Resuscitation (not-started))"],
            {},
        ),
    ],
)
def test_what_was_not_done_or_not_taken_never_reads_as_if_it_had_been(
    resource: Any, expected: list[str], left_out: dict[str, int]
) -> None:
    timeline = chart(resource)
    assert lines(timeline) == expected
    assert timeline.left_out == left_out


@pytest.mark.parametrize("number", ["ai-result", "ai-report-thread", "ai-finding", "ai-key-image"])
def test_our_own_result_is_known_by_its_numbers_where_a_server_dropped_its_meta(number: str) -> None:
    """Else the next reading would take what we said for what the chart says."""
    named = [{"system": f"https://ai.hospital.example/fhir/sid/{number}", "value": "r"}]
    ours = fact("Observation", status="final", code={"text": "Nodule"}, identifier=named)
    assert chart(ours).left_out == {"ai-asserted": 1}
    clinicians = ours | {"meta": {"security": [{"code": "CLINAST"}]}}
    assert lines(chart(clinicians)) == ["Nodule"]
    theirs = fact(
        "Observation", status="final", code={"text": "Nodule"}, identifier=[{"system": "urn:lab", "value": "r"}]
    )
    assert lines(chart(theirs)) == ["Nodule"]
