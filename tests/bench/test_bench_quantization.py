"""What rounding saves and costs on this machine: size for certain, decoding on every machine that was tried; prefill only must not fall apart."""

from __future__ import annotations

import pytest

from services.bench.quantization import WITHOUT_INT4, served_here
from services.bench.run import run_bench


@pytest.mark.bench
def test_rounded_weights_are_smaller_and_decode_faster() -> None:
    told = run_bench("quantization")
    ratios = told["ratios"]
    assert ratios["int8_to_bf16_size"] <= 0.55
    assert ratios["int8_to_bf16_memory"] < 1
    assert ratios["int8_to_bf16_decode"] >= 1
    assert ratios["int8_to_bf16_prefill"] >= 0.6
    assert told["agreement"]["bf16"]["equal_tokens"] >= 0.9, "the measure itself is noise"
    assert ratios["int8_equal_tokens"] > 0
    if "int4" not in served_here():
        assert WITHOUT_INT4 in told["notes"]
        return
    assert ratios["int4_to_bf16_size"] <= 0.3
    assert ratios["int4_to_bf16_memory"] < 1
    assert ratios["int4_to_bf16_prefill"] >= 0.4
    assert ratios["int8_equal_tokens"] > ratios["int4_equal_tokens"] > 0
