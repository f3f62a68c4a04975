"""What the unit tests share: one thread for each library that would take as many as there are processors, and what needs PyTorch side by side."""

from __future__ import annotations

import os

import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # read as numpy and torch are imported; two processes of tests fill the processors

NEED_TORCH = (
    "families/test_check.py",
    "families/test_convert.py",
    "test_model_caches.py",
    "test_model_runtime.py",
    "test_quantize.py",
)
"""vLLM and PyTorch take seven seconds to import: where the tests are shared among processes, as few of these as can be should pay for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what needs PyTorch: pytest-xdist gives each process a run of neighbours, or by `--dist loadgroup` a group as a whole."""
    for item in items:
        if str(item.path).endswith(NEED_TORCH):
            item.add_marker(pytest.mark.xdist_group("torch"))
    items.sort(key=lambda item: not str(item.path).endswith(NEED_TORCH))
