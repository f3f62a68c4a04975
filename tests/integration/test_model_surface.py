"""Nothing of vLLM's surface is undecided: each of its routes, fields and kinds of content stands in a table of the front, and no table names what is
not there. A vLLM that grows a way in fails here before it is served."""

from __future__ import annotations

import base64
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_runtime.admission import control_pattern
from model_runtime.front import ROUTES, Front
from model_runtime.request_rules import BOUNDS, FIELDS, FLAGS, PARTS

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
TOKEN = "w" * 43


@pytest.fixture(scope="module")
def vllm_app() -> Any:
    """vLLM's own application with everything that it can be: for every task, and with its development routes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_SERVER_DEV_MODE", "1")
        patch.setenv("VLLM_PLUGINS", "longview")
        from vllm.entrypoints.launchers.app import build_app
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
        from vllm.tasks import FRONTEND_TASKS, GENERATION_TASKS, POOLING_TASKS
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        parsed = make_arg_parser(FlexibleArgumentParser()).parse_args([])
        tasks = (*GENERATION_TASKS, *POOLING_TASKS, *FRONTEND_TASKS, "render", "transcription", "realtime")
        return build_app(parsed, tasks, None)


async def test_every_other_route_of_vllm_is_closed(vllm_app: Any) -> None:
    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    front = Front(app, TOKEN, model="m", control=control_pattern([]), max_body=1024)
    routes = [(route.path, getattr(route, "methods", None) or ["GET", "POST"]) for route in vllm_app.routes]
    paths = {path for path, _ in routes}
    assert {"/invocations", "/inference/v1/generate", "/collective_rpc", "/v1/chat/completions/batch"} <= paths
    assert {path for _, path in ROUTES} - {"/ready"} <= paths
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=front), base_url="http://model") as client:
        for path, methods in routes:
            for method in methods:
                if (method, path) in ROUTES:
                    continue
                asked = path.replace("{response_id}", "resp_1")
                answer = await client.request(method, asked, headers={"Authorization": f"Bearer {TOKEN}"}, json={})
                assert answer.status_code == 404, path
                assert (await client.request(method, asked, json={})).status_code == 401, path
    assert reached == []


def test_every_field_that_vllm_takes_is_decided(vllm_app: Any) -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    assert set(FIELDS) == set(ChatCompletionRequest.model_fields)
    allowed = {name for name, rule in FIELDS.items() if rule.verdict == "allowed"}
    assert {*BOUNDS, *FLAGS, "stop", "stop_token_ids"} == allowed


def test_every_kind_of_content_that_vllm_parses_is_decided(vllm_app: Any) -> None:
    from vllm.renderers.chat_utils import MM_PARSER_MAP

    assert set(PARTS) == set(MM_PARSER_MAP)


@pytest.mark.parametrize("modality", ["image", "video", "volume", "audio", "vision_chunk"])
def test_an_item_may_be_called_by_the_digest_of_its_own_bytes_alone(vllm_app: Any, modality: str) -> None:
    from vllm.exceptions import VLLMValidationError
    from vllm.multimodal.media import MediaWithBytes

    from model_runtime.identity import refuse_unsafe_identity

    class Items:
        data = [MediaWithBytes(object(), b"mine"), MediaWithBytes(object(), b"other"), object(), None]

    mine, other = sha256(b"mine").hexdigest(), sha256(b"other").hexdigest()
    refuse_unsafe_identity({modality: Items}, {modality: [mine, other, None, None]})
    refuse_unsafe_identity({modality: Items}, {})
    for uuids in ([other], [mine, mine], [None, mine], [None, None, mine], [None] * 3 + [mine], [None] * 4 + [mine]):
        with pytest.raises(VLLMValidationError):
            refuse_unsafe_identity({modality: Items}, {modality: uuids})
    with pytest.raises(VLLMValidationError):
        refuse_unsafe_identity({}, {modality: [mine]})


def test_media_of_a_kind_that_nobody_sends_are_not_decoded(vllm_app: Any, tmp_path: Path) -> None:
    """vLLM would hand bytes to any of 35 decoders of images, and take JPEG frames for a video."""
    from vllm.exceptions import VLLMValidationError
    from vllm.multimodal.media.image import ImageMediaIO
    from vllm.multimodal.media.video import VideoMediaIO

    from model_runtime import VIDEO_BACKEND, register
    from model_runtime.media import LocalMediaConnector

    register()
    connector = LocalMediaConnector(allowed_local_media_path=str(tmp_path))
    image, video = ImageMediaIO(), VideoMediaIO(ImageMediaIO(), video_backend=VIDEO_BACKEND, num_frames=-1)
    for data in (b"GIF89a" + bytes(20), b"8BPS" + bytes(20), b"\x00\x00\x02" + bytes(20), b"%!PS", b""):
        with pytest.raises(VLLMValidationError):
            connector.load_from_url(_url("image/png", data), image)
    for kind in ("video/jpeg", "application/octet-stream"):
        with pytest.raises(VLLMValidationError):
            connector.load_from_url(_url(kind, b"\xff\xd8\xff" + bytes(20)), video)


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
