"""Who was told of a result, when and how, and what came of it (contract 3): one Communication an attempt, and the review Task beside it.

Every payload is ours: no word of a finding, a chart or a name. A medium that Longview does not deliver itself (`PHONE`, `EMAILWRIT`) is
`in-progress` until somebody acknowledges: the hospital's own paging takes it from the event, and we do not claim that it rang.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime

from schemas.codes import THO, Canonical, Json, coding, concept
from schemas.identifiers import Namespace
from schemas.lifecycle import AcknowledgeAct, EscalationExhausted, NotifyStep, RecordAcknowledgement
from schemas.report import Priority, more_urgent
from schemas.terms import ESCALATION_STEP, RESULT_STATUS_REASON, TASK_OUTPUT, escalated, escalation_level
from workflows.report.context import by_identifier, create, person, who
from workflows.report.posted import PostedResult, update, with_business_status
from workflows.report.raised_task import under_order, with_policy

COMMUNICATION, DEADLINE_OUTCOME = "communication", "deadline-outcome"
MINUTES_TO_ACKNOWLEDGED = "minutes-available-to-acknowledged"
DELIVERED_BY_US = "APPWRIT"
RECALL = "An AI result that you reviewed has been withdrawn because of a defect of the system. Do not rely on it."


def communication_key(namespace: Namespace, result_id: str, step: str) -> str:
    """Identity of the Communication of one step of one result."""
    return namespace.key("com", result_id, step)


def notification_step(number: int) -> str:
    return escalation_level(number)


def acknowledgement_step(number: int) -> str:
    return escalation_level(number, "-ack")


def exhaustion_step(number: int) -> str:
    return escalation_level(number, "-exhausted")


def acknowledged(canonical: Canonical, task: Json) -> bool:
    """A human has said that the result reached them."""
    return bool(_outputs(canonical, task, MINUTES_TO_ACKNOWLEDGED))


def exhausted(task: Json) -> bool:
    return bool(task["status"] == "failed")


def build_notification(namespace: Namespace, posted: PostedResult, told: NotifyStep) -> Json:
    """Tell the recipient of a step; from step 2 on the task says `escalated-n`."""
    canonical, step = Canonical(namespace.base), told.step
    resource = _communication(
        namespace,
        posted,
        notification_step(step.number),
        status="completed" if step.medium == DELIVERED_BY_US else "in-progress",
        priority=told.priority,
        medium=step.medium,
        sent=told.at,
        recipient=[who(step.recipient)],
        sender=posted.task["requester"],
        text=_notification_text(told),
    )
    task = _task_told(canonical, posted.task, told)
    return _bundle(namespace, resource, task)


def _task_told(canonical: Canonical, task: Json, told: NotifyStep) -> Json:
    step = told.step
    body = deepcopy(task) | {"lastModified": told.at}
    if step.number > 1:
        body = with_business_status(canonical, task, escalated(step.number), told.at)
    body["owner"] = who(step.recipient)
    body["priority"] = more_urgent(told.priority, task.get("priority", "routine"))
    body["input"] = with_policy(canonical, task, told.policy)
    return body


def _notification_text(told: NotifyStep) -> str:
    due, at = datetime.fromisoformat(told.due_at), datetime.fromisoformat(told.at)
    missed = due <= at
    if told.step.number == 1 and not missed:
        return f"Unverified AI result awaiting review; deadline {_clock(due)}."
    state = f"review deadline missed at {_clock(due)}" if missed else f"not acknowledged; deadline {_clock(due)}"
    return f"Escalation step {told.step.number}: {state}."


def build_acknowledgement(
    namespace: Namespace, posted: PostedResult, told: RecordAcknowledgement, notification: Json | None
) -> Json:
    """A human's acknowledgement, in response to the `notification` of the step where one was written."""
    canonical, act = Canonical(namespace.base), told.act
    device = posted.task["requester"]
    medium = notification["medium"][0]["coding"][0]["code"] if notification else DELIVERED_BY_US
    answer = _communication(
        namespace,
        posted,
        acknowledgement_step(told.step),
        status="completed",
        priority=posted.task.get("priority", "routine"),
        medium=medium,
        sent=act.at,
        received=act.at,
        recipient=[device],
        sender=person(act.by, act.identity),
        text=_acknowledgement_text(act),
    )
    changed = []
    if notification is not None:
        answer["inResponseTo"] = [{"reference": f"Communication/{notification['id']}"}]
        if notification["status"] == "in-progress":
            changed.append(update(notification | {"status": "completed"}))
    bundle = _bundle(namespace, answer, _task_acknowledged(canonical, posted.task, told))
    bundle["entry"] += changed
    return bundle


def _acknowledgement_text(act: AcknowledgeAct) -> str:
    return f"Acknowledged with read-back: {act.read_back}." if act.read_back else "Acknowledged."


