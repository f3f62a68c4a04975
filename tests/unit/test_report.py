"""What a result says in FHIR: labelled as AI, never final, the same bytes for the same inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from schemas.caution import Caution, PixelTextSearch
from schemas.errors import PermanentFailure, StaleWrite
from schemas.identifiers import canonical_json
from schemas.report import HistoryWeighed, ReviewerIdentity
from tests.contract.written_bundles import (
    CANONICAL,
    NAMESPACE,
    UNTRAINED,
    act,
    as_posted,
    bare_context,
    context,
    weighed_context,
    written_bundles,
)
from workflows.report import build_result, build_review, supersede

BUNDLES = written_bundles()
POSTED = [name for name in BUNDLES if name not in ("seed", "audit")]
"""What is posted as one transaction: the seed is no work of ours, and AuditEvents go to their repository one by one."""


def of(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


@pytest.mark.parametrize("name", BUNDLES)
def test_every_resource_is_valid_r4(name: str) -> None:
    for entry in BUNDLES[name]["entry"]:
        get_fhir_model_class(entry["resource"]["resourceType"]).model_validate(entry["resource"])


@pytest.mark.parametrize("name", POSTED)
def test_the_ai_never_writes_final_and_creates_only_conditionally(name: str) -> None:
    for report in of(BUNDLES[name], "DiagnosticReport"):
        assert report["status"] in ("partial", "preliminary", "cancelled", "entered-in-error")
        assert "AIAST" in [label["code"] for label in report["meta"]["security"]]
    for entry in BUNDLES[name]["entry"]:
        assert entry["request"].get("ifNoneExist") or entry["request"].get("ifMatch")


def test_equal_inputs_give_equal_bytes() -> None:
    assert canonical_json(build_result(context())) == canonical_json(build_result(context()))


def test_a_changed_instance_set_is_another_result_of_the_same_thread() -> None:
    first, second = context(), context(manifest=b"one more slice")
    assert first.thread_id == second.thread_id
    assert first.result_id != second.result_id


def test_the_untrained_model_says_so_wherever_a_person_may_look() -> None:
    bundle = build_result(replace(context(), model=UNTRAINED))
    [report], [device] = of(bundle, "DiagnosticReport"), of(bundle, "Device")
    assert report["conclusion"].startswith("AI-generated, not verified. Untrained model")
    assert "meaningless" in report["text"]["div"]
    assert "meaningless" in device["note"][0]["text"]
    assert {"type": {"text": "system-release"}, "value": "untrained"} in device["version"]
    assert all("meaningless" in o["text"]["div"] for o in of(bundle, "Observation"))


def test_a_negative_is_a_question_with_the_answer_not_detected() -> None:
    effusion = next(o for o in of(build_result(context()), "Observation") if o["code"]["text"] == "Pleural effusion")
    assert effusion["valueCodeableConcept"]["coding"][0]["display"] == "Not detected"
    assert effusion["interpretation"][0]["coding"][0]["code"] == "N"


def test_a_place_is_given_in_pixels_of_its_frame() -> None:
    nodule = next(o for o in of(build_result(context()), "Observation") if o["code"]["text"] == "Pulmonary nodule")
    region = next(e for e in nodule["extension"] if e["url"].endswith("image-region"))
    points = [e["valueDecimal"] for e in region["extension"] if e["url"] == "coordinate"]
    assert points == [301.0, 188.5, 329.0, 188.5, 329.0, 214.0, 301.0, 214.0, 301.0, 188.5]


def test_without_study_order_and_organization_nothing_dangles() -> None:
    text = canonical_json(build_result(bare_context())).decode()
    assert "ImagingStudy/" not in text
    assert "ServiceRequest/" not in text
    assert "Organization/" not in text
    assert '"coding":[]' not in text


def test_when_nothing_passes_the_checks_the_result_says_that_it_abstained() -> None:
    [report] = of(BUNDLES["result-abstained"], "DiagnosticReport")
    assert "abstained" in report["conclusion"]
    assert "result" not in report


def test_what_was_dropped_is_said() -> None:
    [report] = of(BUNDLES["result"], "DiagnosticReport")
    assert "Dropped by a check: Pulmonary consolidation, because its side contradicts its box." in report["conclusion"]


def test_accepting_verifies_and_keeps_the_origin() -> None:
    bundle = BUNDLES["accept"]
    [report] = of(bundle, "DiagnosticReport")
    assert report["status"] == "preliminary"
    assert {"AIAST", "CLINAST"} == {label["code"] for label in report["meta"]["security"]}
    assert {o["status"] for o in of(bundle, "Observation")} == {"final"}
    assert of(bundle, "Task")[0]["businessStatus"]["coding"][0]["code"] == "accepted"


def test_rejecting_hides_the_result_and_keeps_the_reason_escaped() -> None:
    bundle = BUNDLES["reject"]
    assert {r["status"] for r in of(bundle, "DiagnosticReport") + of(bundle, "Observation")} == {"entered-in-error"}
    assert of(bundle, "Task")[0]["statusReason"]["text"] == "vessel, <not> nodule"


def test_rejecting_after_somebody_was_told_cancels_instead() -> None:
    posted = as_posted(build_result(context()))
    told = act("rejected", f"DiagnosticReport/{posted.report['id']}/_history/1", acted_upon=True)
    assert {r["status"] for r in of(build_review(NAMESPACE, posted, told), "DiagnosticReport")} == {"cancelled"}


def test_a_decision_about_another_version_is_refused() -> None:
    posted = as_posted(build_result(context()))
    with pytest.raises(StaleWrite):
        build_review(NAMESPACE, posted, act("accepted", f"DiagnosticReport/{posted.report['id']}/_history/2"))
    posted.report["status"] = "preliminary"
    with pytest.raises(PermanentFailure, match="already-reviewed"):
        build_review(NAMESPACE, posted, act("accepted", f"DiagnosticReport/{posted.report['id']}/_history/1"))


def test_a_reviewed_result_is_left_as_it_is_when_images_arrive_later() -> None:
    posted = as_posted(build_result(context()))
    posted.report["status"] = "preliminary"
    bundle = supersede(CANONICAL, build_result(context(manifest=b"later")), posted, "2026-11-24T00:00:00Z")
    assert not [e for e in bundle["entry"] if e["request"]["method"] == "PUT"]
    assert "after review" in of(bundle, "Task")[0]["note"][0]["text"]


@pytest.mark.parametrize("name", ["seed", *POSTED])
def test_every_entry_is_complete_as_it_is_posted(name: str) -> None:
    """HL7's validator refuses relative references in an entry without `fullUrl`."""
    urls = [entry["fullUrl"] for entry in BUNDLES[name]["entry"]]
    assert len(set(urls)) == len(urls)


