"""Which tests run in one process when several run side by side: those of a file, and files that share something that takes long to start.

pytest-xdist's own `loadgroup` writes a test's group into its node id, which pytest 9 no longer takes: the groups are named here instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

GROUPS = {
    "vllm": ("test_model_caches", "test_model_parity", "test_model_server", "test_model_serving"),
    "system": ("test_journey_vllm", "test_privacy", "test_reproduce"),
    "quick": ("test_doctor_deployed", "test_faults", "test_journey", "test_tracing"),
    "storm": ("faults/test_storm",),
    "drill": ("test_drill",),
    "families": ("test_model_families", "test_model_server_tls"),
    "pictures": ("test_document_journey", "test_journey_pictures", "test_journey_slides"),
    "quantized": ("test_quantized_models",),
    "pixels": ("test_pixel_attacks",),
    "upgrade": ("test_upgrade",),
    "operations": ("test_operations",),
    "reconcile": ("test_reconcile",),
}
"""Group -> its files in tests/integration, longest group first: begun last, one of them would leave every other process waiting for its end."""
TORCH = ("families/test_check", "families/test_convert", "test_model_caches", "test_model_runtime", "test_quantize")
"""Files of tests/unit that load PyTorch and vLLM, which takes seven seconds."""

_GROUP_OF = {f"tests/integration/{file}.py": group for group, files in GROUPS.items() for file in files}
_GROUP_OF |= {f"tests/unit/{file}.py": "torch" for file in TORCH}
_PLACES = {group: number for number, group in enumerate([*GROUPS, "torch"])}


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
