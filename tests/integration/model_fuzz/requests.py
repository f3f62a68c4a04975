"""Requests that are none: fields, content, messages, texts, schemas and bytes that nobody should send."""

from __future__ import annotations

import random
from typing import Any

import orjson

from model_runtime.request_rules import FIELDS, PARTS
from tests.integration.model_fuzz.containers import good_volume
from tests.integration.model_fuzz.grounds import NUMBERS, Grounds, Made, ask, data_url, part

VALUES: list[Any] = [
    *NUMBERS,
    "\0",
    "é" * 500,
    "\u202e",
    "{{7*7}}",
    "%s%n",
    [1, [2, [3]]],
    {"type": "text"},
    5e-324,
    -0.0,
    2**64 - 1,
]


def field(grounds: Grounds, chance: random.Random) -> Made:
    """Any field with any value: those that the front lets through must not fail in vLLM either."""
    names = [name for name, rule in FIELDS.items() if rule.verdict != "refused" or chance.random() < 0.1]
    name = chance.choice(names)
    return (
        name,
        ask(grounds.model, part("video_url", data_url(good_volume(chance)))) | {name: chance.choice(VALUES)},
        False,
    )


def content(grounds: Grounds, chance: random.Random) -> Made:
    kind = chance.choice(list(PARTS))
    odd = chance.choice(
        [
            {"type": kind, kind: chance.choice(VALUES)},
            {"type": kind, kind: {"url": chance.choice(VALUES)}},
            {kind: "data:,", "uuid": "0" * 64},
            {"type": [kind]},
            {"type": kind, "text": "x", kind: "x"},
            chance.choice(VALUES),
        ]
    )
    return kind, ask(grounds.model, odd), False


def message(grounds: Grounds, chance: random.Random) -> Made:
    body = ask(grounds.model)
    message = body["messages"][0]
    message[chance.choice(["role", "content", "name", "tool_calls", "reasoning"])] = chance.choice(VALUES)
    body["messages"] = chance.choice([[message], [message] * 65, message, [[message]], [message, None], []])
    return "message", body, False


TEXTS = [
    "<start_of_image>",
    "<unused10>",
    "<image_soft_token>",
    "<end_of_turn>\n<start_of_turn>model",
    "<bos>",
    "<eos>",
]


def text(grounds: Grounds, chance: random.Random) -> Made:
    """Words that the tokenizer reads as media or as turns, and texts of unreasonable length."""
    if chance.random() < 0.7:
        word = chance.choice(TEXTS)
        text = {"type": "text", "text": f"History: {word * chance.choice([1, 100])} none."}
        return word, ask(grounds.model, text, part("video_url", data_url(good_volume(chance)))), True
    word = chance.choice(["a " * 60000, "\n" * 30000, "\0" * 200, "\U0001d4b3" * 900, "\u202e" * 300, "SLICE 1" * 50])
    return repr(word[:6]), ask(grounds.model, {"type": "text", "text": word}), False


def schema(grounds: Grounds, chance: random.Random) -> Made:
    """Schemas that no answer could follow, or that are none."""
    schema: Any = chance.choice(
        [
            {"type": "nonsense"},
            {"$ref": "#/nowhere"},
            {"$ref": "#"},
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            {"enum": []},
            {"type": "string", "pattern": chance.choice(["(", "(a+)+$", "(?=x)", "a{1,100000}", "\\"])},
            {"type": "integer", "minimum": 9, "maximum": 1},
            {"type": "integer", "minimum": chance.choice(VALUES)},
            {"allOf": [{"type": "string"}, {"type": "integer"}]},
            {"not": {}},
            {"type": "array", "minItems": 10**9, "items": {}},
            {"properties": {"é\0": {"const": chance.choice(VALUES)}}},
            {"anyOf": [{"const": n} for n in range(3000)]},
            chance.choice(VALUES),
        ]
    )
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": chance.choice(["findings", "", "\0", "x" * 900]), "schema": schema},
    }
    return str(schema)[:40], ask(grounds.model, response_format=wanted), False


def raw_bytes(grounds: Grounds, chance: random.Random) -> Made:
    """Bodies that are no JSON, or JSON that two parsers read in two ways."""
    sound = orjson.dumps(ask(grounds.model))
    sound_again = (
        sound[:-1]
        + b',"max_tokens":'
        + chance.choice([b"1", b"1e400", b"NaN", b"-Infinity", b"9" * 500, b"0x1"])
        + b"}"
    )
    body = chance.choice(
        [
            b"",
            sound[: chance.randrange(len(sound))],
            sound + chance.choice([b"}", b"\0", sound]),
            b"\xef\xbb\xbf" + sound,
            sound.decode().encode("utf-16"),
            sound.replace(
                b"Judge.", chance.choice([b"\\ud800", b"\\udfff\\ud800", b"\xed\xa0\x80", b"\xff", b"\\u0000", b"\\x"])
            ),
            b"[" * chance.choice([10, 5000, 100000]),
            b'{"a":' * 2000 + b"1" + b"}" * 2000,
            sound_again,
            b"null",
            chance.randbytes(200),
        ]
    )
    return repr(body[:20]), body, False
