"""The model runtime: vLLM with volumes. Nothing outside this package imports it; it is reached over HTTP (`python -m model_runtime`).

A volume container (`schemas.volume`) of any depth goes in as one multimodal item: over HTTP as a `video_url` part, offline as the modality `volume`.
Read `processor` (container -> tokens), `architecture` (tokens -> embeddings), `checkpoint` (the untrained model), `server` (the process).
"""

from __future__ import annotations

ARCHITECTURE = "LongviewGemma3ForConditionalGeneration"
VIDEO_BACKEND = "longview_volume"
MEDIA_CONNECTOR = "longview_local"


def register() -> None:
    """vLLM's `vllm.general_plugins` entry point `longview`: called in every process of vLLM, perhaps more than once.

    Architecture, loader and connector are named by strings: nothing heavy is imported before vLLM asks for it.
    """
    from vllm import ModelRegistry
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY
    from vllm.multimodal.video import VIDEO_LOADER_REGISTRY

    from model_runtime.children import die_with_parent
    from model_runtime.media import ContainerLoader, LocalMediaConnector

    die_with_parent()
    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, "model_runtime.architecture:SliceVolumeGemma3")
    VIDEO_LOADER_REGISTRY.register(VIDEO_BACKEND)(ContainerLoader)
    MEDIA_CONNECTOR_REGISTRY.register(MEDIA_CONNECTOR)(LocalMediaConnector)
