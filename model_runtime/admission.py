"""What of a chat completion reaches vLLM: every field and every kind of content is decided here, and what is not named is refused. Pure.

vLLM 0.32 takes 68 fields and 16 kinds of content. Some carry media past the checks of a volume's identity, some change how an item is read but not
the key it is cached under, some let a client choose another template, another cache or another server. The worker needs few of them.

A request that is admitted is written anew from what was checked, so that vLLM's parser never sees a byte that ours has read otherwise (a key twice,
a number too long, half a surrogate pair).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Literal, NamedTuple

import orjson

from model_runtime.answer_rules import problem

Verdict = Literal["allowed", "checked", "refused"]


class Rule(NamedTuple):
    """What becomes of a field or a kind of content, and why."""

    verdict: Verdict
    reason: str


class NotAdmitted(Exception):
    """The request is answered with `status`. `param` names a field of the table below, `sentence` holds nothing of the request."""

    def __init__(self, param: str, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status
        self.param = param
        self.sentence = sentence


_WORKER = "the worker sends it; it holds no media"
_SAMPLING = "changes how tokens are drawn, and no more"
_NOT_ASKED = "nobody here asks for it"
_LOOSENS = "would loosen or replace the answer's schema"
_TEMPLATE = "would change how the conversation is written, and with it what stands where"
_UNKEYED = "changes how an item is read but not the key under which it is cached: one request could spoil another's"
_ELSEWHERE = "would send caches or media to another server, or fetch them from there"
_ECHO = "makes the answer repeat the prompt, which holds the chart"
_TOOLS = "the model has no tools"

FIELDS: dict[str, Rule] = {
    "messages": Rule("checked", "roles, and the content's kinds as in the table below"),
    "model": Rule("checked", "the served name and no other; vLLM would write any other into its log"),
    "temperature": Rule("allowed", _WORKER),
    "seed": Rule("allowed", _WORKER),
    "max_tokens": Rule("allowed", _WORKER),
    "max_completion_tokens": Rule("allowed", "the newer name of max_tokens"),
    "priority": Rule("allowed", "the worker alone has the token, so the urgency of a study is its to say"),
    "response_format": Rule("checked", "a JSON Schema made of a few keywords (`answer_rules`), or text"),
    "logprobs": Rule("allowed", "parity and calibration are measured with it"),
    "top_logprobs": Rule("allowed", "parity and calibration are measured with it"),
    "return_token_ids": Rule("allowed", "parity is measured with it; ids are no more than the text"),
    "min_tokens": Rule("allowed", "benchmarks ask for answers of equal length"),
    "ignore_eos": Rule("allowed", "benchmarks ask for answers of equal length"),
    "top_p": Rule("allowed", _SAMPLING),
    "top_k": Rule("allowed", _SAMPLING),
    "min_p": Rule("allowed", _SAMPLING),
    "stop": Rule("allowed", _SAMPLING),
    "stop_token_ids": Rule("allowed", _SAMPLING),
    "repetition_penalty": Rule("allowed", _SAMPLING),
    "stream": Rule("refused", "an error within a stream could repeat content; an answer is useful only whole"),
    "stream_options": Rule("refused", "belongs to stream"),
    "stream_interval": Rule("refused", "belongs to stream"),
    "mm_processor_kwargs": Rule("refused", _UNKEYED),
    "media_io_kwargs": Rule("refused", _UNKEYED),
    "cache_salt": Rule(
        "refused", "parts the prefix cache alone, not the cache of media: a false promise, and it defeats cached priors"
    ),
    "chat_template": Rule("refused", _TEMPLATE),
    "chat_template_kwargs": Rule("refused", _TEMPLATE),
    "documents": Rule("refused", _TEMPLATE),
    "add_generation_prompt": Rule("refused", _TEMPLATE),
    "continue_final_message": Rule("refused", _TEMPLATE),
    "add_special_tokens": Rule("refused", _TEMPLATE),
    "truncate_prompt_tokens": Rule("refused", "would cut slices or the question off in silence"),
    "truncation_side": Rule("refused", "belongs to truncate_prompt_tokens"),
    "structured_outputs": Rule("refused", _LOOSENS),
    "logit_bias": Rule("refused", _LOOSENS),
    "allowed_token_ids": Rule("refused", _LOOSENS),
    "bad_words": Rule("refused", _LOOSENS),
    "repetition_detection": Rule("refused", "would end an answer before its schema does"),
    "kv_transfer_params": Rule("refused", _ELSEWHERE),
    "ec_transfer_params": Rule("refused", _ELSEWHERE),
    "vllm_xargs": Rule("refused", "reaches whatever extension is installed"),
    "request_id": Rule("refused", "a client's name in the server's log; two alike would meet in the engine"),
    "session_id": Rule("refused", "a client's name in the server's log"),
    "user": Rule("refused", "could name a person"),
    "echo": Rule("refused", _ECHO),
    "prompt_logprobs": Rule("refused", _ECHO),
    "return_prompt_text": Rule("refused", _ECHO),
    "return_token_offsets": Rule("refused", _ECHO),
    "return_mm_kwargs": Rule("refused", "belongs to the render routes, which are closed"),
    "mm_payload": Rule("refused", "belongs to the render routes, which are closed"),
    "tools": Rule("refused", _TOOLS),
    "tool_choice": Rule("refused", _TOOLS),
    "parallel_tool_calls": Rule("refused", _TOOLS),
    "n": Rule("refused", "several answers to one question: which would be the finding?"),
    "use_beam_search": Rule("refused", "does not go with the answer's schema"),
    "length_penalty": Rule("refused", "belongs to use_beam_search"),
    "frequency_penalty": Rule("refused", "a JSON answer repeats its keys"),
    "presence_penalty": Rule("refused", "a JSON answer repeats its keys"),
    "reasoning_effort": Rule("refused", _NOT_ASKED),
    "thinking_token_budget": Rule("refused", _NOT_ASKED),
    "include_reasoning": Rule("refused", _NOT_ASKED),
    "watermarking": Rule("refused", _NOT_ASKED),
    "include_stop_str_in_output": Rule("refused", _NOT_ASKED),
    "skip_special_tokens": Rule("refused", "the answer would hold the model's control tokens"),
    "spaces_between_special_tokens": Rule("refused", _NOT_ASKED),
    "logprob_token_ids": Rule("refused", _NOT_ASKED),
    "return_tokens_as_token_ids": Rule("refused", _NOT_ASKED),
    "routed_experts_prompt_start": Rule("refused", _NOT_ASKED),
}

_EMBEDS = "a tensor in the place of an image: it has no bytes that a uuid could be the digest of, and is unpickled"
_AUDIO = "no model here hears"

PARTS: dict[str, Rule] = {
    "text": Rule("checked", "no token of the tokenizer that stands for media or for a turn of the conversation"),
    "video_url": Rule("checked", "a container by file: or data: URL; uuid: none, or the SHA-256 of the container"),
    "image_url": Rule("checked", "an image file by file: or data: URL; uuid: none, or the SHA-256 of the file"),
    "input_text": Rule("refused", "the same as text under another name"),
    "output_text": Rule("refused", "the same as text under another name"),
    "input_image": Rule("refused", "the same as image_url under another name"),
    "image_pil": Rule("refused", "an object of Python; it cannot come over HTTP, but a uuid in its place could"),
    "image_embeds": Rule("refused", _EMBEDS),
    "audio_embeds": Rule("refused", _EMBEDS),
    "video_embeds": Rule("refused", _EMBEDS),
    "prompt_embeds": Rule("refused", _EMBEDS),
    "audio_url": Rule("refused", _AUDIO),
    "input_audio": Rule("refused", _AUDIO),
    "thinking": Rule("refused", "what a model thought is no part of a question"),
    "refusal": Rule("refused", "no conversation is carried on"),
    "tool_reference": Rule("refused", _TOOLS),
}

ROLES = ("system", "user", "assistant")
_MEDIA = ("video_url", "image_url")
_MESSAGE_KEYS = {"role", "content"}
_UUID = re.compile(r"[0-9a-f]{64}")
MAX_MESSAGES = 64
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
    if request.get("model") != model:
        raise NotAdmitted("model", SENTENCES["model"], 404)
    _check_messages(request.get("messages"), control)
    _check_format(request.get("response_format"))
    return orjson.dumps(request)


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
