"""HL7's own validator over every kind of Bundle that we write, with current terminology and the profiles that bind us."""

from __future__ import annotations

import json
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.contract.written_bundles import written_bundles
from tests.real.parts import JAVA, need

pytestmark = pytest.mark.real


def validate(folder: Path, data: Path, bundles: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    built = need("validator")
    profiles = data / "fhir" / "profiles"
    folders = [str(built / "terminology")] + ([str(profiles)] if profiles.is_dir() else [])
    files = [folder / f"{name}.json" for name in bundles]
    for file, bundle in zip(files, bundles.values(), strict=True):
        for number, entry in enumerate(bundle["entry"]):
            entry.setdefault("fullUrl", f"https://hospital.example.org/fhir/x/{number}")
        file.write_text(json.dumps(bundle))
    command = [*JAVA, "-Xmx2g", "-cp", f"{built / 'validator.jar'}:{built / 'lib'}/*", "longview.real.Validate"]
    arguments = [str(len(folders)), *folders, *map(str, files)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.timeout(600)
def test_what_we_write_passes_hl7s_validator(tmp_path: Path, test_data: Path) -> None:
    bundles = written_bundles()
    run = validate(tmp_path, test_data, bundles)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert run.stdout.count(": 0 errors") == len(bundles)


@pytest.mark.timeout(600)
def test_the_validator_would_have_noticed(tmp_path: Path, test_data: Path) -> None:
    """The control: each of three broken Bundles is refused."""
    empty, device, status = (deepcopy(written_bundles()["result"]) for _ in range(3))
    by_type(empty, "DiagnosticReport")["category"][0]["coding"] = []
    by_type(device, "Device")["type"]["text"] = "an AI"
    by_type(status, "DiagnosticReport")["status"] = "bogus"
    run = validate(tmp_path, test_data, {"empty": empty, "device": device, "status": status})
    assert run.returncode == 1
    noticed = [name for name in ("empty", "device", "status") if f"{name}.json: 0 errors" not in run.stdout]
    expected = ["empty", "device", "status"] if (test_data / "fhir" / "profiles").is_dir() else ["empty", "status"]
    assert noticed == expected


def by_type(bundle: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind)
    return found