def test_no_change_is_claimed_without_a_named_prior() -> None:
    """The answer says `worse`, but no prior was read."""
    for observation in of(build_result(bare_context()), "Observation"):
        changes = [c for c in observation["component"] if c["code"]["coding"][0]["code"] == "change-from-prior"]
        assert [c["valueCodeableConcept"]["coding"][0]["code"] for c in changes] == ["not-compared"]
        assert "change from prior" not in observation["text"]["div"]
        assert "W" not in [i["coding"][0]["code"] for i in observation["interpretation"]]


def test_codes_reach_the_problem_list_only_where_the_site_wants_them() -> None:
    assert "conclusionCode" not in of(BUNDLES["result"], "DiagnosticReport")[0]
    [report] = of(build_result(replace(context(), conclusion_codes=True)), "DiagnosticReport")
    assert [code["coding"][0]["code"] for code in report["conclusionCode"]] == ["427359005"]
    meaningless = build_result(replace(context(model=UNTRAINED), conclusion_codes=True))
    assert "conclusionCode" not in of(meaningless, "DiagnosticReport")[0]


def accepted_by(reviewer: str, at: str, identity: ReviewerIdentity | None = None) -> dict[str, Any]:
    posted = as_posted(build_result(context()))
    decision = act("accepted", f"DiagnosticReport/{posted.report['id']}/_history/1")
    return build_review(
        NAMESPACE, posted, decision.model_copy(update={"reviewer": reviewer, "at": at, "identity": identity})
    )


