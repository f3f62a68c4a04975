"""Gemma 3 that also takes volumes, every slice through SigLIP: what the released MedGemma 1.5 weights need.

The checkpoint is an unchanged `Gemma3ForConditionalGeneration` (MedGemma 1.5's class and layout): this class adds no weight.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.model_executor.models.gemma3_mm import Gemma3ForConditionalGeneration
from vllm.multimodal import MULTIMODAL_REGISTRY

from model_runtime.processor import MODALITIES, VOLUME_TOKEN, VolumeDummyInputs, VolumeProcessingInfo, VolumeProcessor
from model_runtime.windows import slice_batches


@MULTIMODAL_REGISTRY.register_processor(VolumeProcessor, info=VolumeProcessingInfo, dummy_inputs=VolumeDummyInputs)
class SliceVolumeGemma3(Gemma3ForConditionalGeneration):
    """`embed_multimodal` is called once for each modality of a batch."""

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        return VOLUME_TOKEN if modality in MODALITIES else super().get_placeholder_str(modality, i)

    def embed_multimodal(self, **kwargs: Any) -> Any:
        for modality in MODALITIES:
            voxels = kwargs.get(f"{modality}_voxels")
            if voxels is not None:
                hounsfield = kwargs[f"{modality}_hounsfield"].flatten().tolist()
                return [self._embed_volume(v, bool(hu)) for v, hu in zip(voxels, hounsfield, strict=True)]
        return super().embed_multimodal(**kwargs)

    def _embed_volume(self, voxels: torch.Tensor, hounsfield: bool) -> torch.Tensor:
        """int16 [D, H, W] -> [D * tokens of an image, hidden size of the language model]."""
        size = self.config.vision_config.image_size
        batches = slice_batches(voxels, hounsfield=hounsfield, size=size, dtype=self.dtype)
        return torch.cat([self.multi_modal_projector(self.vision_tower(batch)).flatten(0, 1) for batch in batches])
