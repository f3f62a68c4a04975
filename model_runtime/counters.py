"""What the caches saved and what they did not, for an operator: counters beside vLLM's own on `/metrics`.

They count in two processes, the API server's (files) and the engine's (images); `serving.environment` names the folder in which prometheus_client
adds them up, before either process imports it. vLLM itself counts what it finds in its prefix cache: `vllm:prefix_cache_hits_total` of
`_queries_total`, in tokens.
"""

from __future__ import annotations

from prometheus_client import Counter

ENCODED_ITEMS = Counter(
    "longview_encoder_items", "Volumes and series of pictures, by whether the image encoder had to run", ["result"]
)
"""result: encoded, or cached (what it made of the item before was still kept)."""
ENCODED_IMAGES = Counter("longview_encoder_images", "Slices and pictures that went through the image encoder")
FILES = Counter("longview_media_files", "Containers named by a file: URL, by whether the file was read", ["result"])
"""result: read, or known (read before and not changed since)."""
