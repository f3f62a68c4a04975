"""What the image encoder made of recent items, kept in the machine's memory: a prior that was read yesterday is not encoded again.

vLLM keeps the tokens of four studies at most, on the device and for the prompts of the moment; a study's tokens take 111 MB of MedGemma 1.5
(85 slices x 256 tokens x 2,560 values of 16 bits), so that a few gigabytes of the machine's memory hold the priors of a day.
"""

from __future__ import annotations

from collections import OrderedDict

import torch


class EncodedCache:
    """Digest of an item's container -> its tokens [tokens, hidden size]; what was not asked for longest makes room. One thread uses it."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held = 0
        self._tokens: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    def get(self, digest: bytes, device: torch.device) -> torch.Tensor | None:
        tokens = self._tokens.get(digest)
        if tokens is None:
            return None
        self._tokens.move_to_end(digest)
        return tokens.to(device)

    def put(self, digest: bytes, tokens: torch.Tensor) -> None:
        """Nothing is kept of an item that would not fit."""
        size = tokens.numel() * tokens.element_size()
        if size > self._most or digest in self._tokens:
            return
        while self._held + size > self._most:
            _, oldest = self._tokens.popitem(last=False)
            self._held -= oldest.numel() * oldest.element_size()
        self._tokens[digest] = tokens.detach().to("cpu")
        self._held += size
