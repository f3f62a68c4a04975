"""A raised priority on the review Task (contract 3): the order's, what raised it and by which list, so that FHIR alone says why."""

from __future__ import annotations

from typing import get_args

from schemas.codes import Canonical, Json, concept
from schemas.critical import BANDS
from schemas.report import Priority, RaisedPriority, ReviewAct, above_order, more_urgent, undone
from schemas.terms import FINDING_LABEL, LIKELIHOOD_BAND, TASK_INPUT

POLICY, ORDER = "escalation-policy", "order-priority"
PRIORITY, FINDING, LIKELIHOOD, LIST = "critical-priority", "critical-finding", "critical-likelihood", "critical-list"


def raised_inputs(canonical: Canonical, order: Priority, raised: RaisedPriority | None) -> list[Json]:
    """What `Task.input` says of a raised result; nothing where the order's priority counts."""
    if raised is None:
        return []
    return [
        _input(canonical, ORDER, valueCode=order),
        _input(canonical, PRIORITY, valueCode=raised.priority),
        _input(canonical, FINDING, valueCodeableConcept=concept(FINDING_LABEL.coding(canonical, raised.finding))),
        _input(
            canonical, LIKELIHOOD, valueCodeableConcept=concept(LIKELIHOOD_BAND.coding(canonical, raised.likelihood))
        ),
        _input(canonical, LIST, valueString=raised.critical_list),
    ]


def policy_input(canonical: Canonical, policy: str) -> Json:
    """The escalation policy in force."""
    return _input(canonical, POLICY, valueString=policy)


def with_policy(canonical: Canonical, task: Json, policy: str) -> list[Json]:
    """The task's inputs under another policy; why it was raised stays."""
    kept = [each for each in task.get("input", []) if not _is(canonical, each, POLICY)]
    return [policy_input(canonical, policy), *kept]


def raise_on(canonical: Canonical, task: Json) -> RaisedPriority | None:
    """What holds the task above its order now; None once its order is as urgent, or a human has taken the finding back."""
    order, critical = order_of(canonical, task), _critical(canonical, task)
    if order is None or critical is None or task.get("priority") == order:
        return None
    return above_order(order, critical)


def order_of(canonical: Canonical, task: Json) -> Priority | None:
    """The order's priority, where the task was raised above it."""
    return _priority(_value(canonical, task, ORDER).get("valueCode"))


def under_order(canonical: Canonical, task: Json, priority: Priority) -> Json:
    """The task as its order has become so urgent: it follows upwards, never downwards."""
    order = order_of(canonical, task)
    body = task | {"priority": more_urgent(priority, _priority(task.get("priority")) or "routine")}
    if order is None:
        return body
    moved = _input(canonical, ORDER, valueCode=more_urgent(priority, order))
    body["input"] = [moved if _is(canonical, each, ORDER) else each for each in task["input"]]
    return body


def priority_after(canonical: Canonical, task: Json, act: ReviewAct) -> Json:
    """The task's priority once a human has decided: the order's again, where what raised it is taken back."""
    order, raised = order_of(canonical, task), raise_on(canonical, task)
    if order is None or raised is None or not undone(raised.finding, act.outcome, act.taken_back):
        return {}
    return {"priority": order}


def findings_taken_back(canonical: Canonical, task: Json) -> list[str]:
    """Of a task that was decided: the finding that had raised it, where it has its order's priority again."""
    order, critical = order_of(canonical, task), _critical(canonical, task)
    return [critical.finding] if critical is not None and task.get("priority") == order else []


def _critical(canonical: Canonical, task: Json) -> RaisedPriority | None:
    finding = _code(_value(canonical, task, FINDING))
    likelihood = next((b for b in BANDS if b == _code(_value(canonical, task, LIKELIHOOD))), None)
    priority = _priority(_value(canonical, task, PRIORITY).get("valueCode"))
    critical_list = _value(canonical, task, LIST).get("valueString")
    if not (finding and likelihood and priority and critical_list):
        return None
    return RaisedPriority(finding=finding, likelihood=likelihood, priority=priority, critical_list=critical_list)


def _input(canonical: Canonical, code: str, **value: object) -> Json:
    return {"type": concept(TASK_INPUT.coding(canonical, code)), **value}


def _is(canonical: Canonical, given: Json, code: str) -> bool:
    wanted = (TASK_INPUT.url(canonical), code)
    return wanted in [(c.get("system"), c.get("code")) for c in given["type"].get("coding", [])]


def _value(canonical: Canonical, task: Json, code: str) -> Json:
    return next((each for each in task.get("input", []) if _is(canonical, each, code)), {})


def _code(given: Json) -> str | None:
    codings = given.get("valueCodeableConcept", {}).get("coding", [])
    return str(codings[0].get("code")) if codings else None


def _priority(text: object) -> Priority | None:
    known: tuple[Priority, ...] = get_args(Priority)
    return next((priority for priority in known if priority == text), None)
