"""A volume of any depth becomes tokens inside vLLM: parser, limits, placeholder text, and the guards on what a client may send.

Voxels travel to the model as raw int16 of their native size (nine times smaller in the cache than SigLIP's pixels); it applies the windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from vllm.exceptions import VLLMValidationError
from vllm.model_executor.models.gemma3_mm import (
    Gemma3DummyInputsBuilder,
    Gemma3MultiModalProcessor,
    Gemma3ProcessingInfo,
)
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.media import MediaWithBytes
from vllm.multimodal.parse import MultiModalDataParser, ProcessorBatchItems
from vllm.multimodal.processing import PromptReplacement, PromptUpdateDetails
from vllm.multimodal.processing.processor import cached_encode

from model_runtime.identity import refuse_unsafe_identity
from model_runtime.volumes import DecodedVolume, identify, read_container
from schemas.volume import MAX_MODEL_SLICES, Volume

MODALITIES = ("video", "volume")
"""`video` is what the HTTP API can carry, `volume` is the offline modality of `LLM.generate`."""
VOLUME_TOKEN = "<unused10>"  # noqa: S105  a token of the vocabulary, not a secret
"""Stands for a volume in the prompt until it is replaced by its slices; a token that Gemma's vocabulary reserves."""
FIELDS = ("voxels", "depth", "hounsfield")


def slices_text(depth: int, image_sequence: str) -> str:
    """The text that a volume stands for: each slice's image, then `SLICE k`, counted from 1 (MedGemma 1.5's CT prompt)."""
    return "".join(f"{image_sequence}SLICE {k}" for k in range(1, depth + 1))


class VolumeItems(ProcessorBatchItems):
    """Volumes of one modality; the digest stands for the voxels wherever vLLM hashes an item."""

    def get_item_for_hash(self, index: int) -> str:
        return str(self.data[index].digest)


class VolumeDataParser(MultiModalDataParser):
    """Takes `DecodedVolume`, `Volume` or a container's bytes; idempotent, since vLLM parses cache misses twice."""

    def _get_subparsers(self) -> Mapping[str, Callable[[Any], Any]]:
        ours = {modality: partial(_parse_volumes, modality=modality) for modality in MODALITIES}
        return {**super()._get_subparsers(), **ours}


def _parse_volumes(data: Any, modality: str) -> VolumeItems | None:
    if data is None:
        return None
    items = data if isinstance(data, list) else [data]
    return VolumeItems([_parse_volume(item) for item in items], modality)


def _parse_volume(item: Any) -> DecodedVolume:
    media = item.media if isinstance(item, MediaWithBytes) else item
    if isinstance(media, DecodedVolume):
        return media
    if isinstance(media, Volume):
        return identify(media)
    if isinstance(media, bytes):
        return read_container(media)
    raise VLLMValidationError(
        "A volume must be sent as a volume container, whole, at each request.", parameter="video_url"
    )


class VolumeProcessingInfo(Gemma3ProcessingInfo):
    """What the model takes and how many tokens it costs."""

    def get_data_parser(self) -> VolumeDataParser:
        return VolumeDataParser(
            expected_hidden_size=self._get_expected_hidden_size(),
            allow_missing_mm_embeddings=self.allow_missing_mm_embeddings,
        )

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": None, "video": None, "volume": None}

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        """Those of images; the stock method would look for a video processor, which Gemma 3 has not."""
        return {
            "text_kwargs": set(),
            "images_kwargs": set(self.get_hf_processor().image_processor.valid_kwargs.__annotations__),
        }

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        image = int(self.get_hf_processor().image_seq_length)
        most = {"image": image} | dict.fromkeys(MODALITIES, MAX_MODEL_SLICES * image)
        return {modality: tokens for modality, tokens in most.items() if mm_counts.get(modality, 0) > 0}


