"""A workflow shaped like ours: an entity that takes signals, drops those it knows, continues as new, and ends with a decision."""

from __future__ import annotations

from dataclasses import dataclass, field

from temporalio import workflow
from temporalio.exceptions import ApplicationError

SIGNALS_PER_RUN = 10


@dataclass
class Entry:
    id: str
    text: str


@dataclass
class ThreadInput:
    """What a run hands on to the next."""

    entries: list[Entry] = field(default_factory=list)


@workflow.defn
class ThreadWorkflow:
    @workflow.init
    def __init__(self, given: ThreadInput) -> None:
        self._entries = list(given.entries)
        self._new = 0
        self._decision = ""

    @workflow.run
    async def run(self, given: ThreadInput) -> None:
        await workflow.wait_condition(lambda: bool(self._decision) or self._new >= SIGNALS_PER_RUN)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if not self._decision:
            workflow.continue_as_new(ThreadInput(self._entries))

    @workflow.signal
    async def said(self, entry: Entry) -> None:
        if entry.id not in {known.id for known in self._entries}:
            self._entries.append(entry)
            self._new += 1

    @workflow.query
    def heard(self) -> list[str]:
        return [entry.text for entry in self._entries]

    @workflow.update
    async def decide(self, decision: str) -> str:
        self._decision = decision
        return f"{decision} after {len(self._entries)}"

    @decide.validator
    def check(self, decision: str) -> None:
        if decision not in ("accepted", "rejected"):
            raise ApplicationError("not a decision", type="decision-unknown", non_retryable=True)
