"""What the unit tests share: one thread for each library that would take as many as there are processors, and what needs PyTorch side by side."""

from __future__ import annotations

import os

import pytest

from tests.groups import group_of

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # read as numpy and torch are imported; two processes of tests fill the processors


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what needs PyTorch: pytest-xdist gives each process a run of neighbours (`--dist worksteal`)."""
    items.sort(key=lambda item: group_of(item.nodeid) != "torch")