@pytest.mark.parametrize("typed", ["Practitioner/1", "PractitionerRole/radiologist-oncall", "Organization/1"])
def test_what_somebody_types_never_becomes_a_reference(typed: str) -> None:
    """Without a login anybody may type anything; with one it is the issuer who names the person."""
    bundle = accepted_by(typed, "2026-11-23T09:41:10Z", None)
    [report], [provenance] = of(bundle, "DiagnosticReport"), of(bundle, "Provenance")
    assert report["resultsInterpreter"] == [{"display": typed}]
    assert provenance["agent"][0]["who"] == {"display": typed}


def test_a_person_without_a_practitioner_is_who_the_issuer_means_by_the_subject() -> None:
    bundle = accepted_by(
        "Dr. Lee", "2026-11-23T09:41:10Z", ReviewerIdentity(issuer="https://idp.example", subject="s1")
    )
    named = {
        "type": "Practitioner",
        "identifier": {"system": "https://idp.example", "value": "s1"},
        "display": "Dr. Lee",
    }
    [report], [provenance] = of(bundle, "DiagnosticReport"), of(bundle, "Provenance")
    assert report["resultsInterpreter"] == [named]
    assert provenance["agent"][0]["who"] == named


def test_the_banner_names_who_verified_and_the_time_in_utc() -> None:
    bundle = accepted_by("Dr <Lee>", "2026-11-23T11:41:10+02:00")
    [report] = of(bundle, "DiagnosticReport")
    assert report["conclusion"].startswith(
        "AI-generated; verified by Dr <Lee> 2026-11-23 09:41Z; final report pending."
    )
    for shown in [report, *of(bundle, "Observation")]:
        assert "verified by Dr &lt;Lee&gt; 2026-11-23 09:41Z" in shown["text"]["div"]
        assert "not verified" not in shown["text"]["div"]


def test_a_name_with_a_slash_is_a_name_and_no_reference() -> None:
    [report] = of(accepted_by("Smith/Jones", "2026-11-23T09:41:10Z"), "DiagnosticReport")
    assert report["resultsInterpreter"] == [{"display": "Smith/Jones"}]


def test_a_second_decision_is_told_from_a_result_that_was_replaced() -> None:
    """What the first reviewer's and the superseding transaction leave behind, in newer versions than the one on the screen."""
    posted = as_posted(build_result(context()))
    shown = act("accepted", f"DiagnosticReport/{posted.report['id']}/_history/1")
    for name, refusal in [("accept", PermanentFailure), ("reject", PermanentFailure), ("supersede", StaleWrite)]:
        after = {(r["resourceType"], r["id"]): r for r in (e["resource"] for e in BUNDLES[name]["entry"]) if "id" in r}
        report = after[("DiagnosticReport", posted.report["id"])] | {"meta": {"versionId": "2"}}
        with pytest.raises(refusal):
            build_review(NAMESPACE, replace(posted, report=report, task=after[("Task", posted.task["id"])]), shown)


def test_no_ifmatch_means_the_superseding_of_an_unread_result_is_one_transaction() -> None:
    changed = [e for e in BUNDLES["supersede"]["entry"] if e["request"]["method"] == "PUT"]
    assert {e["resource"]["resourceType"] for e in changed} == {"DiagnosticReport", "Observation", "Task"}
    assert {e["resource"]["status"] for e in changed} == {"cancelled"}


