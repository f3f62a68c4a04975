"""How volumes, pictures and images enter over HTTP: a part with a `file:` or a `data:` URL, and nothing else.

vLLM's own connector also fetches http(s) URLs of a client's choice, waits on a named pipe, reads a file of any size and answers 500 to one that is
not there: this one refuses all of them with 400.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from vllm.exceptions import VLLMClientError, VLLMValidationError
from vllm.multimodal.media import MediaConnector, MediaWithBytes, VideoMediaIO
from vllm.multimodal.media.connector import global_thread_pool
from vllm.multimodal.media.image import ImageMediaIO
from vllm.multimodal.video import VideoLoader

from model_runtime.containers import DecodedItem, read_container
from model_runtime.media_files import bytes_of, path_of
from model_runtime.recall import KnownFiles

IMAGE_MAGICS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
"""PNG and JPEG. vLLM would try 35 formats: some were never written with an attacker in mind, some begin with nothing in particular."""
KNOWN = KnownFiles()
"""Of this process: vLLM makes a connector for each request."""
NOT_THE_CLIENTS = (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT)
"""What a disk or this process lacks: the same request may well be answered later, so it is no 400."""

Read = TypeVar("Read")


class ContainerLoader(VideoLoader):
    """Decodes a container; every option of a video (frames, rate) is meaningless and ignored."""

    @classmethod
    def load_bytes(cls, data: bytes, num_frames: int = -1, **kwargs: Any) -> DecodedItem:
        return read_container(data)


class LocalMediaConnector(MediaConnector):
    """Media from `file:` below the allowed folder and from `data:`; errors never repeat the URL. An image keeps its bytes (`identity`)."""

    def load_from_url(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        if isinstance(media_io, VideoMediaIO) and url[:5].lower() == "file:":
            return MediaWithBytes(self._below(lambda root: KNOWN.load(root, path_of(url))), b"")
        data = self._below(lambda root: bytes_of(url, root))
        if isinstance(media_io, ImageMediaIO) and not data.startswith(IMAGE_MAGICS):
            raise VLLMValidationError("An image must be a PNG or a JPEG file.", parameter="image_url")
        try:
            return media_io.load_bytes(data)
        except (VLLMClientError, MemoryError):
            raise
        except Exception as error:  # a decoder says of foreign bytes whatever it likes
            named = "image_url" if isinstance(media_io, ImageMediaIO) else "video_url"
            raise VLLMValidationError("The media cannot be decoded.", parameter=named) from error

    def _below(self, read: Callable[[Path], Read]) -> Read:
        """What `read` makes of the allowed folder."""
        root = self.allowed_local_media_path
        if root is None:
            raise _unreadable()
        try:
            return read(root)
        except VLLMClientError:
            raise
        except OSError as error:
            if error.errno in NOT_THE_CLIENTS:
                raise
            raise _unreadable() from error
        except ValueError as error:
            raise _unreadable() from error

    async def load_from_url_async(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(global_thread_pool, partial(self.load_from_url, url, media_io))


def _unreadable() -> VLLMValidationError:
    return VLLMValidationError(
        "The media cannot be read: send a file below the server's media folder or base64 data.", parameter="url"
    )
