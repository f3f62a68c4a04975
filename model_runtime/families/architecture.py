"""LLaVA with the guard on what a client says a picture is; everything else is vLLM's own model."""

from __future__ import annotations

from typing import Any

from vllm.model_executor.models.llava import (
    LlavaDummyInputsBuilder,
    LlavaForConditionalGeneration,
    LlavaMultiModalProcessor,
    LlavaProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from model_runtime.identity import refuse_processor_options, refuse_unsafe_identity


class GuardedLlavaProcessor(LlavaMultiModalProcessor):
    """A picture's uuid must be the SHA-256 of the file that came with it."""

    def _get_mm_hashes(self, inputs: Any) -> Any:
        refuse_unsafe_identity(inputs.mm_data_items, inputs.mm_uuid_items or {})
        refuse_processor_options(inputs.hf_processor_mm_kwargs)
        return super()._get_mm_hashes(inputs)


@MULTIMODAL_REGISTRY.register_processor(
    GuardedLlavaProcessor, info=LlavaProcessingInfo, dummy_inputs=LlavaDummyInputsBuilder
)
class GuardedLlava(LlavaForConditionalGeneration):
    """Registered under `model_runtime.LLAVA_ARCHITECTURE`."""
