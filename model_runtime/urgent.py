"""Urgent requests neither wait for a place among those that are computed together, nor share it.

vLLM orders what waits by priority, but takes nobody's place away: on a server that is full, a STAT study would wait until one of the others has been
answered. Here places beyond `--max-num-active-seqs` are kept for urgent requests. While one is there, no other request begins, for the images of
a new study would hold up every step of the urgent answer; and those that have begun stand still once it is computed, with all that they have in the
KV cache.
"""

from __future__ import annotations

from typing import Any

from vllm.config import VllmConfig
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

URGENT = 0
"""The priority of a STAT study, and whatever is lower: vLLM runs lower numbers first."""
FULL = 0.9
"""Of the KV cache's blocks in use."""


class UrgentFirst(Scheduler):
    """vLLM's scheduler, told before each step how many requests may be computed together, and shown the urgent ones alone while there are any."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_num_active_reqs: int
        self.running: list[Request]
        self._usual = self.max_num_active_reqs

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        urgent = [request for request in self.running if request.priority <= URGENT]
        waiting = self._urgent_waiting()
        if not urgent and not waiting:
            self.max_num_active_reqs = self._usual
            return super().schedule(throttle_prefills)
        others = self._others() if urgent else []
        if others:
            self.running = urgent
        self.max_num_active_reqs = min(len(self.running) + waiting, self.max_num_running_reqs - len(others))
        output = super().schedule(throttle_prefills)
        self.running += others
        return output

    def _others(self) -> list[Request]:
        """Those that stand still. None where the KV cache is nearly full: vLLM must be able to take theirs away."""
        if self.kv_cache_manager.usage > FULL:
            return []
        return [request for request in self.running if request.priority > URGENT]

    def _urgent_waiting(self) -> int:
        """The queue is in the order of priority: where its first is not urgent, none is."""
        if not self.waiting or self.waiting.peek_request().priority > URGENT:
            return 0
        return sum(request.priority <= URGENT for request in self.waiting)


class AsyncUrgentFirst(UrgentFirst, AsyncScheduler):
    """The same, where the next step is planned before the last one has ended."""


def scheduler(vllm_config: VllmConfig, **kwargs: Any) -> Scheduler:
    """What `--scheduler-cls` names: called by vLLM's engine as a class would be."""
    kind = AsyncUrgentFirst if vllm_config.scheduler_config.async_scheduling else UrgentFirst
    return kind(vllm_config=vllm_config, **kwargs)
