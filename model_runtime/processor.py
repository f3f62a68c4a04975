"""Volumes and series of pictures become tokens inside vLLM: parser, limits, placeholder tokens, and the guards on what a client may send.

An item is one container: a volume of any depth, or any number of pictures. Pixels travel to the model as they are, raw int16 or uint8 of their native
size (nine times smaller in the cache than SigLIP's pixels); it applies the windows.

Stock vLLM takes a client's `uuid` as the cache key without looking at the data, so that an equal uuid with other pixels would be answered from the
OTHER patient's study. Here an item's uuid must be the SHA-256 of its container, and an image may carry none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, get_args

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
from vllm.multimodal.processing.processor import PlaceholderFeaturesInfo, ResolvedPromptUpdate, cached_encode

from model_runtime.containers import MOST, DecodedItem, Kind, identify, read_container, require_servable
from schemas.pictures import Pictures
from schemas.volume import Volume

MODALITIES = ("video", "volume")
"""`video` is what the HTTP API can carry, `volume` is the offline modality of `LLM.generate`."""
ITEM_TOKEN = "<unused10>"  # noqa: S105  a token of the vocabulary, not a secret
"""Stands for an item in the prompt until it is replaced by its images; a token that Gemma's vocabulary reserves."""
FIELDS = ("pixels", "count", "kind")
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_IMAGES = max(MOST.values())


def slices_text(depth: int, image_sequence: str) -> str:
    """The text that a volume stands for: each slice's image, then `SLICE k`, counted from 1 (MedGemma 1.5's CT prompt), then a new line."""
    return "".join(f"{image_sequence}SLICE {k}" for k in range(1, depth + 1)) + "\n"


def pictures_tokens(count: int, image: list[int], four_newlines: int) -> list[int]:
    """What pictures stand for: their images without a word between. Two line feeds end an image and two begin the next; four are one token."""
    between = [*image[1:-1], four_newlines] * (count - 1)
    return [image[0], *between, *image[1:]]


class ContainerItems(ProcessorBatchItems):
    """Items of one modality; the digest stands for the pixels wherever vLLM hashes an item."""

    def get_item_for_hash(self, index: int) -> str:
        return str(self.data[index].digest)


class ContainerDataParser(MultiModalDataParser):
    """Takes `DecodedItem`, `Volume`, `Pictures` or a container's bytes; idempotent, since vLLM parses cache misses twice."""

    def _get_subparsers(self) -> Mapping[str, Callable[[Any], Any]]:
        ours = {modality: partial(_parse_items, modality=modality) for modality in MODALITIES}
        return {**super()._get_subparsers(), **ours}


def _parse_items(data: Any, modality: str) -> ContainerItems | None:
    if data is None:
        return None
    items = data if isinstance(data, list) else [data]
    return ContainerItems([_parse_item(item) for item in items], modality)


def _parse_item(item: Any) -> DecodedItem:
    media = item.media if isinstance(item, MediaWithBytes) else item
    if isinstance(media, DecodedItem):
        return media
    if isinstance(media, Volume | Pictures):
        return identify(media)
    if isinstance(media, bytes):
        return read_container(media)
    raise VLLMValidationError(
        "Volumes and pictures must be sent as a container, whole, at each request.", parameter="video_url"
    )


