"""Gemma 3 that also takes volumes and series of pictures, every slice and picture through SigLIP: what the released MedGemma 1.5 weights need.

The checkpoint is an unchanged `Gemma3ForConditionalGeneration` (MedGemma 1.5's class and layout): this class adds no weight.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.model_executor.models.gemma3_mm import Gemma3ForConditionalGeneration
from vllm.multimodal import MULTIMODAL_REGISTRY

from model_runtime.processor import ITEM_TOKEN, KINDS, MODALITIES, ItemDummyInputs, ItemProcessingInfo, ItemProcessor
from model_runtime.windows import picture_batches, slice_batches


@MULTIMODAL_REGISTRY.register_processor(ItemProcessor, info=ItemProcessingInfo, dummy_inputs=ItemDummyInputs)
class SliceVolumeGemma3(Gemma3ForConditionalGeneration):
    """`embed_multimodal` is called once for each modality of a batch."""

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        return ITEM_TOKEN if modality in MODALITIES else super().get_placeholder_str(modality, i)

    def embed_multimodal(self, **kwargs: Any) -> Any:
        for modality in MODALITIES:
            pixels = kwargs.get(f"{modality}_pixels")
            if pixels is not None:
                kinds = kwargs[f"{modality}_kind"].flatten().tolist()
                return [self._embed(p, KINDS[kind]) for p, kind in zip(pixels, kinds, strict=True)]
        return super().embed_multimodal(**kwargs)

    def _embed(self, pixels: torch.Tensor, kind: str) -> torch.Tensor:
        """int16 [D, H, W] or uint8 [N, H, W, C] -> [images * tokens of an image, hidden size of the language model]."""
        size = self.config.vision_config.image_size
        if kind == "pictures":
            batches = picture_batches(pixels, size=size, dtype=self.dtype)
        else:
            batches = slice_batches(pixels, hounsfield=kind == "hounsfield", size=size, dtype=self.dtype)
        return torch.cat([self.multi_modal_projector(self.vision_tower(batch)).flatten(0, 1) for batch in batches])
