"""The server process: vLLM's own OpenAI server with our arguments, started fast on a CPU, and said to be ready once it has answered.

Imported only after the environment is set (`serving.environment`): vLLM reads it on import.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop
from vllm.entrypoints.launchers.api_server.entry import build_and_serve, build_async_engine_client
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.launchers.launcher import setup_server
from vllm.platforms import current_platform
from vllm.utils.argparse_utils import FlexibleArgumentParser

from model_runtime.children import forked_children_die_with_parent
from model_runtime.serving import CPU_ARGUMENTS, Serving, arguments
from model_runtime.warm_up import say_ready, wait_until_ready
from schemas.errors import PartUnavailable
from schemas.families import ModelFamily, family_of

PATIENCE = 600.0


def run(serving: Serving, ready_file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT; returns once every child has ended."""
    extra = _prepare_fork() if current_platform.is_cpu() else ()
    parsed = _parse([*arguments(serving), *extra])
    url = f"http://{serving.host}:{serving.port}"
    uvloop.run(_serve(parsed, url, ready_file, family_of(serving.release.family)))


def _parse(argument_list: list[str]) -> Namespace:
    parser = make_arg_parser(FlexibleArgumentParser(prog="model_runtime serve"))
    parsed: Namespace = parser.parse_args(argument_list)
    validate_parsed_serve_args(parsed)
    return parsed


async def _serve(parsed: Namespace, url: str, ready_file: Path | None, family: ModelFamily) -> None:
    """vLLM's `run_server` with two steps of ours: the scheduling policy is asserted, and the server warms up before it says that it is ready."""
    address, listener = setup_server(parsed, reuse_port=False)
    with contextlib.closing(listener):
        async with build_async_engine_client(parsed) as engine:
            _require_priority(engine.vllm_config)
            warming = asyncio.create_task(_warm_up(url, ready_file, family))
            with _watching(warming):
                shutdown = await build_and_serve(engine, address, listener, parsed)
        await shutdown
    if warming.done() and not warming.cancelled():
        warming.result()


@contextlib.contextmanager
def _watching(warming: asyncio.Task[None]) -> Iterator[None]:
    """A server that cannot answer its first question ends, as if it had been told to; one that ends first needs no answer."""

    def stop_if_failed(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            os.kill(os.getpid(), 15)

    warming.add_done_callback(stop_if_failed)
    try:
        yield
    finally:
        warming.cancel()


async def _warm_up(url: str, ready_file: Path | None, family: ModelFamily) -> None:
    await wait_until_ready(url, PATIENCE, family)
    if ready_file is not None:
        say_ready(ready_file, url)


def _require_priority(config: Any) -> None:
    if config.scheduler_config.policy != "priority":
        raise PartUnavailable(
            "model-policy", "vLLM does not schedule by priority: start it with --scheduling-policy priority."
        )


def _prepare_fork() -> tuple[str, ...]:
    """Fork the engine from this process, which has imported vLLM already, instead of importing it again (41 s -> 16 s on two cores).

    vLLM's CPU platform forces `spawn` and a worker process of its own while it checks its configuration, so both are set after that check. The worker
    process is there to give OpenMP its environment before it is loaded; ours has it already, and as a process of its own the worker would keep a core
    busy while idle. A process that has touched CUDA must not fork: on a GPU vLLM starts as it always does.
    """
    from vllm.platforms.cpu import CpuPlatform

    stock = CpuPlatform.check_and_update_config.__func__

    def then_fork(platform: Any, config: Any) -> None:
        stock(platform, config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
        config.parallel_config.distributed_executor_backend = "uni"

    CpuPlatform.check_and_update_config = classmethod(then_fork)
    forked_children_die_with_parent()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import vllm.v1.engine.async_llm
        import vllm.v1.worker.cpu_worker  # noqa: F401  imported before the fork, so that the child has it
    return CPU_ARGUMENTS
