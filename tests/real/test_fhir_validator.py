"""HL7's own validator over every kind of Bundle that we write, with current terminology and the profiles that bind us."""

from __future__ import annotations

import json
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TEST_DATA
from tests.contract.written_bundles import written_bundles
from tests.real.parts import JAVA, need

pytestmark = pytest.mark.real
PROFILES = TEST_DATA / "fhir" / "profiles"
"""Definitions of AI Transparency on FHIR and IHE BALP, which are never committed; without them R4 itself is checked."""


def validate(folder: Path, bundles: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    built = need("validator")
    folders = [str(built / "terminology"), str(built / "extensions"), *([str(PROFILES)] if PROFILES.is_dir() else [])]
    files = [folder / f"{name}.json" for name in bundles]
    for file, bundle in zip(files, bundles.values(), strict=True):
        for number, entry in enumerate(bundle["entry"]):
            entry.setdefault("fullUrl", f"https://hospital.example.org/fhir/x/{number}")
        file.write_text(json.dumps(bundle))
    command = [*JAVA, "-Xmx2g", "-cp", f"{built / 'validator.jar'}:{built / 'lib'}/*", "longview.real.Validate"]
    arguments = [str(len(folders)), *folders, *map(str, files)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.timeout(600)
def test_what_we_write_passes_hl7s_validator(tmp_path: Path) -> None:
    bundles = written_bundles()
    run = validate(tmp_path, bundles)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert run.stdout.count(": 0 errors") == len(bundles)


@pytest.mark.timeout(600)
def test_the_validator_would_have_noticed(tmp_path: Path) -> None:
    """The control: each of four broken Bundles is refused; two break what only the profiles say."""
    empty, device, status, extension = (deepcopy(written_bundles()["result"]) for _ in range(4))
    by_type(extension, "Observation")["extension"] = [{"url": "http://hl7.org/fhir/misspelt", "valueCode": "x"}]
    by_type(empty, "DiagnosticReport")["category"][0]["coding"] = []
    by_type(device, "Device")["type"]["text"] = "an AI"
    by_type(status, "DiagnosticReport")["status"] = "bogus"
    broken = {"empty": empty, "status": status, "device": device, "extension": extension}
    run = validate(tmp_path, broken)
    assert run.returncode == 1
    noticed = [name for name in broken if f"{name}.json: 0 errors" not in run.stdout]
    assert noticed == (list(broken) if PROFILES.is_dir() else ["empty", "status"])


def by_type(bundle: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind)
    return found