class ItemProcessingInfo(Gemma3ProcessingInfo):
    """What the model takes and how many tokens it costs."""

    def get_data_parser(self) -> ContainerDataParser:
        return ContainerDataParser(
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
        most = {"image": image} | dict.fromkeys(MODALITIES, MOST_IMAGES * image)
        return {modality: tokens for modality, tokens in most.items() if mm_counts.get(modality, 0) > 0}

    def item_tokens(self, count: int, kind: Kind) -> list[int]:
        """The tokens of an item of so many slices or pictures."""
        tokenizer, image = self.get_tokenizer(), self.get_hf_processor().full_image_sequence
        encode = partial(cached_encode, tokenizer, add_special_tokens=False)
        if kind == "pictures":
            return pictures_tokens(count, encode(image), tokenizer.get_vocab()["\n\n\n\n"])
        return list(encode(slices_text(count, image)))


class ItemDummyInputs(Gemma3DummyInputsBuilder):
    """The largest inputs, for vLLM's memory profile."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        items = sum(mm_counts.get(modality, 0) for modality in MODALITIES)
        return str(super().get_dummy_text(mm_counts)) + ITEM_TOKEN * items

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Any) -> dict[str, Any]:
        side = self.info.get_hf_config().vision_config.image_size
        largest = identify(Pictures(np.zeros((MOST_IMAGES, side, side, 3), np.uint8), "SM"))
        items = {modality: [largest] * mm_counts.get(modality, 0) for modality in MODALITIES}
        return {**super().get_dummy_mm_data(seq_len, mm_counts, mm_options), **items}


class ItemProcessor(Gemma3MultiModalProcessor):
    """From items to what the model's `embed_multimodal` takes, and to the tokens that stand for them."""

    info: ItemProcessingInfo

    def _get_hf_mm_text(self, mm_counts: Mapping[str, int]) -> str:
        return str(self.dummy_inputs.get_dummy_text({"image": mm_counts.get("image", 0)}))

    def _call_hf_processor(self, hf_data: Mapping[str, object], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        rest: dict[str, Any] = dict(hf_data)
        ours = {modality: rest.pop(f"{modality}s") for modality in MODALITIES if f"{modality}s" in rest}
        outputs = super()._call_hf_processor(rest, hf_kwargs) if "images" in rest else BatchFeature()
        for modality, items in ours.items():
            for item in items:
                require_servable(item)
            outputs.update({f"{modality}_{field}": values for field, values in _model_inputs(items).items()})
        return outputs

    def _get_mm_hashes(self, inputs: Any) -> Any:
        _refuse_unsafe_identity(inputs.mm_data_items, inputs.mm_uuid_items or {})
        _refuse_processor_options(inputs.hf_processor_mm_kwargs)
        return super()._get_mm_hashes(inputs)

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Any) -> Mapping[str, MultiModalFieldConfig]:
        ours = {
            f"{modality}_{field}": MultiModalFieldConfig.batched(modality, keep_on_cpu=field != "pixels")
            for modality in MODALITIES
            for field in FIELDS
        }
        return {**super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs), **ours}

    def _get_prompt_updates(self, mm_items: Any, hf_processor_mm_kwargs: Any, out_mm_kwargs: Any) -> Sequence[Any]:
        ours = [
            PromptReplacement(
                modality=modality,
                target=[self.info.get_tokenizer().get_vocab()[ITEM_TOKEN]],
                replacement=partial(self._images, out_mm_kwargs, modality),
            )
            for modality in MODALITIES
            if modality in mm_items
        ]
        if "image" not in mm_items:
            return ours
        return [*super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs), *ours]

    def _images(self, out_mm_kwargs: Any, modality: str, index: int) -> PromptUpdateDetails:
        """The tokens of one item; its count is read from what was processed, since a cached item has no raw data."""
        tokenizer, item = self.info.get_tokenizer(), out_mm_kwargs[modality][index]
        count, kind = int(item[f"{modality}_count"].data), KINDS[int(item[f"{modality}_kind"].data)]
        tokens = self.info.item_tokens(count, kind)
        return PromptUpdateDetails.select_token_id(tokens, tokenizer.get_vocab()[tokenizer.image_token])

    def _apply_token_matches_with_placeholders(self, token_ids: list[int], mm_prompt_updates: Any) -> Any:
        """Where each item's tokens are, counted from what stands before them.

        The stock method searches for them instead, and would take an image for the first of pictures, or the reverse: they begin with equal tokens.
        """
        new_ids, applied = self._apply_token_matches(token_ids, mm_prompt_updates)
        found: dict[str, list[PlaceholderFeaturesInfo]] = {modality: [] for modality in mm_prompt_updates}
        if all(index is not None for indices in applied.values() for index in indices):
            for place in self._places(token_ids, new_ids, mm_prompt_updates):
                found[place.modality].append(place)
        return new_ids, applied, found

    def _places(self, token_ids: list[int], new_ids: list[int], updates: Any) -> Iterator[PlaceholderFeaturesInfo]:
        """In the order of the prompt. Line feeds are counted one by one, since those of neighbours become one token."""
        vocabulary = self.info.get_tokenizer().get_vocab()
        feeds = {vocabulary["\n" * count]: count for count in (1, 2, 3, 4)}
        token_at = [k for k, token in enumerate(new_ids) for _ in range(feeds.get(token, 1))]
        queues = _queues(updates)
        begin = 0
        for token in token_ids:
            if not queues.get(token):
                begin += feeds.get(token, 1)
                continue
            update = queues[token].popleft()
            tokens, is_embed = update.content.full, update.content.is_embed
            mask = is_embed(tokens) if is_embed is not None else None
            yield PlaceholderFeaturesInfo(update.modality, update.item_idx, token_at[begin], tokens, mask)
            begin += sum(feeds.get(token, 1) for token in tokens)


def _queues(updates: Any) -> dict[int, deque[ResolvedPromptUpdate]]:
    """The items that wait for each token of the prompt, in vLLM's own order: `video` before `volume`, for they share a token."""
    queues: dict[int, deque[ResolvedPromptUpdate]] = {}
    for items in updates.values():
        for item in items:
            queues.setdefault(item[0].target[0], deque()).append(item[0])
    return queues


def _model_inputs(items: Sequence[DecodedItem]) -> dict[str, Any]:
    """`pixels` is a list, one int16 [D, H, W] or uint8 [N, H, W, C] an item: items need not agree in shape."""
    return {
        "pixels": [torch.from_numpy(_native(item.content)) for item in items],
        "count": torch.tensor([item.shape[0] for item in items]),
        "kind": torch.tensor([KINDS.index(item.kind) for item in items]),
    }


def _native(content: Volume | Pictures) -> np.ndarray[Any, Any]:
    """Writable and in the machine's byte order: the container's own bytes are read-only, which torch warns about."""
    if isinstance(content, Pictures):
        return np.array(content.pixels)
    return np.array(content.voxels, dtype=np.int16)


def _refuse_unsafe_identity(data_items: Mapping[str, Any], uuids: Mapping[str, Sequence[str | None]]) -> None:
    if any(uuid is not None for uuid in uuids.get("image", ())):
        raise VLLMValidationError("An image may not carry a uuid: it would be taken for its content.", parameter="uuid")
    for modality in MODALITIES:
        given = uuids.get(modality) or ()
        for item, uuid in zip(data_items.get(modality) or (), given, strict=False):
            if uuid is not None and uuid != item.digest:
                raise VLLMValidationError(
                    "The uuid of an item must be the SHA-256 of its container, in lower-case hexadecimal.",
                    parameter="uuid",
                )


def _refuse_processor_options(options: Mapping[str, object]) -> None:
    """Options change the tokens of an item but not its identity: one request could spoil the cached item of another."""
    if any(name != "truncation" for name in options):
        raise VLLMValidationError("mm_processor_kwargs are not accepted.", parameter="mm_processor_kwargs")
