"""What a process of ours does not pay for as it starts: libraries of the model server, and those that one step in a hundred needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch", "vllm", "transformers", "zarr", "onnxruntime", "rapidocr", "cv2", "jsonschema", "scipy", "pandas", "pypdfium2", "pint",
}  # fmt: skip
"""`jsonschema` explains a refused event, `zarr` opens a slide, `onnxruntime` reads print: each is imported by the function that needs it."""


def test_a_process_starts_without_what_a_single_step_needs() -> None:
    wanted = sorted(
        wired("services/bootstrap.py") | wired("services/adapters.py") | {"services.cli", "services.archive.app"}
    )
    assert {"services.gateway.intake", "services.worker.service", "services.inbox.app", "services.codec.app"} <= set(
        wanted
    )
    script = (  # with tracing as it is without a setting, which is off
        f"import importlib, sys\nfor name in {wanted}:\n    importlib.import_module(name)\n"
        "from services.settings import Settings; from services.telemetry.process import traced\n"
        "with traced(Settings(), 'worker'):\n"
        f"    heavy = {HEAVY} & set(sys.modules)\n"
        "traces = {name for name in sys.modules if name.startswith('opentelemetry.sdk') or 'otlp' in name}\n"
        "print(sorted(heavy | traces))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def wired(file: str) -> set[str]:
    """Every module of ours that the file imports, within its functions too: there the processes and adapters are put together."""
    tree = ast.parse((ROOT / file).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name for name in names if name.startswith(("services.", "workflows.", "schemas."))}
