"""vLLM itself behind certificates on both sides: it becomes ready, answers the worker, and is seen by probes."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from model_runtime.settings import PREFIX
from schemas.inference import ModelRequest, answer_schema
from services.clients.model import VllmModel
from services.parts.ports import free_port
from tests.contract.test_model_tls import issue
from tests.contract.tls import House
from tests.integration import model_server

pytestmark = [pytest.mark.integration]


def test_a_worker_with_a_certificate_gets_an_answer_and_a_probe_without_one_its_word(tmp_path: Path) -> None:
    house, port = House(tmp_path / "worker"), free_port()
    issue(house, tmp_path / "server")
    files = {
        "TLS_CERT_FILE": tmp_path / "server" / "tls.crt",
        "TLS_KEY_FILE": tmp_path / "server" / "tls.key",
        "CLIENT_CA_FILE": house.folder / "ca.crt",
        "PROBE_PORT": port,
    }
    environment = os.environ | {PREFIX + name: str(value) for name, value in files.items()}
    folder = tmp_path / "model"
    folder.mkdir()
    with model_server.running(model_server.vllm, folder, environment) as server:
        assert (folder / "ready").read_text().startswith("https://127.0.0.1:")
        assert httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False).status_code == 200
        assert b"vllm:" in httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).content
        url = server.url.replace("http://", "https://")
        token, verify = model_server.TOKEN, house.trust.context()
        with closing(VllmModel(url, server.release, server.store.path, token=token, verify=verify)) as model:
            question = ModelRequest(
                instruction="Judge.",
                volumes=[],
                query="Answer.",
                answer_schema=answer_schema(["mass"], [2], compared=False),
                max_tokens=400,
                priority=0,
            )
            assert model.ask(question).text
