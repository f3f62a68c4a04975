"""What of a chat completion reaches vLLM: every field and every kind of content is decided here, and what is not named is refused. Pure.

vLLM 0.32 takes 68 fields and 16 kinds of content. Some carry media past the checks of a volume's identity, some change how an item is read but not
the key it is cached under, some let a client choose another template, another cache or another server. The worker needs few of them.

A request that is admitted is written anew from what was checked, so that vLLM's parser never sees a byte that ours has read otherwise (a key twice,
a number too long, half a surrogate pair).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import orjson

from model_runtime.answer_rules import problem
from model_runtime.request_rules import BOUNDS, FIELDS, FLAGS, FRACTIONS, PARTS


class NotAdmitted(Exception):
    """The request is answered with `status`. `param` names a field of the table below, `sentence` holds nothing of the request."""

    def __init__(self, param: str, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status
        self.param = param
        self.sentence = sentence


ROLES = ("system", "user", "assistant")
_MEDIA = ("video_url", "image_url")
_MESSAGE_KEYS = {"role", "content"}
_UUID = re.compile(r"[0-9a-f]{64}")
MAX_MESSAGES = 64
MAX_STOP = 64
MAX_PARTS = 4096
"""A study as N image parts with a label each, for the comparison with one volume part, and to spare."""


def control_pattern(tokens: Collection[str]) -> re.Pattern[str]:
    """Matches a text that holds one of `tokens`: those that the tokenizer reads as something else than text."""
    return re.compile("|".join(re.escape(token) for token in sorted(tokens) if token) or r"(?!)")


def admit(body: bytes, model: str, control: re.Pattern[str]) -> bytes:
    """The request as vLLM may see it. `NotAdmitted` if it asks for anything that the tables above do not let through."""
    try:
        request = orjson.loads(body)
    except ValueError as error:
        raise NotAdmitted("body", "The body is not JSON.") from error
    if not isinstance(request, dict):
        raise NotAdmitted("body", "The body is not a JSON object.")
    for name in request:
        rule = FIELDS.get(name)
        if rule is None:
            raise NotAdmitted("body", "The request has a field that is not known.")
        if rule.verdict == "refused":
            raise NotAdmitted(name, f"{name} is not accepted: {rule.reason}.")
        _check_value(name, request[name])
    if request.get("model") != model:
        raise NotAdmitted("model", SENTENCES["model"], 404)
    _check_messages(request.get("messages"), control)
    _check_format(request.get("response_format"))
    return orjson.dumps(request)


def _check_value(name: str, value: Any) -> None:
    """Of an allowed field; `null` is the same as nothing."""
    if value is None:
        return
    if name in BOUNDS:
        least, most = BOUNDS[name]
        kinds = (int, float) if name in FRACTIONS else (int,)
        if type(value) not in kinds or not least <= value <= most:
            raise NotAdmitted(name, f"{name} is a number from {least} to {most}.")
    elif name in FLAGS and type(value) is not bool:
        raise NotAdmitted(name, f"{name} is true or false.")
    elif name == "stop" and not _is_list(value, lambda each: isinstance(each, str) and 0 < len(each) <= MAX_STOP):
        raise NotAdmitted(name, f"stop is a list of at most {MAX_STOP} texts.")
    elif name == "stop_token_ids" and not _is_list(value, lambda each: type(each) is int and 0 <= each < 2**20):
        raise NotAdmitted(name, f"stop_token_ids is a list of at most {MAX_STOP} tokens.")


def _is_list(value: Any, right: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) <= MAX_STOP and all(right(each) for each in value)


def _check_messages(messages: Any, control: re.Pattern[str]) -> None:
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_MESSAGES:
        raise NotAdmitted("messages", f"messages is not a list of 1 to {MAX_MESSAGES} messages.")
    for message in messages:
        if not isinstance(message, dict) or set(message) != _MESSAGE_KEYS or message["role"] not in ROLES:
            raise NotAdmitted("messages", f"A message has a role ({', '.join(ROLES)}) and content, and nothing else.")
        content = message["content"]
        if isinstance(content, str):
            _check_text(content, control)
        elif isinstance(content, list) and 0 < len(content) <= MAX_PARTS:
            for part in content:
                _check_part(part, control)
        else:
            raise NotAdmitted("messages", f"The content of a message is text or 1 to {MAX_PARTS} parts.")


def _check_part(part: Any, control: re.Pattern[str]) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    rule = PARTS.get(kind) if isinstance(kind, str) else None
    if rule is None:
        raise NotAdmitted("messages", "A part of the content is of no known type.")
    if rule.verdict == "refused":
        raise NotAdmitted("messages", f"Parts of type {kind} are not accepted: {rule.reason}.")
    if kind == "text":
        if set(part) != {"type", "text"} or not isinstance(part["text"], str):
            raise NotAdmitted("messages", "A text part has text, and nothing else.")
        _check_text(part["text"], control)
    else:
        _check_medium(part, str(kind))


def _check_medium(part: dict[str, Any], kind: str) -> None:
    """vLLM looks at a part with a uuid by its keys and not by its type, and takes a uuid without data for what it has cached: neither gets there."""
    source = part.get(kind)
    if not set(part) <= {"type", kind, "uuid"} or not isinstance(source, dict) or set(source) != {"url"}:
        raise NotAdmitted(kind, f"A {kind} part has {kind} with a url, perhaps a uuid, and nothing else.")
    if not isinstance(source["url"], str) or source["url"][:5].lower() not in ("file:", "data:"):
        raise NotAdmitted("url", SENTENCES["url"])
    uuid = part.get("uuid")
    if uuid is not None and not (isinstance(uuid, str) and _UUID.fullmatch(uuid)):
        raise NotAdmitted("uuid", SENTENCES["uuid"])


def _check_text(text: str, control: re.Pattern[str]) -> None:
    if control.search(text):
        raise NotAdmitted(
            "messages", "A text holds a control token of the model: it would stand for media or end a turn."
        )


def _check_format(wanted: Any) -> None:
    if wanted is None or wanted == {"type": "text"}:
        return
    right = isinstance(wanted, dict) and set(wanted) == {"type", "json_schema"} and wanted["type"] == "json_schema"
    inner = wanted["json_schema"] if right else None
    if not isinstance(inner, dict) or not {"name", "schema"} <= set(inner) <= {"name", "schema", "strict"}:
        raise NotAdmitted("response_format", "response_format is a json_schema with name and schema, or text.")
    if not isinstance(inner["name"], str):
        raise NotAdmitted("response_format", "The name in response_format is text.")
    if wrong := problem(inner["schema"]):
        raise NotAdmitted("response_format", f"The schema of response_format {wrong}.")


SENTENCES = {
    "url": "Media are read from file: URLs below the server's media folder and from base64 data: URLs alone.",
    "uuid": "The uuid of an item must be the SHA-256 of its bytes, in lower-case hexadecimal.",
    "video_url": "The container is not valid, or holds more slices than the model takes.",
    "image_url": "The image cannot be read.",
    "mm_processor_kwargs": "mm_processor_kwargs are not accepted.",
    "model": "Another model is served here.",
    "response_format": "The schema of response_format cannot be followed.",
    "messages": "The messages cannot be read, or are longer than the model's context.",
    "input_tokens": "Prompt and answer together are longer than the model's context.",
    "max_tokens": "max_tokens is more than the model's context leaves.",
}
"""What is said in the place of vLLM's own words, which may repeat what was sent: by the field that it names."""
