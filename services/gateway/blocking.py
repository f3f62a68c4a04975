"""Calls that block (the broker's client, the object store), each in a daemon thread of its own: one that hangs holds up neither others nor the end
of the process, as a thread of asyncio's pool would."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


class BlockingCalls:
    """At most `limit` threads at a time. A call that nobody waits for any more keeps its place until it ends, so hanging calls do not pile up."""

    def __init__(self, limit: int) -> None:
        self._places = asyncio.Semaphore(limit)

    async def run(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns or raises."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()

        def tell(value: Answer | None, error: BaseException | None) -> None:
            self._places.release()
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(value)  # type: ignore[arg-type]

        def work() -> None:
            value, error = None, None
            try:
                value = call()
            except BaseException as raised:
                error = raised
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell, value, error)

        threading.Thread(target=work, daemon=True, name="blocking-call").start()
        return await answer
