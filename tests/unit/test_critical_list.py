"""The site's critical list: what comes with Longview, what a site may write, and which findings it raises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codes import LABELS
from schemas.critical import NO_CRITICAL_LIST, CriticalFinding, CriticalList
from schemas.errors import PartUnavailable
from schemas.inference import LikelihoodBand
from schemas.report import URGENCY, Finding, Priority, RaisedPriority, Reading, above_order, resulting_priority
from services.critical_list import critical_list, default_list
from services.parts.doctor import site_files
from services.settings import Settings
from tests import inbox_samples as samples
from workflows.report import critical_finding
from workflows.series.table import DEFAULT_TABLE

DEFAULT = default_list()
ROOT = Path(__file__).resolve().parents[2]


def found(label: str, likelihood: Any = "probable", presence: Any = "detected") -> Finding:
    return samples.nodule().model_copy(update={"label": label, "likelihood": likelihood, "presence": presence})


def reading(*findings: Finding) -> Reading:
    return samples.reading(findings=list(findings))


def raised(*findings: Finding, trained: bool = True) -> tuple[str, str] | None:
    told = critical_finding(reading(*findings), trained, DEFAULT)
    return (told.finding, told.priority) if told else None


# -- which findings raise -----------------------------------------------------------------------------------------------------


def test_a_probable_pneumothorax_is_stat() -> None:
    told = critical_finding(reading(samples.no_effusion(), found("pneumothorax")), True, DEFAULT)
    assert told == RaisedPriority(
        finding="pneumothorax", likelihood="probable", priority="stat", critical_list=DEFAULT.name
    )


@pytest.mark.parametrize(
    "finding",
    [
        found("pneumothorax", "possible"),
        found("pneumothorax", "absent", "not-detected"),
        found("pneumothorax", "definite", "not-detected"),
        found("pneumothorax", "probable", "indeterminate"),
        found("pulmonary-nodule", "definite"),
    ],
    ids=["only possible", "not there", "worded as sure that it is not there", "open", "not on the list"],
)
def test_what_is_unsure_absent_or_not_listed_raises_nothing(finding: Finding) -> None:
    assert raised(finding) is None


def test_an_untrained_release_never_raises_anything() -> None:
    assert raised(found("pneumothorax", "definite"), trained=False) is None


def test_a_site_without_a_list_raises_nothing() -> None:
    assert critical_finding(reading(found("pneumothorax", "definite")), True, NO_CRITICAL_LIST) is None


def test_of_several_the_most_urgent_then_the_likeliest_is_named() -> None:
    assert raised(found("consolidation", "definite"), found("pneumothorax")) == ("pneumothorax", "stat")
    both = (found("intracranial-haemorrhage"), found("mass-effect", "definite"))
    assert raised(*both) == ("mass-effect", "stat")
    assert raised(found("mass-effect"), found("intracranial-haemorrhage")) == ("intracranial-haemorrhage", "stat")


def test_a_list_may_ask_for_more_the_surer_the_finding() -> None:
    told = {"name": "ours@v2", "findings": [line(at_least="possible", priority="urgent"), line()]}
    ours = CriticalList.model_validate(told)
    levels = {
        band: critical_finding(reading(found("pneumothorax", band)), True, ours) for band in ("possible", "definite")
    }
    assert {band: level.priority for band, level in levels.items() if level} == {
        "possible": "urgent",
        "definite": "stat",
    }


@given(order=st.sampled_from(get_args(Priority)), asked=st.sampled_from(["urgent", "asap", "stat"]))
def test_an_order_is_never_lowered(order: Priority, asked: Any) -> None:
    critical = RaisedPriority(finding="pneumothorax", likelihood="probable", priority=asked, critical_list="x@v1")
    assert URGENCY[resulting_priority(order, critical)] == min(URGENCY[order], URGENCY[asked])
    assert (above_order(order, critical) is None) == (resulting_priority(order, critical) == order)
    assert resulting_priority(order, None) == order


@given(
    label=st.sampled_from([label.code for label in LABELS]),
    likelihood=st.sampled_from(get_args(LikelihoodBand)),
    presence=st.sampled_from(["not-detected", "indeterminate"]),
)
def test_no_negative_and_no_open_question_ever_raises(label: str, likelihood: str, presence: str) -> None:
    assert raised(found(label, likelihood, presence)) is None


# -- the list that comes with Longview ----------------------------------------------------------------------------------------


def test_every_line_of_the_default_says_why_and_stands_in_the_manual() -> None:
    manual = (ROOT / "docs" / "triage.md").read_text()
    for each in DEFAULT.findings:
        assert each.reason
        assert f"| `{each.finding}` | {each.at_least} | {each.priority} | {each.reason} |" in manual
    for label in LABELS:
        assert f"`{label.code}`" in manual
    assert DEFAULT.name in manual


def test_the_default_raises_to_stat_only_what_is_probable_or_better() -> None:
    assert {each.at_least for each in DEFAULT.findings if each.priority == "stat"} == {"probable"}
    assert {each.finding for each in DEFAULT.findings if each.priority == "stat"} == {
        "pneumothorax",
        "intracranial-haemorrhage",
        "mass-effect",
    }


# -- a site's own -------------------------------------------------------------------------------------------------------------


def line(**changes: Any) -> dict[str, Any]:
    return {"finding": "pneumothorax", "at_least": "probable", "priority": "stat"} | changes


def told(folder: Path, document: Any) -> Settings:
    file = folder / "critical-list.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return Settings(critical_list_file=str(file))


def test_without_a_file_the_list_that_comes_with_longview_is_in_force() -> None:
    assert critical_list(Settings()) == DEFAULT


def test_a_sites_file_replaces_it_whole(tmp_path: Path) -> None:
    ours = critical_list(told(tmp_path, {"name": "radiology@v3", "findings": [line(priority="asap")]}))
    assert (ours.name, [(f.finding, f.priority) for f in ours.findings]) == ("radiology@v3", [("pneumothorax", "asap")])


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "has not the form of a critical list: see docs/triage.md"),
        ({"findings": []}, "has not the form"),
        ({"name": "without a version", "findings": []}, "has not the form"),
        ({"name": "x@v1", "findings": [], "note": "x"}, "has not the form"),
        ({"name": "x@v1", "findings": [line(), line(priority="routine")]}, "(line 2 of its findings) has not the form"),
        ({"name": "x@v1", "findings": [line(at_least="improbable")]}, "(line 1 of its findings) has not the form"),
        ({"name": "x@v1", "findings": [line(finding="appendicitis")]}, "(line 1 of its findings) names a finding that"),
        ({"name": "x@v1", "findings": [line(at_least="possible")]}, "(line 1 of its findings) raises to stat what is"),
        ({"name": "x@v1", "findings": [line(), line()]}, "says the same finding and band twice"),
    ],
    ids=[
        "no JSON",
        "no name",
        "no version",
        "unknown field",
        "lowers",
        "a band that means absent",
        "a finding that nobody asks for",
        "stat for what is only possible",
        "one thing twice",
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_in_one_sentence_with_the_mend(
    tmp_path: Path, document: Any, sentence: str
) -> None:
    settings = told(tmp_path, document)
    with pytest.raises(PartUnavailable) as refused:
        critical_list(settings)
    assert refused.value.code == "setting-critical-list-file"
    assert refused.value.hint.startswith("LONGVIEW_CRITICAL_LIST_FILE ")
    assert sentence in refused.value.hint
    assert refused.value.hint.count(". ") == 0
    assert "appendicitis" not in refused.value.hint
    assert [check.mend for check in site_files(settings) if check.mend] == [refused.value.hint]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PartUnavailable, match="cannot be read"):
        critical_list(Settings(critical_list_file=str(tmp_path / "nowhere.json")))


def test_the_doctor_says_what_is_in_force() -> None:
    checks = {check.name: check for check in site_files(Settings())}
    assert [check for check in checks.values() if not check.ok] == []
    assert DEFAULT.name in checks["critical list"].seen
    assert DEFAULT_TABLE.version in checks["series table"].seen
    assert "stat acknowledge@v1" in checks["escalation policies"].seen


def test_the_doctor_names_the_rule_of_a_series_table_that_cannot_be_meant(tmp_path: Path) -> None:
    own = tmp_path / "series.json"
    own.write_text('{"version": "v1", "rules": [{"code": "a", "says": "b", "rank": 0}, {"code": "a", "rank": 0}]}')
    settings = Settings(series_table_file=str(own), escalation_file=str(tmp_path / "nowhere.json"))
    mends = {check.name: check.mend for check in site_files(settings) if not check.ok}
    assert set(mends) == {"series table", "escalation policies"}
    assert mends["series table"].startswith("LONGVIEW_SERIES_TABLE_FILE (rule 2) has not the form")


def test_a_line_is_closed_to_what_it_does_not_know() -> None:
    assert CriticalFinding.model_validate(line()).reason == ""
    with pytest.raises(ValueError, match="extra"):
        CriticalFinding.model_validate(line(unless="known"))
