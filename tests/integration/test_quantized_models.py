"""A checkpoint in 8 and in 4 bit, served by vLLM on the CPU and asked as the worker asks: the answer is the JSON, under the quantized name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schemas.inference import ModelRelease, VolumeItem
from schemas.volume import Volume, encode_volume
from services.bench.model_server import runtime, serving
from services.clients.model import VllmModel
from services.parts.environment import cache_folder
from services.store import FolderObjectStore
from workflows.reading.check import read_answer
from workflows.reading.prompt import build_request

pytestmark = pytest.mark.integration
LABELS = [("pulmonary-nodule", "Pulmonary nodule"), ("pleural-effusion", "Pleural effusion")]


@pytest.mark.parametrize(("bits", "name"), [("8", "untrained-w8a8"), ("4", "untrained-w4a16")])
def test_a_quantized_model_reads_a_study(tmp_path: Path, bits: str, name: str) -> None:
    built = runtime("build", "--cache", str(cache_folder()))
    out = runtime("quantize", "--checkpoint", str(built), "--bits", bits, "--out", str(tmp_path / "quantized"))
    release = ModelRelease.model_validate_json((out / "release.json").read_bytes())
    with serving(out, tmp_path / "server") as server:
        log = (tmp_path / "server" / "log").read_text()
        store = FolderObjectStore(server.media)
        voxels = np.random.default_rng(3).integers(-1024, 1500, (7, 96, 96)).astype(np.int16)
        digest = store.put(encode_volume(Volume(voxels, (5.0, 1.0, 1.0), "HU", "CT")))
        request = build_request("CT", LABELS, [VolumeItem(digest=digest, slices=7, role="current")], "routine")
        model = VllmModel(server.url, server.release_file, store.path)
        answer = model.ask(request)
        model.close()
    assert set(read_answer(answer, request).findings) == {code for code, _ in LABELS}
    assert answer.served_model_name == release.served_model_name
    assert release.name == name
    assert "quantization=compressed-tensors" in log, "vLLM served it as if nothing were quantized"
