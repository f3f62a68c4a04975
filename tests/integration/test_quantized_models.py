"""A checkpoint in 8 and in 4 bit, served by vLLM on the CPU and asked as the worker asks: the answer is the JSON, under the quantized name.

The one in 8 bit stands behind certificates on both sides besides: it becomes ready, answers the worker, and is seen by probes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest

from model_runtime.settings import PREFIX
from schemas.inference import ModelRelease, VolumeItem
from schemas.volume import Volume, encode_volume
from services.bench.model_server import runtime
from services.clients.model import VllmModel
from services.parts.environment import cache_folder, processor_has
from services.parts.ports import free_port
from tests.contract.test_model_tls import issue
from tests.contract.tls import House
from tests.integration import model_server
from tests.integration.model_server import Server
from workflows.reading.check import read_answer
from workflows.reading.prompt import build_request

pytestmark = [pytest.mark.integration, pytest.mark.long]
LABELS = [("pulmonary-nodule", "Pulmonary nodule"), ("pleural-effusion", "Pleural effusion")]


def quantized(bits: str) -> Callable[[Path, int], tuple[list[str], Path]]:
    """A kind of `model_server.running`: the untrained checkpoint in so many bits."""

    def made(folder: Path, port: int) -> tuple[list[str], Path]:
        cache = str(cache_folder())
        built = runtime("build", "--cache", cache)
        out = runtime("quantize", "--checkpoint", str(built), "--bits", bits, "--out", str(folder / "quantized"))
        command = ["model_runtime", "serve", "--checkpoint", str(out), "--cache", cache, "--port", str(port)]
        return command, out / "release.json"

    return made


def reads_a_study(server: Server, model: VllmModel, name: str) -> None:
    """`model` answers with the JSON that it was asked for, as the release of this name, and vLLM knows that it is quantized."""
    release = ModelRelease.model_validate_json(server.release.read_bytes())
    voxels = np.random.default_rng(3).integers(-1024, 1500, (7, 96, 96)).astype(np.int16)
    digest = server.store.put(encode_volume(Volume(voxels, (5.0, 1.0, 1.0), "HU", "CT")))
    request = build_request("CT", LABELS, [VolumeItem(digest=digest, slices=7, role="current")], "routine")
    answer = model.ask(request)
    assert set(read_answer(answer, request).findings) == {code for code, _ in LABELS}
    assert answer.served_model_name == release.served_model_name
    assert release.name == name
    assert "quantization=compressed-tensors" in server.log.read_text(), "vLLM served it as if nothing were quantized"


@pytest.mark.skipif(processor_has("avx512f"), reason="this processor serves 4 bit")
def test_a_server_without_avx_512_refuses_4_bit_in_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="in 4 bit, for which vLLM needs a processor with AVX-512 or a GPU"),
        model_server.running(quantized("4"), tmp_path),
    ):
        pytest.fail("it became ready")


@pytest.mark.skipif(not processor_has("avx512f"), reason="no AVX-512 here, which vLLM needs for 4 bit on a CPU")
def test_a_model_in_4_bit_reads_a_study(tmp_path: Path) -> None:
    with (
        model_server.running(quantized("4"), tmp_path) as server,
        closing(server.model()) as model,
    ):
        reads_a_study(server, model, "untrained-w4a16")


def test_a_model_in_8_bit_behind_certificates_reads_a_study_and_a_probe_without_one_gets_its_word(
    tmp_path: Path,
) -> None:
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
    with model_server.running(quantized("8"), folder, environment) as server:
        assert (folder / "ready").read_text().startswith("https://127.0.0.1:")
        assert httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False).status_code == 200
        assert b"vllm:" in httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).content
        url = server.url.replace("http://", "https://")
        verify = house.trust.context()
        with closing(
            VllmModel(url, server.release, server.store.path, token=model_server.TOKEN, verify=verify)
        ) as model:
            reads_a_study(server, model, "untrained-w8a8")
