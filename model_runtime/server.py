"""The server process: vLLM's OpenAI app behind our front, started fast on a CPU, ready once it has answered, ended without leaving a caller alone.

Imported only after the environment is set (`serving.environment`): vLLM reads it on import.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import warnings
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import httpx
import uvicorn
import uvloop
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.launchers.launcher import NoSignalServer, setup_server, terminate_if_errored
from vllm.platforms import current_platform
from vllm.utils.argparse_utils import FlexibleArgumentParser

from model_runtime.admission import control_pattern
from model_runtime.children import forked_children_die_with_parent
from model_runtime.front import Front
from model_runtime.promises import require_kernels, require_promises
from model_runtime.serving import CPU_ARGUMENTS, Serving, arguments, family, gpu_arguments, require_room
from model_runtime.settings import ServerSettings
from model_runtime.tls import keep_fresh, probe_config, server_context, uvicorn_options
from model_runtime.warm_up import say_ready, wait_until_ready

PATIENCE = 600.0
ENGINE_POLL_SECONDS = 5.0
CLOSE_SECONDS = 5
"""How long connections may take to close once every answer has been given."""


def run(serving: Serving, token: str) -> None:
    """Serve until SIGTERM or SIGINT; returns once every child has ended."""
    if current_platform.is_cpu():
        require_kernels(serving.checkpoint)
        extra = list(_prepare_fork())
    else:
        require_room(serving, current_platform.get_device_total_memory())
        extra = gpu_arguments(serving)
    sending: Callable[[], AbstractContextManager[None]] = nullcontext
    if url := serving.settings.traces_url:
        from model_runtime.tracing import ENDPOINT, ServerTraces

        traced = ServerTraces(url)
        traced.install()
        extra, sending = [*extra, ENDPOINT, url], traced.sending
    parsed = _parse([*arguments(serving), *extra])
    uvloop.run(_serve(parsed, serving, token, sending))


def _parse(argument_list: list[str]) -> Namespace:
    parser = make_arg_parser(FlexibleArgumentParser(prog="model_runtime serve"))
    parsed: Namespace = parser.parse_args(argument_list)
    validate_parsed_serve_args(parsed)
    return parsed


async def _serve(
    parsed: Namespace, serving: Serving, token: str, sending: Callable[[], AbstractContextManager[None]]
) -> None:
    """vLLM's `run_server` with steps of ours: promises are looked up, the front stands before the app, questions are answered before it is said to be
    ready, and answers that are owed are given before it ends."""
    tls = server_context(serving.settings)
    _, listener = setup_server(parsed, reuse_port=False)
    with contextlib.closing(listener):
        async with build_async_engine_client(parsed) as engine:
            require_promises(engine.vllm_config, serving)
            app = await _application(engine, parsed)
            front = Front(
                app,
                token,
                model=serving.release.served_model_name,
                control=_control(engine),
                max_body=serving.settings.max_body_mib * 1024**2,
            )
            server = app.state.server = _http_server(front, parsed, tls)
            warming = asyncio.create_task(_warm_up(front, serving, token))
            with sending():
                async with (
                    _beside(front, serving.settings, tls),
                    _ending(server, front, engine, warming, serving.settings.drain_seconds),
                ):
                    await server.serve(sockets=[listener])
    if warming.done() and not warming.cancelled():
        warming.result()


async def _application(engine: Any, parsed: Namespace) -> Any:
    tasks = await engine.get_supported_tasks()
    app = build_app(parsed, tasks, engine.model_config)
    await init_app_state(engine, app.state, parsed, tasks)
    return app


def _control(engine: Any) -> Any:
    """What the tokenizer reads as a token of its own in any text: media, turns, and the reserved tokens that stand for volumes."""
    tokenizer = engine.get_tokenizer()
    added = [(str(token), token.special) for token in tokenizer.added_tokens_decoder.values()]
    own = {text for text, special in added if special or text.startswith("<unused")}
    return control_pattern({*tokenizer.all_special_tokens, *own})


@contextlib.asynccontextmanager
async def _beside(front: Front, settings: ServerSettings, tls: ssl.SSLContext | None) -> AsyncIterator[None]:
    """What runs beside the server: its certificate is kept fresh, and probes have a port of their own."""
    tasks = [asyncio.create_task(keep_fresh(tls, settings))] if tls is not None else []
    probes = NoSignalServer(probe_config(front, settings)) if settings.probe_port else None
    answering = asyncio.create_task(probes.serve()) if probes is not None else None
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if probes is not None and answering is not None:
            probes.should_exit = True
            await answering


def _http_server(front: Front, parsed: Namespace, tls: ssl.SSLContext | None) -> uvicorn.Server:
    config = uvicorn.Config(
        front,
        log_config=None,  # what uvicorn says goes through the log of this process
        log_level=parsed.uvicorn_log_level,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
        **uvicorn_options(tls),
    )
    return NoSignalServer(config)


@contextlib.asynccontextmanager
async def _ending(
    server: uvicorn.Server, front: Front, engine: Any, warming: asyncio.Task[None], drain_seconds: float
) -> AsyncIterator[None]:
    """What ends the server: SIGTERM or SIGINT after the drain, an engine that has died, a warm-up that failed."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()

    def drain() -> None:
        front.drain()  # at once: a load balancer that asks /ready now must hear it
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain)

    def stop_if_failed(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            server.should_exit = True

    warming.add_done_callback(stop_if_failed)
    watchers = [
        asyncio.create_task(_exit_when_drained(server, front, told, drain_seconds)),
        asyncio.create_task(_exit_when_dead(server, engine)),
    ]
    try:
        yield
    finally:
        for task in (warming, *watchers):
            task.cancel()


async def _exit_when_drained(server: uvicorn.Server, front: Front, told: asyncio.Event, seconds: float) -> None:
    await told.wait()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(front.idle(), seconds)
    server.should_exit = True


async def _exit_when_dead(server: uvicorn.Server, engine: Any) -> None:
    while True:
        await asyncio.sleep(ENGINE_POLL_SECONDS)
        terminate_if_errored(server, engine)


async def _warm_up(front: Front, serving: Serving, token: str) -> None:
    """Over TLS the server would be its own client without a certificate: then the questions are asked of the front itself."""
    url, encrypted = _own_address(serving.settings), serving.settings.tls_cert_file is not None
    transport = httpx.ASGITransport(cast("Any", front)) if encrypted else None
    await wait_until_ready(url, PATIENCE, token=token, family=family(serving.release), transport=transport)
    front.warm = True
    _hold_vllm_to_our_log()
    if serving.settings.ready_file is not None:
        say_ready(serving.settings.ready_file, url)


def _hold_vllm_to_our_log() -> None:
    """Until now vLLM's words were about the weights and this machine; from now on they could repeat a question."""
    [ours] = [handler.formatter for handler in logging.getLogger().handlers][:1] or [None]
    for handler in logging.getLogger("vllm").handlers:
        handler.setFormatter(ours)


def _own_address(settings: ServerSettings) -> str:
    """A server that listens everywhere reaches itself on loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  asked, not bound
    scheme = "http" if settings.tls_cert_file is None else "https"
    return f"{scheme}://[{host}]:{settings.port}" if ":" in host else f"{scheme}://{host}:{settings.port}"


def _prepare_fork() -> tuple[str, ...]:
    """Fork the engine from this process, which has imported vLLM already, instead of importing it again (41 s -> 16 s on two cores).

    Nothing may have made torch start its threads before: a child of such a fork waits for ever (seen after `model_runtime.processor` was imported).

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
