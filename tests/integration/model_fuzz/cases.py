"""Each case from a seed and a number alone, so that any one of them can be sent again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from tests.integration.model_fuzz import containers, media, requests
from tests.integration.model_fuzz.grounds import Grounds, Made


@dataclass(frozen=True)
class Case:
    """One request. `refused` says that it must be: otherwise 200 is as good an answer."""

    name: str
    body: bytes
    refused: bool


MAKERS: dict[Callable[[Grounds, random.Random], Made], int] = {
    containers.broken_header: 18,
    containers.mangled: 14,
    containers.odd_volume: 5,
    containers.odd_pictures: 4,
    containers.wrong_route: 3,
    media.image: 10,
    media.url: 20,
    media.data: 6,
    media.identity: 8,
    requests.field: 8,
    requests.content: 5,
    requests.message: 4,
    requests.text: 4,
    requests.schema: 5,
    requests.raw_bytes: 6,
}


def case(grounds: Grounds, seed: int, number: int) -> Case:
    chance = random.Random(f"{seed}-{number}")
    maker = chance.choices(list(MAKERS), weights=list(MAKERS.values()))[0]
    name, body, refused = maker(grounds, chance)
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return Case(f"{number} {maker.__name__}: {name}", data, refused)
