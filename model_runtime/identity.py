"""The guard on what a client may say an item is: one for every model that takes pixels.

Stock vLLM takes a client's `uuid` as the cache key without looking at the data, so that an equal uuid with other pixels would be answered from the
OTHER patient's item. Here the uuid of an item must be the SHA-256 of the bytes that came with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media import MediaWithBytes


def refuse_unsafe_identity(data_items: Mapping[str, Any], uuids: Mapping[str, Sequence[str | None]]) -> None:
    """`VLLMValidationError`, which vLLM answers as 400, for a uuid that is not the digest of its own item."""
    for modality, given in uuids.items():
        if not any(uuid is not None for uuid in given or ()):
            continue
        items = data_items[modality].get_all_items_for_hash() if modality in data_items else [None] * len(given)
        for item, uuid in zip(items, given, strict=True):
            if uuid is not None and uuid != _digest(item):
                raise VLLMValidationError(
                    "The uuid of an item must be the SHA-256 of its bytes, in lower-case hexadecimal.", parameter="uuid"
                )


def _digest(item: Any) -> str | None:
    """A container's items stand for themselves by their digest (`VolumeItems`); of a picture the bytes are hashed here; what is neither has none."""
    if isinstance(item, MediaWithBytes):
        return hashlib.sha256(item.original_bytes).hexdigest()
    return item if isinstance(item, str) else None


def refuse_processor_options(options: Mapping[str, object]) -> None:
    """Options change the tokens of an item but not its identity: one request could spoil the cached item of another."""
    if any(name != "truncation" for name in options):
        raise VLLMValidationError("mm_processor_kwargs are not accepted.", parameter="mm_processor_kwargs")
