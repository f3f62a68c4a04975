"""Which tests run in one process when several run side by side: those of a file, and files that share something that takes long to start.

pytest-xdist's own `loadgroup` writes a test's group into its node id, which pytest 9 no longer takes: the groups are named here instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

TORCH = ("families/test_check", "test_model_caches", "test_model_runtime", "test_quantize")
"""Files of tests/unit that load PyTorch and vLLM, which takes seven seconds."""
GROUPS = {
    "vllm": tuple(f"integration/test_model_{what}" for what in ("caches", "parity", "server", "serving")),
    "system": ("integration/test_journey_vllm", "integration/test_privacy", "integration/test_reproduce"),
    "quick": tuple(f"integration/test_{what}" for what in ("doctor_deployed", "faults", "journey", "tracing")),
    "drill": ("integration/test_drill",),
    "storm": ("integration/faults/test_storm",),
    "quantized": ("integration/test_quantized_models",),
    "families": ("integration/test_model_families",),
    "pictures": tuple(
        f"integration/test_{what}" for what in ("document_journey", "journey_pictures", "journey_slides")
    ),
    "upgrade": ("integration/test_upgrade",),
    "operations": ("integration/test_operations",),
    "reconcile": ("integration/test_reconcile",),
    "broker": ("contract/test_broker",),
    "pixels": ("integration/test_pixel_attacks",),
    "tls": ("contract/test_tls",),
    "torch": (
        "integration/test_model_surface",
        "contract/test_published_checkpoints",
        *(f"unit/{file}" for file in TORCH),
    ),
}
"""Group -> its files below tests/, longest group first: begun last, one of them would leave every other process waiting for its end."""

_GROUP_OF = {f"tests/{file}.py": group for group, files in GROUPS.items() for file in files}
_PLACES = {group: number for number, group in enumerate(GROUPS)}


def group_of(nodeid: str) -> str:
    """The group of a test; its file where that is in none."""
    file = nodeid.partition("::")[0]
    return _GROUP_OF.get(file, file)


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    return sorted(items, key=lambda item: _PLACES.get(group_of(item.nodeid), len(_PLACES)))


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each process whole groups, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
