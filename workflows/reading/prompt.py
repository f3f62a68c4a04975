"""The question to the model, made of our own words alone: nothing of the chart, of DICOM tags or of pixels' text enters it.

Order: instruction, stacks (oldest study first), query last. With the text first and no query after the last slice, MedGemma's answers on CT degrade
(docs/adr/ADR-0006-images-before-history.md). Instruction and headings do not depend on how many studies follow: what was asked about a study
yesterday is the beginning of what is asked about it today as a prior, and is found in the server's caches.
"""

from __future__ import annotations

from typing import get_args

from schemas.inference import MAX_LONG_AXIS_MM, ModelRequest, Side, VolumeItem, answer_schema
from schemas.report import Priority
from workflows.reading.document_prompt import (
    DOCUMENT_INSTRUCTION,
    DOCUMENT_QUERY,
    LINES_BEGIN,
    LINES_END,
    SCANNED_PAGES,
)
from workflows.reading.history_prompt import DATA_BEGINS, DATA_ENDS, HISTORY_INSTRUCTION, HISTORY_QUERY
from workflows.reading.picture_prompt import PICTURE, PICTURE_WORDS, picture_query
from workflows.reading.slide_prompt import SLIDE_TEMPLATE

INSTRUCTION = (
    "You are reading {modality} studies of one patient, from the oldest to the newest. Each study is given as stacks of slices; slice numbers count "
    "from 1 within each stack. The last study is the current one, those before it are priors. Judge from the images alone. "
    "Left and right are the patient's."
)
STUDY, SERIES = "STUDY {study}", "STUDY {study}, SERIES {series}"
QUERY = (
    "For each of these findings say whether it is there, how likely, on which side, where and how it changed: {labels}. "
    "Slice numbers and boxes belong to the current study. {series}box_2d is [y0, x0, y1, x1] in thousandths of the slice's height and width; "
    f"long_axis_mm is the longest diameter in millimetres, at most {MAX_LONG_AXIS_MM}. Answer with the JSON object alone."
)
SEVERAL_SERIES = "series is the number of the stack within the current study. "
PROMPT_TEMPLATE = "\n".join(
    [
        "# Longview reading prompt, version 4",
        INSTRUCTION,
        "## Before each stack",
        STUDY,
        SERIES,
        "## After the last stack",
        QUERY,
        SEVERAL_SERIES,
        "## Radiographs: nothing before the images, before each where a study has several",
        PICTURE,
        "## After the last radiograph",
        *PICTURE_WORDS,
        *SLIDE_TEMPLATE,
        "## Second pass, without images",
        HISTORY_INSTRUCTION,
        DATA_BEGINS,
        DATA_ENDS,
        HISTORY_QUERY,
        "## Documents",
        DOCUMENT_INSTRUCTION,
        SCANNED_PAGES,
        LINES_BEGIN,
        LINES_END,
        DOCUMENT_QUERY,
        "",
    ]
).encode()
"""What is published as the prompt's DocumentReference: the words of both passes; its digest is part of the release."""

TOKENS_A_FINDING = 120
TOKENS_TO_SPARE = 64
VLLM_PRIORITY: dict[Priority, int] = {"stat": 0, "asap": 10, "urgent": 10, "routine": 20}
"""vLLM runs lower numbers first."""


def headings(stacks: list[int]) -> list[list[str]]:
    """What stands before each stack, of studies of so many stacks, oldest first."""
    return [
        [(STUDY if count == 1 else SERIES).format(study=study, series=series) for series in range(1, count + 1)]
        for study, count in enumerate(stacks, start=1)
    ]


def build_request(
    modality: str, labels: list[tuple[str, str]], volumes: list[VolumeItem], priority: Priority
) -> ModelRequest:
    """The request for `labels` (code, text) about the current ones of `volumes`; priors stand before them."""
    several = sum(volume.role == "current" for volume in volumes) > 1
    query = QUERY.format(labels=named(labels), series=SEVERAL_SERIES if several else "")
    return findings_request(INSTRUCTION.format(modality=modality), query, labels, volumes, priority)


def build_picture_request(
    labels: list[tuple[str, str]], pictures: list[VolumeItem], priority: Priority
) -> ModelRequest:
    """The request about the current ones of `pictures`, radiographs of one picture each: earlier picture, current picture, text."""
    return findings_request("", picture_query(named(labels), pictures), labels, pictures, priority)


def findings_request(
    instruction: str,
    query: str,
    labels: list[tuple[str, str]],
    items: list[VolumeItem],
    priority: Priority,
    *,
    measured: bool = True,
    sides: tuple[Side, ...] = get_args(Side),
) -> ModelRequest:
    """The request for `labels` in words of its own; `measured` and `sides` as in `answer_schema`."""
    current = [item.slices for item in items if item.role == "current"]
    return ModelRequest(
        instruction=instruction,
        volumes=items,
        query=query,
        answer_schema=answer_schema(
            [code for code, _ in labels], current, compared=len(items) > len(current), measured=measured, sides=sides
        ),
        max_tokens=TOKENS_A_FINDING * len(labels) + TOKENS_TO_SPARE,
        priority=VLLM_PRIORITY[priority],
    )


def named(labels: list[tuple[str, str]]) -> str:
    return "; ".join(f"{code} ({text})" for code, text in labels)
