"""The served model over vLLM's OpenAI-compatible API."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import orjson
from pydantic import ValidationError

from schemas.errors import PartUnavailable, PermanentFailure, TransientFailure
from schemas.families import ModelFamily, family_of
from schemas.inference import ModelAnswer, ModelRelease, ModelRequest, VolumeItem
from services.clients.tokens import bearer
from services.operations.requests import MeasuredClient, kind_of_model
from workflows.reading.fits import require_askable

SEED = 0
OPERATIONS = {"/v1/chat/completions": "chat", "/v1/models": "models"}
STACK_HEADINGS = {"prior": "PRIOR STUDY", "current": "CURRENT STUDY"}
"""Of requests of earlier versions, which are asked again as they were."""


class VllmModel:
    """One vLLM server and the release it must serve; the release's family says what may be asked and how pixels travel.

    A container travels as a `video_url` part: `file://` where server and worker share the store's disk, else a `data:` URL. Its `uuid` is the
    SHA-256 of its container, which the runtime checks, so a cache can never serve another patient's volume. To a stock model pictures travel as PNG
    parts, each under the SHA-256 of its own file.
    """

    def __init__(
        self,
        base_url: str,
        release_file: Path,
        locate: Callable[[str], Path],
        *,
        media: Literal["file", "data"] = "file",
        token: str = "",
        timeout: float = 600.0,
        verify: ssl.SSLContext | bool = True,
        part: str = "model",
    ) -> None:
        """`part` is what metrics call this server."""
        self._release_file = release_file
        self._locate = locate
        self._media = media
        operations = {f"{urlsplit(base_url).path.rstrip('/')}{path}": word for path, word in OPERATIONS.items()}
        self._http = MeasuredClient(
            "model",
            kind_of_model,
            operations,
            server=part,
            base_url=base_url.rstrip("/"),
            auth=bearer(token),
            verify=verify,
            timeout=httpx.Timeout(timeout, connect=5.0),
        )

    def close(self) -> None:
        self._http.close()

    def release(self) -> ModelRelease:
        """The release that the worker was told to use; `PartUnavailable` if its file is not there."""
        try:
            return ModelRelease.model_validate_json(self._release_file.read_bytes())
        except (OSError, ValidationError) as error:
            raise PartUnavailable(
                "model-release", "the model's release.json cannot be read: check LONGVIEW_MODEL_RELEASE."
            ) from error

    def look(self) -> ModelRelease:
        """The release, if the server is ready and serves it; the same errors as `ask`."""
        release = self.release()
        self._send("GET", "/ready")
        self._check_served(release)
        return release

    def ask(self, request: ModelRequest) -> ModelAnswer:
        """One answer, without what the model thought aloud. `TransientFailure` while the server is away; `PermanentFailure` if the model cannot be
        asked this (before anything is sent), if the server refuses, or if it serves another model."""
        release = self.release()
        family = family_of(release.family)
        require_askable(family, request)
        self._check_served(release)
        body = orjson.loads(self._post("/v1/chat/completions", self._body(request, release)).content)
        choice = body["choices"][0]
        return ModelAnswer(
            text=family.answer_of(choice["message"]["content"] or ""),
            finish_reason=choice["finish_reason"] or "",
            prompt_tokens=body["usage"]["prompt_tokens"],
            completion_tokens=body["usage"]["completion_tokens"],
            served_model_name=body["model"],
        )

    def _check_served(self, release: ModelRelease) -> None:
        served = [model["id"] for model in orjson.loads(self._send("GET", "/v1/models").content)["data"]]
        if release.served_model_name not in served:
            raise PermanentFailure("model-release-mismatch", "the server serves another model than the release says")

    def _body(self, request: ModelRequest, release: ModelRelease) -> dict[str, Any]:
        content = [_text(request.instruction)]
        for item in request.volumes:
            heading = STACK_HEADINGS[item.role] if item.heading is None else item.heading
            content += [_text(heading), *self._parts(item, family_of(release.family))]
        content = [part for part in [*content, _text(request.query)] if part.get("text") != ""]
        return {
            "model": release.served_model_name,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "seed": SEED,
            "max_tokens": request.max_tokens,
            "priority": request.priority,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "findings", "strict": True, "schema": request.answer_schema},
            },
        }

    def _parts(self, item: VolumeItem, family: ModelFamily) -> list[dict[str, Any]]:
        path = self._locate(item.digest)
        if family.transport == "image_url":
            from services.clients.picture_parts import picture_parts

            return list(picture_parts(path))
        url = path.as_uri() if self._media == "file" else _data_url(path)
        return [{"type": "video_url", "video_url": {"url": url}, "uuid": item.digest}]

    def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self._send("POST", path, content=orjson.dumps(body), headers={"content-type": "application/json"})

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise TransientFailure("model-unavailable", "the model server does not answer") from error
        if response.status_code in (401, 403):
            raise TransientFailure(
                "model-token", "the model server does not take the worker's token: give both the same"
            )
        if response.status_code in (408, 429) or response.status_code >= 500:
            raise TransientFailure("model-unavailable", f"the model server answered {response.status_code}")
        if response.status_code != 200:
            raise PermanentFailure("model-refused", f"the model server refused the request with {response.status_code}")
        return response


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _data_url(path: Path) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(path.read_bytes()).decode()
