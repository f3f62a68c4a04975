"""The question to the model, made of our own words alone: nothing of the chart, of DICOM tags or of pixels' text enters it.

Order: instruction, volumes (prior first), query last. With the text first and no query after the last slice, MedGemma's answers on CT degrade
(docs/adr/ADR-0006-images-before-history.md).
"""

from __future__ import annotations

from schemas.inference import MAX_LONG_AXIS_MM, ModelRequest, VolumeItem, answer_schema
from schemas.report import Priority
from workflows.reading.history_prompt import DATA_BEGINS, DATA_ENDS, HISTORY_INSTRUCTION, HISTORY_QUERY

INSTRUCTION = (
    "You are reading a {modality} study. Each study is given as a stack of slices; slice numbers count from 1 within each stack. "
    "{stacks} Judge from the images alone. Left and right are the patient's."
)
QUERY = (
    "For each of these findings say whether it is there, how likely, on which side, where and how it changed: {labels}. "
    "Slice numbers and boxes belong to the current study. box_2d is [y0, x0, y1, x1] in thousandths of the slice's height and width; "
    f"long_axis_mm is the longest diameter in millimetres, at most {MAX_LONG_AXIS_MM}. Answer with the JSON object alone."
)
ONE_STACK = "One stack follows: the current study."
TWO_STACKS = "Two stacks follow: first the prior study, then the current study."
PROMPT_TEMPLATE = "\n".join(
    [
        "# Longview reading prompt, version 2",
        INSTRUCTION,
        "## One stack",
        ONE_STACK,
        "## Two stacks",
        TWO_STACKS,
        QUERY,
        "## Second pass, without images",
        HISTORY_INSTRUCTION,
        DATA_BEGINS,
        DATA_ENDS,
        HISTORY_QUERY,
        "",
    ]
).encode()
"""What is published as the prompt's DocumentReference: the words of both passes; its digest is part of the release."""

TOKENS_A_FINDING = 120
TOKENS_TO_SPARE = 64
VLLM_PRIORITY: dict[Priority, int] = {"stat": 0, "asap": 10, "urgent": 10, "routine": 20}
"""vLLM runs lower numbers first."""


def build_request(
    modality: str, labels: list[tuple[str, str]], volumes: list[VolumeItem], priority: Priority
) -> ModelRequest:
    """The request for `labels` (code, text) about the last of `volumes`; a prior stands before it."""
    current, compared = volumes[-1], len(volumes) > 1
    return ModelRequest(
        instruction=INSTRUCTION.format(modality=modality, stacks=TWO_STACKS if compared else ONE_STACK),
        volumes=volumes,
        query=QUERY.format(labels="; ".join(f"{code} ({text})" for code, text in labels)),
        answer_schema=answer_schema([code for code, _ in labels], current.slices, compared=compared),
        max_tokens=TOKENS_A_FINDING * len(labels) + TOKENS_TO_SPARE,
        priority=VLLM_PRIORITY[priority],
    )
