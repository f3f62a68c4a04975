"""What FHIR says of a result after it was posted: the contract's tables (2 and 3), and the shape of its validated examples."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import PermanentFailure
from schemas.identifiers import canonical_json
from schemas.report import AmendedFinding
from tests.contract.written_bundles import (
    CANONICAL,
    FINAL_REPORT,
    NAMESPACE,
    ON_CALL_IN_FHIR,
    act,
    addendum,
    after,
    answered,
    as_posted,
    closing,
    context,
    given_up,
    told,
    written_bundles,
)
from workflows.report import (
    PostedResult,
    build_addendum,
    build_closing,
    build_result,
    build_review,
    check_final_report,
    closing_effect,
)
from workflows.report.amend import amended_conclusion, amended_observations
from workflows.report.escalation import build_acknowledgement, build_notification

BUNDLES = written_bundles()
PATIENT = {"Patient/pat-1"}
REASON = "http://hl7.org/fhir/StructureDefinition/event-statusReason"


def of(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def reason_of(resource: dict[str, Any]) -> list[str]:
    found = [e for e in resource.get("extension", []) if e["url"] == REASON]
    return [e["valueCodeableConcept"]["coding"][0]["code"] for e in found]


def code(concept: dict[str, Any]) -> str:
    return str(concept["coding"][0]["code"])


def posted() -> PostedResult:
    return as_posted(build_result(context()))


def amending(*amendments: AmendedFinding) -> Any:
    result = posted()
    version = f"DiagnosticReport/{result.report['id']}/_history/1"
    return build_review(NAMESPACE, result, act("amended", version, amendments=list(amendments)))


def outputs(task: dict[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for output in task.get("output", []):
        value = next(v for name, v in output.items() if name.startswith("value"))
        found.setdefault(code(output["type"]), []).append(value)
    return found


# -- closing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "reason", "business", "activity"),
    [
        ("superseded-by-final", "cancelled", "superseded-by-final-report", "superseded", "OBSOLETE"),
        ("order-cancelled", "cancelled", "order-cancelled", "withdrawn", "CANCEL"),
        ("patient-unmerged", "cancelled", "patient-unmerged", "withdrawn", "CANCEL"),
        ("result-wrong", "entered-in-error", "result-wrong", "withdrawn", "NULLIFY"),
    ],
)
def test_an_unread_result_is_withdrawn_with_its_reason(
    name: str, status: str, reason: str, business: str, activity: str
) -> None:
    bundle = BUNDLES[name]
    [report], [task], [provenance] = of(bundle, "DiagnosticReport"), of(bundle, "Task"), of(bundle, "Provenance")
    for resource in [report, *of(bundle, "Observation")]:
        assert (resource["status"], reason_of(resource)) == (status, [reason])
    assert len(of(bundle, "Observation")) == 2
    assert (task["status"], code(task["businessStatus"]), code(task["statusReason"])) == ("cancelled", business, reason)
    assert code(provenance["activity"]) == activity
    assert code(provenance["agent"][0]["type"]) == "assembler"
    assert all(e["request"].get("ifMatch") or e["request"]["url"] == "Provenance" for e in bundle["entry"])


def test_a_final_report_is_named_as_what_superseded_ours() -> None:
    [provenance] = of(BUNDLES["superseded-by-final"], "Provenance")
    entities = [
        (e["role"], e["what"]["reference"].split("/")[0], e["what"]["identifier"]["value"])
        for e in provenance["entity"]
    ]
    report = f"DiagnosticReport/{posted().report['id']}/_history/1"
    assert entities == [
        ("revision", "DiagnosticReport", report),
        ("source", "DiagnosticReport", "DiagnosticReport/ris-1/_history/1"),
    ]


def test_a_reviewed_result_keeps_its_words_and_status_and_gets_a_tag_when_the_final_report_comes() -> None:
    accepted = of(BUNDLES["accept"], "DiagnosticReport")[0]
    bundle = BUNDLES["reviewed-superseded-by-final"]
    [report] = of(bundle, "DiagnosticReport")
    tag = report["meta"]["tag"][-1]
    assert (tag["system"].rsplit("/", 1)[1], tag["code"]) == ("lifecycle", "superseded")
    assert {k: v for k, v in report.items() if k != "meta"} == {k: v for k, v in accepted.items() if k != "meta"}
    assert {r["resourceType"] for r in (e["resource"] for e in bundle["entry"])} == {"DiagnosticReport", "Provenance"}


@pytest.mark.parametrize("reason", ["order-cancelled", "patient-unmerged"])
def test_a_human_decision_stands_when_the_order_or_the_merge_is_taken_back(reason: Any) -> None:
    for name in ("accept", "amend", "reject"):
        assert closing_effect(CANONICAL, after(BUNDLES[name], posted()), reason) == "none"


def test_what_is_hidden_already_is_not_closed_again() -> None:
    for name in ("reject", "superseded-by-final", "order-cancelled"):
        assert closing_effect(CANONICAL, after(BUNDLES[name], posted()), "superseded-by-final-report") == "none"
    marked = after(BUNDLES["reviewed-superseded-by-final"], after(BUNDLES["accept"], posted()))
    assert closing_effect(CANONICAL, marked, "superseded-by-final-report") == "none"


def test_our_own_defect_takes_back_even_a_verified_result_and_tells_the_reviewer() -> None:
    bundle = BUNDLES["reviewed-result-wrong"]
    for resource in of(bundle, "DiagnosticReport") + of(bundle, "Observation"):
        assert (resource["status"], reason_of(resource)) == ("entered-in-error", ["result-wrong"])
    assert of(bundle, "Task") == [], "the human's decision stays on record"
    [communication] = of(bundle, "Communication")
    assert communication["recipient"] == [ON_CALL_IN_FHIR]
    assert communication["priority"] == "stat"
    assert communication["payload"][0]["contentString"].endswith("Do not rely on it.")


def test_a_recall_never_writes_to_the_clinicians_own_finding() -> None:
    amended = after(BUNDLES["amend"], posted())
    assert closing_effect(CANONICAL, amended, "result-wrong") == "recall"
    bundle = build_closing(NAMESPACE, amended, closing("result-wrong"), None)
    assert [o["code"]["text"] for o in of(bundle, "Observation")] == ["Pleural effusion"]


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"status": "preliminary"}, "final-report-not-final"),
        ({"subject": {"reference": "Patient/pat-2"}}, "final-report-wrong-patient"),
        ({"subject": {"display": "somebody"}}, "final-report-wrong-patient"),
        ({"meta": {"versionId": "1", "security": [{"code": "AIAST"}]}}, "final-report-ours"),
        ({"identifier": [{"system": CANONICAL.sid("ai-result"), "value": "x"}]}, "final-report-ours"),
        ({"imagingStudy": [{"reference": "ImagingStudy/another"}]}, "final-report-wrong-study"),
        (
            {"imagingStudy": [{"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}}]},
            "final-report-wrong-study",
        ),
    ],
)
def test_only_a_final_report_of_somebody_else_about_this_patient_and_study_closes_ours(
    changes: dict[str, Any], refusal: str
) -> None:
    with pytest.raises(PermanentFailure) as caught:
        check_final_report(CANONICAL, posted(), FINAL_REPORT | changes, PATIENT)
    assert caught.value.code == refusal


@pytest.mark.parametrize("status", ["final", "amended", "corrected", "appended"])
def test_a_final_report_may_name_the_study_or_not(status: str) -> None:
    same = {"status": status, "imagingStudy": [{"reference": "ImagingStudy/ct-2026"}]}
    assert check_final_report(CANONICAL, posted(), FINAL_REPORT | same, PATIENT)["status"] == status
    assert check_final_report(CANONICAL, posted(), FINAL_REPORT | {"status": status}, PATIENT)["id"] == "ris-1"


def test_what_the_system_closed_was_not_reviewed_even_where_the_server_dropped_the_reason() -> None:
    closed = after(BUNDLES["order-cancelled"], posted())
    assert (closed.reviewed, closed.withdrawn) == (False, True)
    del closed.report["extension"]
    assert (closed.reviewed, closed.withdrawn) == (False, True)


# -- escalation -----------------------------------------------------------------------------------------------------------


def test_the_first_step_tells_the_duty_role_and_leaves_the_task_unread() -> None:
    bundle = BUNDLES["notify"]
    [communication], [task] = of(bundle, "Communication"), of(bundle, "Task")
    assert communication["payload"] == [{"contentString": "Unverified AI result awaiting review; deadline 10:20Z."}]
    assert (communication["status"], code(communication["reasonCode"][0])) == ("completed", "L1")
    assert code(task["businessStatus"]) == "unread"
    assert task["input"][0]["valueString"] == "radiology-urgent@v3"
    assert outputs(task)["communication"] == [{"reference": bundle["entry"][0]["fullUrl"]}]


def test_the_second_step_goes_to_somebody_else_and_says_so_on_the_task() -> None:
    [communication], [task] = of(BUNDLES["escalate"], "Communication"), of(BUNDLES["escalate"], "Task")
    assert communication["payload"] == [{"contentString": "Escalation step 2: review deadline missed at 10:20Z."}]
    assert (code(task["businessStatus"]), task["owner"], task["priority"]) == (
        "escalated-2",
        {"display": "Radiology lead"},
        "stat",
    )
    assert communication["status"] == "in-progress", "nobody knows yet whether the telephone rang"


def test_an_acknowledgement_answers_the_step_and_measures_the_time() -> None:
    bundle = BUNDLES["acknowledge"]
    answer, delivered = of(bundle, "Communication")
    [task] = of(bundle, "Task")
    assert answer["inResponseTo"] == [{"reference": "Communication/com-2"}]
    assert answer["payload"] == [{"contentString": "Acknowledged with read-back: patient, study, finding."}]
    assert delivered["status"] == "completed"
    assert task["status"] == "in-progress"
    found = outputs(task)
    assert (found["deadline-outcome"], found["minutes-available-to-acknowledged"]) == (["missed"], [63.1])
    assert len(found["communication"]) == 2


def test_an_acknowledgement_in_time_is_met_and_marks_the_task_read() -> None:
    first = after(BUNDLES["notify"], posted())
    told_first = of(BUNDLES["notify"], "Communication")[0] | {"id": "com-1", "meta": {"versionId": "1"}}
    bundle = build_acknowledgement(NAMESPACE, first, answered(1, at="2026-11-23T09:30:31+00:00"), told_first)
    [task] = of(bundle, "Task")
    assert (outputs(task)["deadline-outcome"], code(task["businessStatus"])) == (["met"], "read")
    assert outputs(task)["minutes-available-to-acknowledged"] == [10.0]
    assert len(of(bundle, "Communication")) == 1


def test_when_nobody_answers_that_is_said_and_the_result_stays_open() -> None:
    [communication], [task] = of(BUNDLES["exhaust"], "Communication"), of(BUNDLES["exhaust"], "Task")
    assert (communication["status"], code(communication["statusReason"])) == ("not-done", "recipient-unavailable")
    assert "sent" not in communication
    assert (task["status"], code(task["businessStatus"])) == ("failed", "exhausted")
    assert outputs(task)["deadline-outcome"] == ["missed"]
    given = after(BUNDLES["exhaust"], posted())
    assert given.unread
    version = f"DiagnosticReport/{given.report['id']}/_history/{given.report['meta']['versionId']}"
    [decided] = of(build_review(NAMESPACE, given, act("accepted", version)), "Task")
    assert (decided["status"], code(decided["businessStatus"])) == ("completed", "accepted")


def test_a_late_answer_after_everybody_gave_up_is_still_written_and_stays_missed() -> None:
    given = after(BUNDLES["exhaust"], posted())
    [task] = of(build_acknowledgement(NAMESPACE, given, answered(2), None), "Task")
    assert (task["status"], outputs(task)["deadline-outcome"]) == ("in-progress", ["missed"])
    assert "statusReason" not in task


def test_no_message_repeats_a_finding_a_name_or_a_value() -> None:
    for name in ("notify", "escalate", "acknowledge", "exhaust", "reviewed-result-wrong"):
        for communication in of(BUNDLES[name], "Communication"):
            words = json.dumps(communication["payload"]).lower()
            assert not {"nodule", "effusion", "14 mm", "m0001"} & set(words.replace(".", " ").split())


def test_the_same_step_is_the_same_message() -> None:
    first, again = (build_notification(NAMESPACE, posted(), told(2)) for _ in range(2))
    assert canonical_json(first) == canonical_json(again)
    assert first["entry"][0]["request"]["ifNoneExist"] != BUNDLES["notify"]["entry"][0]["request"]["ifNoneExist"]
    assert given_up().step == 2


def test_a_priority_is_changed_on_the_task_alone() -> None:
    [entry] = BUNDLES["reprioritise"]["entry"]
    assert (entry["resource"]["resourceType"], entry["resource"]["priority"]) == ("Task", "stat")


# -- amending -------------------------------------------------------------------------------------------------------------


def test_an_amended_finding_is_the_clinicians_own() -> None:
    own, replaced, rest = of(BUNDLES["amend"], "Observation")
    assert [label["code"] for label in own["meta"]["security"]] == ["CLINAST"]
    assert not {"device", "method"} & set(own)
    assert own["status"] == "final"
    assert own["performer"] == [ON_CALL_IN_FHIR]
    links = [e["valueReference"]["reference"] for e in own["extension"] if e["url"].endswith("observation-replaces")]
    assert links == [f"Observation/{replaced['id']}"]
    assert (replaced["status"], reason_of(replaced)) == ("cancelled", ["amended-by-clinician"])
    assert rest["status"] == "final"
    assert {"AIAST", "CLINAST"} == {label["code"] for label in rest["meta"]["security"]}


def test_the_amended_report_points_to_the_clinicians_finding_and_says_their_words() -> None:
    bundle = BUNDLES["amend"]
    [report], [task], [provenance] = of(bundle, "DiagnosticReport"), of(bundle, "Task"), of(bundle, "Provenance")
    _, _, rest = of(bundle, "Observation")
    assert [r["reference"] for r in report["result"]] == [bundle["entry"][0]["fullUrl"], f"Observation/{rest['id']}"]
    assert report["status"] == "preliminary"
    assert "presentedForm" not in report
    assert report["conclusion"].startswith(
        "AI-generated; amended and verified by Dr. On Call 2026-11-23 09:41Z; final report pending."
    )
    assert (
        "Pulmonary nodule: detected (definite), amended by the reviewer. Reviewer: 12 mm, not 14 mm."
        in report["conclusion"]
    )
    assert "14 mm, series" not in report["conclusion"]
    assert "Pleural effusion: not detected" in report["conclusion"]
    assert (task["status"], code(task["businessStatus"])) == ("completed", "amended")
    assert provenance["target"][0] == {"reference": bundle["entry"][0]["fullUrl"]}
    assert (code(provenance["activity"]), code(provenance["reason"][0])) == ("UPDATE", "amended")


def test_a_finding_that_the_reviewer_does_not_see_keeps_no_box_and_no_measure() -> None:
    bundle = amending(AmendedFinding(label="pulmonary-nodule", presence="not-detected"))
    own = of(bundle, "Observation")[0]
    assert own["valueCodeableConcept"]["coding"][0]["display"] == "Not detected"
    assert code(own["interpretation"][0]) == "N"
    assert not [e for e in own["extension"] if e["url"].endswith("image-region")]
    assert not [d for d in own["derivedFrom"] if d["reference"].startswith("Media/")]
    assert [code(c["code"]) for c in own["component"]] == ["change-from-prior"]
    assert code(own["component"][0]["valueCodeableConcept"]) == "not-compared"


def test_the_reviewers_words_are_escaped_where_they_are_shown_as_a_page() -> None:
    words = AmendedFinding(label="pleural-effusion", presence="indeterminate", text="<b>small</b> & left")
    own = of(amending(words), "Observation")[0]
    assert "&lt;b&gt;small&lt;/b&gt; &amp; left" in own["text"]["div"]
    assert own["note"] == [{"text": "<b>small</b> & left"}]


@pytest.mark.parametrize("labels", [[], ["pneumothorax"], ["pleural-effusion", "pleural-effusion"]])
def test_an_amendment_of_what_is_not_there_is_refused(labels: list[str]) -> None:
    with pytest.raises(PermanentFailure, match="amendment-"):
        amending(*(AmendedFinding(label=label, presence="detected") for label in labels))


def test_where_the_sentence_is_not_to_be_found_the_report_is_said_anew_and_never_contradicts_itself() -> None:
    result = posted()
    result.report["conclusion"] = "AI-generated, not verified. Worded by another release."
    decision = act("amended", "any", amendments=[AmendedFinding(label="pulmonary-nodule", presence="not-detected")])
    replaced = amended_observations(CANONICAL, result, decision)
    text = amended_conclusion(result, replaced, decision)
    assert text == (
        "AI-generated, not verified. Pulmonary nodule: not detected, amended by the reviewer. Pleural effusion: not detected."
    )


# -- addenda --------------------------------------------------------------------------------------------------------------


def test_an_addendum_is_a_result_of_its_own_that_changes_nothing_of_the_old_one() -> None:
    bundle = BUNDLES["addendum"]
    assert {e["request"]["method"] for e in bundle["entry"]} == {"POST"}
    [report], [task], [provenance] = of(bundle, "DiagnosticReport"), of(bundle, "Task"), of(bundle, "Provenance")
    assert (report["status"], report["meta"]["security"][0]["code"]) == ("partial", "AIAST")
    assert "result" not in report
    assert "media" not in report
    assert [i["value"] for i in report["identifier"]][1] == context().thread_id
    assert report["identifier"][0]["value"] != context().result_id
    assert (task["status"], code(task["businessStatus"])) == ("requested", "unread")
    assert [e["role"] for e in provenance["entity"]] == ["revision", "derivation", "source"]
    assert PostedResult(report, [], task).adds_to == f"DiagnosticReport/{posted().report['id']}"


def test_an_addendum_names_finding_rule_and_reason_and_no_value() -> None:
    [report] = of(BUNDLES["addendum"], "DiagnosticReport")
    assert report["conclusion"].startswith(
        "AI-generated, not verified. Addendum to the AI result of 2026-11-23: 1 later observation concerns what it found."
    )
    assert "Pulmonary nodule: markers of inflammation bear on" in report["conclusion"]
    assert "(rule nodule-inflammation, addendum-rules@v1)" in report["conclusion"]
    assert "1.1" not in report["conclusion"]
    cited = [e["valueReference"]["reference"] for e in report["extension"] if "supportingInfo" in e["url"]]
    assert cited == ["Observation/creat-9"]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.randoms())
def test_the_same_news_in_any_order_and_number_is_the_same_addendum(news: list[int], shuffle: Any) -> None:
    told = [f"Observation/lab-{number}/_history/1" for number in news]
    again = [*told, told[0]]
    shuffle.shuffle(again)
    assert canonical_json(build_addendum(addendum(posted(), *told))) == canonical_json(
        build_addendum(addendum(posted(), *again))
    )


def test_a_corrected_observation_is_another_addendum() -> None:
    first, corrected = (addendum(posted(), f"Observation/crp/_history/{version}") for version in (1, 2))
    assert first.addendum_id != corrected.addendum_id


def test_an_unread_addendum_goes_with_the_unread_result_that_newer_images_replace() -> None:
    cancelled = [r for r in of(BUNDLES["supersede-with-addendum"], "DiagnosticReport") if r["status"] == "cancelled"]
    assert len(cancelled) == 2
    assert all(reason_of(r) == ["superseded-by-new-inputs"] for r in cancelled)


# -- beside the contract's examples ------------------------------------------------------------------------------------------

_TASK = (
    "authoredOn basedOn businessStatus code description focus for identifier input intent lastModified meta owner priority requester "
    "restriction status"
)
EXAMPLES = {
    ("superseded-by-final", "Provenance"): "activity agent entity meta occurredDateTime reason recorded target",
    ("superseded-by-final", "Task"): f"{_TASK} statusReason",
    ("escalate", "Communication"): (
        "about basedOn category identifier medium meta partOf payload priority reasonCode recipient sender sent status subject"
    ),
    ("acknowledge", "Communication"): (
        "about basedOn category identifier inResponseTo medium meta partOf payload priority reasonCode received recipient sender sent status subject"
    ),
    ("acknowledge", "Task"): f"{_TASK} executionPeriod output",
    ("amend", "Provenance"): "activity agent entity meta occurredDateTime reason recorded target",
    ("amend", "DiagnosticReport"): (
        "basedOn category code conclusion effectiveDateTime extension id identifier imagingStudy issued media meta performer result "
        "resultsInterpreter status subject text"
    ),
    ("amend", "Observation"): (
        "basedOn bodySite category code component derivedFrom effectiveDateTime extension identifier interpretation issued meta partOf performer "
        "status subject text valueCodeableConcept"
    ),
}
"""Elements of the contract's examples 03, 06 and 07, less what their chart has and ours has not (an encounter)."""


@pytest.mark.parametrize(("name", "kind"), EXAMPLES)
def test_what_we_write_has_the_elements_of_the_examples(name: str, kind: str) -> None:
    ours = set(of(BUNDLES[name], kind)[0]) - {"resourceType"}
    example = set(EXAMPLES[name, kind].split())
    more = {("amend", "Observation"): {"note"}}.get((name, kind), set())
    assert ours - {"id"} == (example - {"id"}) | more
