"""An item as the runtime carries it: decoded from its container, known by the SHA-256 of the container's bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from vllm.exceptions import VLLMValidationError

from schemas.errors import PermanentFailure
from schemas.pictures import MAX_PICTURES, Pictures, decode_container, encode_pictures
from schemas.volume import MAX_MODEL_SLICES, Volume, encode_volume

Kind = Literal["hounsfield", "stored", "pictures"]
"""How pixels become grey levels: by the windows of CT, by a volume's own extremes, or not at all since they are grey levels or colours already."""

MOST: dict[Kind, int] = {"hounsfield": MAX_MODEL_SLICES, "stored": MAX_MODEL_SLICES, "pictures": MAX_PICTURES}
MOST_PIXELS = 64 * 1024 * 1024
"""Of one slice or picture. The largest detectors have about 30 million; more would only be a way to exhaust the engine's memory."""


@dataclass(frozen=True)
class DecodedItem:
    """What a container holds, and the hexadecimal SHA-256 of the whole container: its identity in every cache."""

    content: Volume | Pictures
    digest: str

    @property
    def kind(self) -> Kind:
        if isinstance(self.content, Pictures):
            return "pictures"
        return "hounsfield" if self.content.units == "HU" else "stored"

    @property
    def shape(self) -> tuple[int, ...]:
        """[D, H, W] of a volume, [N, H, W, C] of pictures."""
        array = self.content.pixels if isinstance(self.content, Pictures) else self.content.voxels
        return tuple(array.shape)


def read_container(data: bytes) -> DecodedItem:
    """What a container holds (`schemas.volume`, `schemas.pictures`). `VLLMValidationError`, which vLLM answers as 400, if it is not one."""
    try:
        content = decode_container(data)
    except PermanentFailure as error:
        raise VLLMValidationError(f"The container is not valid: {error.hint}.", parameter="video_url") from error
    return DecodedItem(content, hashlib.sha256(data).hexdigest())


def identify(content: Volume | Pictures) -> DecodedItem:
    """What was never in a container, with the digest that its container would have."""
    digest = hashlib.sha256()
    for buffer in encode_pictures(content) if isinstance(content, Pictures) else encode_volume(content):
        digest.update(buffer)
    return DecodedItem(content, digest.hexdigest())


def require_servable(item: DecodedItem) -> None:
    """`VLLMValidationError` for more slices or pictures than the model takes, or for larger ones."""
    count, height, width = item.shape[:3]
    if count > MOST[item.kind]:
        raise VLLMValidationError(
            f"An item has {count} slices or pictures: choose at most {MOST[item.kind]}.", parameter="video_url"
        )
    if height * width > MOST_PIXELS:
        raise VLLMValidationError("A slice or picture is too large: make it smaller.", parameter="video_url")