def _task_acknowledged(canonical: Canonical, task: Json, told: RecordAcknowledgement) -> Json:
    at, available = datetime.fromisoformat(told.act.at), datetime.fromisoformat(told.available_at)
    unread = "unread" in {c["code"] for c in task["businessStatus"]["coding"]}
    body = with_business_status(canonical, task, "read", told.act.at) if unread else deepcopy(task)
    body |= {"status": "in-progress", "lastModified": told.act.at, "executionPeriod": {"start": told.act.at}}
    body.pop("statusReason", None)
    outputs = body.get("output", [])
    if not _outputs(canonical, task, DEADLINE_OUTCOME):
        met = at <= datetime.fromisoformat(told.deadline)
        outputs.append(_output(canonical, DEADLINE_OUTCOME, valueCode="met" if met else "missed"))
    minutes = round(max((at - available).total_seconds(), 0.0) / 60, 1)
    outputs.append(_output(canonical, MINUTES_TO_ACKNOWLEDGED, valueDecimal=minutes))
    body["output"] = outputs
    return body


def build_exhaustion(namespace: Namespace, posted: PostedResult, told: EscalationExhausted) -> Json:
    """Nobody acknowledged in any step. The result stays unread and open to a decision."""
    canonical = Canonical(namespace.base)
    reason = coding(THO + "communication-not-done-reason", "recipient-unavailable", "Recipient Unavailable")
    resource = _communication(
        namespace,
        posted,
        exhaustion_step(told.step),
        status="not-done",
        priority=posted.task.get("priority", "routine"),
        recipient=[posted.task["owner"]],
        sender=posted.task["requester"],
        text=f"Nobody acknowledged an unverified AI result in {told.step} steps; deadline {_clock(datetime.fromisoformat(told.due_at))}.",
    )
    resource["statusReason"] = concept(reason)
    body = with_business_status(canonical, posted.task, "exhausted", told.at)
    body["status"] = "failed"
    body["statusReason"] = concept(RESULT_STATUS_REASON.coding(canonical, "nobody-acknowledged"))
    body["output"] = [*body.get("output", []), _output(canonical, DEADLINE_OUTCOME, valueCode="missed")]
    return _bundle(namespace, resource, body)


def build_priority(canonical: Canonical, posted: PostedResult, priority: Priority, at: str) -> Json | None:
    """The task of an unread result whose order has become so urgent; None where that changes nothing."""
    task = under_order(canonical, posted.task, priority)
    if task == posted.task:
        return None
    task["lastModified"] = at
    return {"resourceType": "Bundle", "type": "transaction", "entry": [update(task)]}


def recall(namespace: Namespace, posted: PostedResult, at: str) -> Json:
    """The entry that tells whoever reviewed a result that it was wrong."""
    resource = _communication(
        namespace,
        posted,
        "recall",
        status="completed",
        priority="stat",
        medium=DELIVERED_BY_US,
        sent=at,
        recipient=posted.report.get("resultsInterpreter") or [posted.task["owner"]],
        sender=posted.task["requester"],
        text=RECALL,
    )
    return _created(namespace, resource)


# -- pieces ---------------------------------------------------------------------------------------------------------------


def _communication(
    namespace: Namespace,
    posted: PostedResult,
    step: str,
    *,
    status: str,
    priority: Priority,
    recipient: list[Json],
    sender: Json,
    text: str,
    medium: str | None = None,
    sent: str | None = None,
    received: str | None = None,
) -> Json:
    canonical = Canonical(namespace.base)
    report = {"reference": f"DiagnosticReport/{posted.report['id']}"}
    result_id = posted.result_id(canonical)
    key = communication_key(namespace, result_id, step)
    mode = [concept(coding(THO + "v3-ParticipationMode", medium))] if medium else None
    category = coding(THO + "communication-category", "notification", "Notification")
    resource: Json = {
        "resourceType": "Communication",
        "meta": {"tag": [coding(canonical.sid("ai-result"), result_id)]},
        "identifier": [{"system": canonical.sid("notification"), "value": key}],
        "basedOn": [{"reference": f"Task/{posted.task['id']}"}],
        "partOf": [report],
        "status": status,
        "category": [concept(category)],
        "priority": priority,
        "medium": mode,
        "subject": posted.report["subject"],
        "about": [report],
        "encounter": posted.report.get("encounter"),
        "sent": sent,
        "received": received,
        "recipient": recipient,
        "sender": sender,
        "reasonCode": [concept(ESCALATION_STEP.coding(canonical, step))],
        "payload": [{"contentString": text}],
    }
    return {name: value for name, value in resource.items() if value is not None}


def _bundle(namespace: Namespace, resource: Json, task: Json) -> Json:
    """The Communication and the task that names it, in one transaction conditional on the task's version."""
    entry = _created(namespace, resource)
    output = _output(Canonical(namespace.base), COMMUNICATION, valueReference={"reference": entry["fullUrl"]})
    named = task | {"output": _communications_first([*task.get("output", []), output])}
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry, update(named)]}


def _communications_first(outputs: list[Json]) -> list[Json]:
    return sorted(outputs, key=lambda output: "valueReference" not in output)


def _created(namespace: Namespace, resource: Json) -> Json:
    full_url = "urn:uuid:" + namespace.key("entry", "communication", resource["identifier"][0]["value"])
    return create(full_url, resource, by_identifier(resource))


def _output(canonical: Canonical, code: str, **value: object) -> Json:
    return {"type": concept(TASK_OUTPUT.coding(canonical, code)), **value}


def _outputs(canonical: Canonical, task: Json, code: str) -> list[Json]:
    wanted = (TASK_OUTPUT.url(canonical), code)
    return [
        o
        for o in task.get("output", [])
        if wanted in [(c.get("system"), c.get("code")) for c in o["type"].get("coding", [])]
    ]


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%H:%MZ")
