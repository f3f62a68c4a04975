"""The control plane itself: what `make cluster` promises to whoever types it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.cluster.content import ROOMS
from scripts.cluster.plane import control_plane, kubectl
from services.parts.probes import NotReady
from services.parts.process import is_alive
from tests.helm.tools import ROOT


def test_stopped_nothing_is_left_and_started_again_its_data_is_there(tmp_path: Path) -> None:
    plane = control_plane(tmp_path / "state")
    plane.up()
    try:
        state = plane.settings.state
        kubectl(state, "create", "namespace", "kept")
        again = {outcome.state for outcome in plane.up()}
        processes = [record.process for record in plane.records().values() if record.process]
        assert again == {"running", "done"}
        assert set(plane.down()) == {"etcd", "apiserver", "controllers", "scheduler", "kwok"}
        assert not [process for process in processes if is_alive(process)]
        with pytest.raises(NotReady, match="refused"):
            kubectl(state, "get", "nodes")

        plane.up()
        assert "namespace/kept" in kubectl(state, "get", "namespaces", "-o", "name")
        assert set(kubectl(state, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()) == set(ROOMS)
    finally:
        plane.down()


def test_without_go_the_build_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "dirname").symlink_to(str(shutil.which("dirname")))
    done = _build({"PATH": str(tmp_path)}, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("cluster: Go is not installed: install Go 1.26 or newer")


def test_what_was_built_from_the_same_recipe_is_left_alone() -> None:
    """Seconds, not minutes: nothing is said to be built."""
    done = _build({}, None)
    assert done.returncode == 0
    assert "is being built" not in done.stdout


def _build(changed: dict[str, str], cache: Path | None) -> subprocess.CompletedProcess[str]:
    where = {"LONGVIEW_CACHE": str(cache)} if cache else {}
    script = str(ROOT / "scripts" / "cluster" / "build.sh")
    return subprocess.run(
        ["/bin/bash", script], env=os.environ | where | changed, capture_output=True, text=True, timeout=60, check=False
    )
