"""Whether a family of models can be asked a question, told before anything is sent. Tokens are counted high, without the family's tokenizer."""

from __future__ import annotations

from typing import get_args

from schemas.families import Kind, ModelFamily
from schemas.inference import ModelRequest
from schemas.volume import LABEL_TOKENS_A_SLICE
from workflows.timeline.line import estimate_tokens

TEMPLATE_TOKENS = 32
"""What a chat template writes around the parts of one request."""
STACK_TOKENS = 16
"""Around a stack; its heading, where the request does not write one out."""


def require_askable(family: ModelFamily, request: ModelRequest) -> None:
    """`PermanentFailure`: `model-cannot` for what the family does not take, `model-context` for more than it holds."""
    shown = {item.kind for item in request.volumes}
    for kind in [kind for kind in get_args(Kind) if kind in shown] or ["text"]:
        family.require(kind, _pictures(request), len(request.volumes))
    family.require_fits(prompt_tokens(family, request), request.max_tokens)


def prompt_tokens(family: ModelFamily, request: ModelRequest) -> int:
    """At most so many tokens are the request's prompt, pictures included."""
    a_picture = family.tokens_a_picture + (LABEL_TOKENS_A_SLICE if family.transport == "container" else 0)
    headings = sum(STACK_TOKENS + estimate_tokens(item.heading or "") for item in request.volumes)
    seen = headings + a_picture * _pictures(request)
    return TEMPLATE_TOKENS + estimate_tokens(request.instruction) + estimate_tokens(request.query) + seen


def _pictures(request: ModelRequest) -> int:
    return sum(item.slices for item in request.volumes)
