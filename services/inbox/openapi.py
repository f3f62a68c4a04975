"""The OpenAPI document of the JSON API, at `/api/openapi.json`: what programs may send, and all that they may be answered with."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)
from pydantic import BaseModel

from services.inbox.schemas import Acknowledgement, Decision

BEARER, NAMED = "bearer", "named"
EITHER: list[dict[str, list[str]]] = [{BEARER: []}, {NAMED: []}]
"""What changes something belongs to somebody."""
NOT_TAKEN = {
    400: "It cannot be read, or something is missing: `detail` says what.",
    401: "Nobody knows who asks: a bearer token is wanted, without a login the header X-Longview-User.",
    403: "Whoever asks is in no group that may do this, or a page of another origin asks.",
    404: "There is no such result.",
    429: "That was too much at once.",
    503: "A part of the system is away.",
}
NOT_DECIDED = NOT_TAKEN | {
    409: "Somebody else was first, or newer images have taken the result's place; `code` says which.",
    413: "The body is larger than 64 KiB.",
    502: "The FHIR server has refused it.",
    504: "It is not known whether it was recorded: ask again how the result stands.",
}


@dataclass(frozen=True)
class Refusal:
    """Why something was not done, in a sentence for people; `code` for programs, where a decision was refused."""

    detail: str
    code: str | None = None


def answers(sentences: dict[int, str]) -> dict[int, ResponseSpec]:
    return {status: ResponseSpec(Refusal, False, sentence) for status, sentence in sentences.items()}


class Takes(Operation):
    """An operation with a body, which its handler reads itself, so that it can say in its own words what is missing."""

    body: type[BaseModel]

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        schema = self.body.model_json_schema()
        del schema["properties"]["reviewer"]  # who decides is never in the body
        schema["required"].remove("reviewer")
        self.request_body = RequestBody({"application/json": OpenAPIMediaType(schema=_inlined(schema))}, required=True)


class TakesDecision(Takes):
    body = Decision


class TakesAcknowledgement(Takes):
    body = Acknowledgement


def _inlined(schema: dict[str, Any]) -> Schema:
    """Litestar writes a schema object by its own fields; pydantic's definitions are put where they are named."""
    named = schema.pop("$defs", {})

    def put(found: Any) -> Any:
        if isinstance(found, list):
            return [put(one) for one in found]
        if not isinstance(found, dict):
            return found
        if "$ref" in found:
            return put(named[found["$ref"].rsplit("/", 1)[-1]])
        return {key: put(value) for key, value in found.items()}

    return _Written(put(schema))


class _Written(Schema):
    """A schema that stands as it was written."""

    def __init__(self, written: dict[str, Any]) -> None:
        super().__init__()
        self._written = written

    def to_schema(self) -> dict[str, Any]:
        return self._written


_SCHEMES: dict[str, SecurityScheme | Reference] = {
    BEARER: SecurityScheme(type="http", scheme="bearer", description="An access token of the hospital's issuer."),
    NAMED: SecurityScheme(
        type="apiKey",
        name="X-Longview-User",
        security_scheme_in="header",
        description="A name, where there is no login.",
    ),
}


def openapi_config(*, login: bool) -> OpenAPIConfig:
    return OpenAPIConfig(
        "Longview inbox",
        version("longview"),
        description="Results of the AI as JSON, and the same decisions as on the pages. Everything here is patient data.",
        path="/api",
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        components=Components(security_schemes=_SCHEMES),
        security=[{BEARER: []}] if login else None,
        use_handler_docstrings=True,
    )
