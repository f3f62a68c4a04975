"""Which later observations concern a finding: a versioned table, applied by code alone (no model, no chart text).

A rule says that a clinician who reads the finding would want to know of the observation. It never says what the value means. A value that a
rule's test cannot compare (another unit, a comparator, no number) is told, never dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.codes import LOINC, Canonical, Json
from schemas.inference import Presence
from workflows.report.findings import label_of, presence_of
from workflows.timeline.dates import DAY, Dates
from workflows.timeline.entries import EntryReader

TABLE_VERSION = "addendum-rules@v1"
"""Any change to RULES is a new version."""

WINDOW = 7 * DAY
"""What was measured earlier than this before the study is history, not news."""

_SEEN: frozenset[Presence] = frozenset({"detected", "indeterminate"})


@dataclass(frozen=True)
class ValueTest:
    """Holds where the value is beyond `limit`; `units` gives, for each UCUM code that can be compared, its size in the limit's unit."""

    beyond: Literal["above", "below"]
    limit: float
    units: dict[str, float]


@dataclass(frozen=True)
class Rule:
    """An observation with one of these LOINC codes concerns a finding of this label where its presence is one of these."""

    code: str
    finding: str
    presence: frozenset[Presence]
    loinc: frozenset[str]
    reason: str
    source: str
    test: ValueTest | None = None


_INR = frozenset({"6301-6", "34714-6"})
_COAGULATION = _INR | {"5902-2", "3173-2"}
_PLATELETS = frozenset({"777-3", "26515-7"})
_INFLAMMATION = frozenset({"1988-5", "6690-2", "26464-8", "33959-8"})
_NATRIURETIC = frozenset({"33762-6", "30934-4"})
_PER_LITRE = {"10*9/L": 1.0, "10*3/uL": 1.0, "10*3/mm3": 1.0, "/uL": 0.001}
_SITE = "To be confirmed by the site."
RULES = (
    Rule(
        "haemorrhage-coagulation",
        "intracranial-haemorrhage",
        _SEEN,
        _COAGULATION,
        "coagulation tests bear on how an intracranial haemorrhage is managed",
        f"Neurocritical Care Society and AHA/ASA guidance asks for INR and aPTT in every intracranial haemorrhage. {_SITE}",
    ),
    Rule(
        "haemorrhage-platelets",
        "intracranial-haemorrhage",
        _SEEN,
        _PLATELETS,
        "a platelet count below 100 x 10*9/L bears on how an intracranial haemorrhage is managed",
        f"The limit is the one at which neurosurgical guidance commonly asks for correction. {_SITE}",
        ValueTest("below", 100.0, _PER_LITRE),
    ),
    Rule(
        "nodule-inflammation",
        "pulmonary-nodule",
        _SEEN,
        _INFLAMMATION,
        "markers of inflammation bear on what a pulmonary nodule may be",
        f"Fleischner Society 2017 sets infection apart from incidental nodules. {_SITE}",
    ),
    Rule(
        "consolidation-inflammation",
        "consolidation",
        _SEEN,
        _INFLAMMATION,
        "markers of inflammation bear on what a consolidation may be",
        f"ATS/IDSA 2019 on community-acquired pneumonia reads imaging beside clinical and laboratory signs. {_SITE}",
    ),
    Rule(
        "effusion-natriuretic-peptide",
        "pleural-effusion",
        _SEEN,
        _NATRIURETIC,
        "natriuretic peptides bear on why there is a pleural effusion",
        f"British Thoracic Society 2023 on pleural disease names NT-proBNP in the work-up. {_SITE}",
    ),
    Rule(
        "liver-lesion-markers",
        "liver-lesion",
        _SEEN,
        frozenset({"1834-1", "1975-2"}),
        "alpha-fetoprotein and bilirubin bear on what a liver lesion may be",
        f"EASL and AASLD guidance on liver lesions reads both beside imaging. {_SITE}",
    ),
    Rule(
        "free-fluid-haemoglobin",
        "free-fluid",
        _SEEN,
        frozenset({"718-7"}),
        "haemoglobin bears on whether free abdominal fluid may be blood",
        f"Common practice in acute abdominal imaging. {_SITE}",
    ),
)
RULE_BY_CODE = {rule.code: rule for rule in RULES}


def rules_naming(canonical: Canonical, findings: list[Json], observation: Json, studied: str | None) -> list[Rule]:
    """The rules by which `observation` concerns one of the result's `findings` (Observations as they stand), in the table's order."""
    if not _has_value(observation) or _long_before(observation, studied):
        return []
    codes = {c.get("code") for c in observation.get("code", {}).get("coding", []) if c.get("system") == LOINC}
    seen = {(label_of(canonical, finding), presence_of(finding)) for finding in findings}
    return [
        rule
        for rule in RULES
        if codes & rule.loinc
        and any((rule.finding, presence) in seen for presence in rule.presence)
        and _holds(rule.test, observation.get("valueQuantity"))
    ]


def _has_value(observation: Json) -> bool:
    return any(name.startswith("value") for name in observation)


def _long_before(observation: Json, studied: str | None) -> bool:
    """Undated is not old; where the study has no date, nothing is."""
    dates = Dates()
    measured, study = EntryReader(dates).read(observation, "").span, dates.span(studied)
    return measured is not None and study is not None and measured[1] <= study[0] - WINDOW


def _holds(test: ValueTest | None, quantity: Json | None) -> bool:
    if test is None or quantity is None or quantity.get("comparator") or quantity.get("value") is None:
        return True
    size = test.units.get(str(quantity.get("code")))
    if size is None:
        return True
    value = float(quantity["value"]) * size
    return value > test.limit if test.beyond == "above" else value < test.limit
