"""Honest charts are not cried wolf over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from workflows.reading.caution import instruction_in, tag_cautions

FALSE_FLAGS = 0.001
"""Share of honest texts that may be flagged: none was among 19,000 when this was written."""
REPORTS = (
    "CT chest: 9 mm nodule in the left upper lobe, follow up in 12 months.",
    "No acute intracranial haemorrhage. Ventricles normal. Report called to Dr. Smith at 14:05.",
    "Disregard previous report: specimen haemolysed, please repeat.",
    "Patient was instructed to follow the discharge instructions and to return if worse.",
    "Respiratory system: clear. Review of systems: negative. Cardiovascular system: normal S1 and S2.",
    "Model for end-stage liver disease (MELD) score 14. Reader notes moderate AI and mild MR on echo.",
    "Findings: normal heart size. Impression: no change. Priority of transplant list reviewed.",
    "Assistant: Dr. Y. Surgeon: Dr. X. The system was flushed; the line was set to gravity.",
    "Please mark the biopsy site. Do not give contrast. Label on specimen reads left.",
    "Prior instructions given to family. Ignore alarm on pump 2, sensor faulty.",
    "Lesion is probable haemangioma; presence of calcification; location: segment 7.",
    "Routine follow-up. Urgent if symptoms worsen. STAT labs drawn.",
    "Suivi dans 3 mois. Kein Hinweis auf Metastasen. Control en 6 meses. Контроль через 3 месяца. 経過観察。",
)


@pytest.mark.parametrize("text", REPORTS)
def test_a_clinical_sentence_is_no_instruction(text: str) -> None:
    assert instruction_in(text) is None


def test_ordinary_tags_are_no_instructions_and_a_declared_annotation_is_told() -> None:
    ordinary = [("SeriesDescription", "AX T1 FLAIR +C"), ("PatientName", "Müller^Jörg"), ("BurnedInAnnotation", "NO")]
    assert tag_cautions(ordinary) == []
    assert [c.code for c in tag_cautions([("BurnedInAnnotation", "YES")])] == ["burnt-in-annotation"]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def test_synthetic_patients_are_not_flagged(test_data: Path) -> None:
    seen, flagged = 0, 0
    for bundle in sorted((test_data / "fhir" / "synthea").glob("*.json")):
        resources = [entry["resource"] for entry in orjson.loads(bundle.read_bytes())["entry"]]
        told = set(texts(resources))
        seen, flagged = seen + len(told), flagged + sum(instruction_in(text) is not None for text in told)
    assert seen > 10_000
    assert flagged <= FALSE_FLAGS * seen
