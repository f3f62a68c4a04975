"""What becomes of each field and each kind of content that vLLM 0.32 takes, and why: the table of the front (ADR-0020). Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

Verdict = Literal["allowed", "checked", "refused"]


class Rule(NamedTuple):
    """What becomes of a field or a kind of content, and why."""

    verdict: Verdict
    reason: str


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
    "prompt_logprobs": Rule("allowed", "parity is measured with it"),
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

BOUNDS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0, 2),
    "seed": (-(2**63), 2**63 - 1),
    "max_tokens": (1, 2**20),
    "max_completion_tokens": (1, 2**20),
    "min_tokens": (0, 2**20),
    "priority": (-(2**31), 2**31 - 1),
    "top_k": (-1, 2**20),
    "top_logprobs": (0, 20),
    "prompt_logprobs": (0, 20),
}
"""Least and most of each allowed number. vLLM checks some of them, and fails with 500 at others (`top_k` above 32 bits)."""
FRACTIONS = frozenset({"temperature", "top_p", "min_p", "repetition_penalty"})
"""Numbers that need not be whole."""
FLAGS = frozenset({"logprobs", "return_token_ids", "ignore_eos"})