class VolumeDummyInputs(Gemma3DummyInputsBuilder):
    """The largest inputs, for vLLM's memory profile."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        volumes = sum(mm_counts.get(modality, 0) for modality in MODALITIES)
        return str(super().get_dummy_text(mm_counts)) + VOLUME_TOKEN * volumes

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Any) -> dict[str, Any]:
        side = self.info.get_hf_config().vision_config.image_size
        voxels = np.zeros((MAX_MODEL_SLICES, side, side), np.int16)
        volume = identify(Volume(voxels, (1.0, 1.0, 1.0), "HU", "CT"))
        volumes = {modality: [volume] * mm_counts.get(modality, 0) for modality in MODALITIES}
        return {**super().get_dummy_mm_data(seq_len, mm_counts, mm_options), **volumes}


class VolumeProcessor(Gemma3MultiModalProcessor):
    """From items to what the model's `embed_multimodal` takes, and to the tokens that stand for them."""

    def _get_hf_mm_text(self, mm_counts: Mapping[str, int]) -> str:
        return str(self.dummy_inputs.get_dummy_text({"image": mm_counts.get("image", 0)}))

    def _call_hf_processor(self, hf_data: Mapping[str, object], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        rest: dict[str, Any] = dict(hf_data)
        volumes = {modality: rest.pop(f"{modality}s") for modality in MODALITIES if f"{modality}s" in rest}
        outputs = super()._call_hf_processor(rest, hf_kwargs) if "images" in rest else BatchFeature()
        for modality, items in volumes.items():
            _refuse_too_deep(items)
            outputs.update({f"{modality}_{field}": values for field, values in _model_inputs(items).items()})
        return outputs

    def _get_mm_hashes(self, inputs: Any) -> Any:
        refuse_unsafe_identity(inputs.mm_data_items, inputs.mm_uuid_items or {})
        _refuse_processor_options(inputs.hf_processor_mm_kwargs)
        return super()._get_mm_hashes(inputs)

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Any) -> Mapping[str, MultiModalFieldConfig]:
        ours = {
            f"{modality}_{field}": MultiModalFieldConfig.batched(modality, keep_on_cpu=field != "voxels")
            for modality in MODALITIES
            for field in FIELDS
        }
        return {**super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs), **ours}

    def _get_prompt_updates(self, mm_items: Any, hf_processor_mm_kwargs: Any, out_mm_kwargs: Any) -> Sequence[Any]:
        ours = [
            PromptReplacement(
                modality=modality,
                target=[self.info.get_tokenizer().get_vocab()[VOLUME_TOKEN]],
                replacement=partial(self._slices, out_mm_kwargs, modality),
            )
            for modality in MODALITIES
            if modality in mm_items
        ]
        if "image" not in mm_items:
            return ours
        return [*super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs), *ours]

    def _slices(self, out_mm_kwargs: Any, modality: str, index: int) -> PromptUpdateDetails:
        """The tokens of one volume; its depth is read from what was processed, since a cached item has no raw data."""
        tokenizer, processor = self.info.get_tokenizer(), self.info.get_hf_processor()
        depth = int(out_mm_kwargs[modality][index][f"{modality}_depth"].data)
        ids = cached_encode(tokenizer, slices_text(depth, processor.full_image_sequence), add_special_tokens=False)
        return PromptUpdateDetails.select_token_id(ids, tokenizer.get_vocab()[tokenizer.image_token])

    def _find_mm_placeholders(self, new_token_ids: list[int], mm_prompt_updates: Mapping[str, Any]) -> Any:
        """A volume begins with the very tokens of an image, and vLLM lets the first modality win: volumes go first."""
        volumes_first = sorted(mm_prompt_updates, key=lambda modality: modality not in MODALITIES)
        return super()._find_mm_placeholders(new_token_ids, {m: mm_prompt_updates[m] for m in volumes_first})


def _model_inputs(items: Sequence[DecodedVolume]) -> dict[str, Any]:
    """`voxels` is a list, one int16 [D, H, W] an item: items need not agree in shape."""
    return {
        "voxels": [torch.from_numpy(_native(item.volume)) for item in items],
        "depth": torch.tensor([item.depth for item in items]),
        "hounsfield": torch.tensor([item.volume.units == "HU" for item in items]),
    }


def _native(volume: Volume) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Writable voxels in the machine's byte order: the container's own bytes are read-only, which torch warns about."""
    return np.array(volume.voxels, dtype=np.int16)


def _refuse_too_deep(items: Sequence[DecodedVolume]) -> None:
    deepest = max(item.depth for item in items)
    if deepest > MAX_MODEL_SLICES:
        raise VLLMValidationError(
            f"A volume has {deepest} slices: choose at most {MAX_MODEL_SLICES}.", parameter="video_url"
        )


def _refuse_processor_options(options: Mapping[str, object]) -> None:
    """Options change the tokens of an item but not its identity: one request could spoil the cached item of another."""
    if any(name != "truncation" for name in options):
        raise VLLMValidationError("mm_processor_kwargs are not accepted.", parameter="mm_processor_kwargs")
