"""What an item may be called: by the SHA-256 of its own bytes, or by nothing.

Stock vLLM takes a client's `uuid` as the key of its caches without looking at the data, so that an equal uuid with other voxels or pixels would be
answered from the OTHER patient's study. Here a uuid is compared with the content, whatever the modality, before any cache is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media import MediaWithBytes


def refuse_unsafe_identity(data_items: Mapping[str, Any], uuids: Mapping[str, Sequence[str | None]]) -> None:
    """`VLLMValidationError`, which vLLM answers as 400, if any uuid is not the digest of the item that came with it."""
    for modality, given in uuids.items():
        for index, uuid in enumerate(given):
            if uuid is not None and uuid != _digest(data_items.get(modality), index):
                raise VLLMValidationError(
                    "The uuid of an item must be the SHA-256 of its bytes, in lower-case hexadecimal.", parameter="uuid"
                )


def _digest(items: Any, index: int) -> str | None:
    """Of the bytes that were sent; None for what has none (a tensor, a picture of Python's, a uuid in the place of data)."""
    data = getattr(items, "data", None)
    item = data[index] if isinstance(data, Sequence) and index < len(data) else None
    if isinstance(item, MediaWithBytes):
        return hashlib.sha256(item.original_bytes).hexdigest()
    digest = getattr(item, "digest", None)
    return digest if isinstance(digest, str) else None


def refuse_processor_options(options: Mapping[str, object]) -> None:
    """Options change the tokens of an item but not its identity: one request could spoil the cached item of another."""
    if any(name != "truncation" for name in options):
        raise VLLMValidationError("mm_processor_kwargs are not accepted.", parameter="mm_processor_kwargs")
