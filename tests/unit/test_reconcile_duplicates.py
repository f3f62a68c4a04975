"""When an unread result may give way to a newer one without a person: only if nothing is lost by it."""

from __future__ import annotations

from dataclasses import replace

from tests.contract.written_bundles import ISSUED, NAMESPACE, as_posted, context
from workflows.reconcile.duplicates import answers_all, supersede_older
from workflows.report import PostedResult, build_result

OLDER = as_posted(build_result(context()))
NEWER = as_posted(build_result(context(manifest=b"one more slice")))


def test_a_newer_result_that_answers_every_question_takes_the_place() -> None:
    assert answers_all(OLDER, NEWER)


def test_one_that_answers_less_or_is_about_another_does_not() -> None:
    fewer = replace(NEWER, observations=NEWER.observations[:1])
    other_patient = replace(NEWER, report=NEWER.report | {"subject": {"reference": "Patient/other"}})
    study = {"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}}
    other_study = replace(NEWER, report=NEWER.report | {"imagingStudy": [study]})
    assert not any(answers_all(OLDER, each) for each in (fewer, other_patient, other_study))
    assert answers_all(fewer, OLDER)


def test_only_the_older_result_is_written_and_only_in_the_version_that_was_read() -> None:
    bundle = supersede_older(NAMESPACE, OLDER, NEWER, ISSUED)
    *updates, provenance = bundle["entry"]
    assert {e["request"]["ifMatch"] for e in updates} == {'W/"1"'}
    assert {e["request"]["url"] for e in updates} == {_place(r) for r in _all(OLDER)}
    assert provenance["request"]["ifNoneExist"].startswith("_tag=")
    assert bundle == supersede_older(NAMESPACE, OLDER, NEWER, ISSUED)


def _all(posted: PostedResult) -> list[dict[str, str]]:
    return [posted.report, *posted.observations, posted.task]


def _place(resource: dict[str, str]) -> str:
    return f"{resource['resourceType']}/{resource['id']}"
