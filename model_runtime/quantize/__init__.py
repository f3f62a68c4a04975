"""8 and 4 bit weights by rounding to nearest, without data, in the compressed-tensors format that vLLM serves: `python -m model_runtime quantize`.

Read `layouts` (which tensors), `rounding` (a matrix becomes integers and scales), `folder` (a checkpoint becomes another one, shard by shard).
torch is imported only by what touches weights.
"""
