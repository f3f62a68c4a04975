"""How volumes and pictures enter over HTTP: a `video_url` part with a `file:` or a `data:` URL, and nothing else.

vLLM's own connector also fetches http(s) URLs of a client's choice and answers 500 to a file that is not there: this one refuses both with 400.
"""

from __future__ import annotations

from typing import Any

from vllm.exceptions import VLLMClientError, VLLMValidationError
from vllm.multimodal.media import MediaConnector
from vllm.multimodal.video import VideoLoader

from model_runtime.containers import DecodedItem, read_container

UNREADABLE = (OSError, ValueError, NotImplementedError)


class ContainerLoader(VideoLoader):
    """Decodes a container; every option of a video (frames, rate) is meaningless and ignored."""

    @classmethod
    def load_bytes(cls, data: bytes, num_frames: int = -1, **kwargs: Any) -> DecodedItem:
        return read_container(data)


class LocalMediaConnector(MediaConnector):
    """Media from `file:` below the allowed folder and from `data:`; errors never repeat the URL."""

    def load_from_url(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        _require_local(url)
        try:
            return super().load_from_url(url, media_io, **kwargs)
        except VLLMClientError:
            raise
        except UNREADABLE as error:
            raise _unreadable() from error

    async def load_from_url_async(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        _require_local(url)
        try:
            return await super().load_from_url_async(url, media_io, **kwargs)
        except VLLMClientError:
            raise
        except UNREADABLE as error:
            raise _unreadable() from error


def _require_local(url: str) -> None:
    if url.partition(":")[0].lower() not in ("file", "data"):
        raise VLLMValidationError("Media are read from file: and data: URLs alone.", parameter="url")


def _unreadable() -> VLLMValidationError:
    return VLLMValidationError(
        "The media cannot be read: send a file below the server's media folder or base64 data.", parameter="url"
    )
