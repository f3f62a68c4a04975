"""A model server without a model: the HTTP contract of our vLLM, answered by rule, for tests of faults and for benchmarks of everything else."""
