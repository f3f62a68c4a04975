"""A volume as the runtime carries it: decoded from its container, known by the SHA-256 of the container's bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from vllm.exceptions import VLLMValidationError

from schemas.errors import PermanentFailure
from schemas.volume import Volume, decode_volume, encode_volume


@dataclass(frozen=True)
class DecodedVolume:
    """A volume and the hexadecimal SHA-256 of its whole container: its identity in every cache."""

    volume: Volume
    digest: str

    @property
    def depth(self) -> int:
        return int(self.volume.voxels.shape[0])


def read_container(data: bytes) -> DecodedVolume:
    """The volume of a container (`schemas.volume`). `VLLMValidationError`, which vLLM answers as 400, if it is not one."""
    try:
        volume = decode_volume(data)
    except PermanentFailure as error:
        raise VLLMValidationError(f"The volume container is not valid: {error.hint}.", parameter="video_url") from error
    return DecodedVolume(volume, hashlib.sha256(data).hexdigest())


def identify(volume: Volume) -> DecodedVolume:
    """A volume that was never a container, with the digest that its container would have."""
    digest = hashlib.sha256()
    for buffer in encode_volume(volume):
        digest.update(buffer)
    return DecodedVolume(volume, digest.hexdigest())
