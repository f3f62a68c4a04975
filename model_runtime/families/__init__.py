"""The families of models (`schemas.families`) as the runtime knows them: which folder holds which, how it is converted, checked and started.

Read `layout` (names and shapes of tensors), `convert` (a publisher's folder becomes one that vLLM serves), `check` (what is missing), `serve` (what
vLLM is started with). torch is imported only by what reads or writes weights.
"""
