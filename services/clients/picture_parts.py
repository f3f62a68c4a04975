"""Pictures of a container as parts of a request to a stock model: a PNG each, known by its own SHA-256."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from schemas.errors import PermanentFailure
from schemas.pictures import Pictures, decode_container

COMPRESSION = 1
"""zlib's fastest: the server is at hand, and it decodes each picture once."""


def picture_parts(container: Path) -> Iterator[dict[str, Any]]:
    """`image_url` parts with `data:` URLs. `PermanentFailure` (`model-cannot`) for a volume: its grey levels are no picture yet."""
    shown = decode_container(container.read_bytes())
    if not isinstance(shown, Pictures):
        raise PermanentFailure("model-cannot", "the model takes pictures and this is a volume: choose another model")
    for pixels in shown.pixels:
        written = io.BytesIO()
        # RGB always: the server converts grey pictures, and what it converts is another item of its cache.
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB").save(
            written, "PNG", compress_level=COMPRESSION
        )
        data = written.getvalue()
        url = "data:image/png;base64," + base64.b64encode(data).decode()
        yield {"type": "image_url", "image_url": {"url": url}, "uuid": hashlib.sha256(data).hexdigest()}