def test_cited_entries_are_named_in_their_version_and_their_text_is_not_repeated() -> None:
    told = weighed_context()
    nodule = told.reading.findings[0]
    secret = nodule.model_copy(
        update={"cites": [nodule.cites[0].model_copy(update={"text": "SECRET WORDS OF THE CHART"})]}
    )
    findings = [secret, *told.reading.findings[1:]]
    bundle = build_result(replace(told, reading=told.reading.model_copy(update={"findings": findings})))
    [report], [provenance] = of(bundle, "DiagnosticReport"), of(bundle, "Provenance")
    found, effusion = of(bundle, "Observation")
    for resource in (report, found):
        cited = [e["valueReference"] for e in resource["extension"] if e["url"].endswith("workflow-supportingInfo")]
        assert [c["reference"] for c in cited if "_history" in c["reference"]] == ["Condition/copd/_history/1"]
    assert not [e for e in effusion["extension"] if "_history" in e["valueReference"]["reference"]]
    assert "Condition" not in str(found["derivedFrom"])
    sources = [e["what"] for e in provenance["entity"] if e["role"] == "source"]
    assert {w["reference"]: w["display"] for w in sources if w.get("display", "").startswith("history")} == {
        "Condition/copd/_history/1": "history entry, cited",
        "Observation/creat-9/_history/1": "history entry, weighed",
    }
    relation = [c for c in found["component"] if c["code"]["coding"][0]["code"] == "chart-relation"]
    assert relation[0]["valueCodeableConcept"]["coding"][0]["code"] == "supports"
    assert "the history supports it (entries cited: 1)" in report["conclusion"]
    assert "kept from the model because they read like instructions: 1" in report["conclusion"]
    assert "SECRET" not in str(bundle)
    for entry in bundle["entry"]:
        get_fhir_model_class(entry["resource"]["resourceType"]).model_validate(entry["resource"])


def test_a_model_of_its_own_that_weighed_the_history_is_named_by_its_weights() -> None:
    from schemas.identifiers import ni_from_hex

    known = weighed_context()
    history = known.reading.history
    assert history is not None
    same = replace(
        known,
        reading=known.reading.model_copy(
            update={"history": history.model_copy(update={"weights": known.model.weights_sha256})}
        ),
    )
    assert ni_from_hex("5c" * 32) in str(of(build_result(known), "Provenance"))
    assert "weights of the model that weighed the history" in str(of(build_result(known), "Provenance"))
    assert "weights of the model that weighed the history" not in str(of(build_result(same), "Provenance"))


def test_a_history_that_was_not_weighed_is_said_with_its_reason() -> None:
    known = context()
    history = HistoryWeighed(weighed=False, reason="model-output-invalid")
    told = replace(known, reading=known.reading.model_copy(update={"history": history}))
    [report] = of(build_result(told), "DiagnosticReport")
    assert "The history was not weighed: the model's answer about it was not valid." in report["conclusion"]


def test_an_abstention_is_a_result_of_its_own_with_a_coded_reason() -> None:
    known = context()
    silent = known.reading.model_copy(update={"findings": [], "abstained": "volume-empty"})
    bundle = build_result(replace(known, reading=silent))
    [report], [task] = of(bundle, "DiagnosticReport"), of(bundle, "Task")
    assert report["status"] == "partial"
    assert "AIAST" in [label["code"] for label in report["meta"]["security"]]
    assert of(bundle, "Observation") == of(bundle, "Media") == []
    reasons = [e for e in report["extension"] if e["url"].endswith("event-statusReason")]
    coded = {"system": CANONICAL.code_system("abstention-reason"), "code": "volume-empty"}
    assert coded.items() <= reasons[0]["valueCodeableConcept"]["coding"][0].items()
    assert task["reasonCode"] == reasons[0]["valueCodeableConcept"]
    assert (task["status"], task["priority"]) == ("requested", known.priority)
    assert "The system abstained: the images show no body." in report["conclusion"]
    for entry in bundle["entry"]:
        get_fhir_model_class(entry["resource"]["resourceType"]).model_validate(entry["resource"])


def test_cautions_are_sentences_of_ours_and_change_no_code() -> None:
    known = context()
    cautions = [
        Caution(route="chart", code="ignore-instructions", where="Condition/copd/_history/1"),
        Caution(route="dicom", code="role", where="PatientComments"),
        Caution(route="pixels", code="burnt-in-text", where="slice 3"),
    ]
    search = PixelTextSearch(slices=85, suspicious=20, read=16)
    warned = replace(known, reading=known.reading.model_copy(update={"cautions": cautions, "text_search": search}))
    [calm], [report] = of(build_result(known), "DiagnosticReport"), of(build_result(warned), "DiagnosticReport")
    for sentence in (
        "Chart text contains instructions: treat the history with care.",
        "DICOM tags contain instructions",
        "Text is burnt into the images",
        "only 16 of them were searched for text",
    ):
        assert sentence in report["conclusion"]
    worded = ("text", "conclusion", "presentedForm")
    assert {k: v for k, v in report.items() if k not in worded} == {k: v for k, v in calm.items() if k not in worded}
