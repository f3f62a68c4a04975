"""What became known after a result, as a result of its own beside it (contract 0.2): the old one stays as it is, byte for byte.

An addendum repeats no image finding and says nothing about what a value means: it names the finding, the rule of the table and its reason,
and points to the observations. A human reviews it as they review any result.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.codes import ADDENDUM_OF, AIAST, LABEL_BY_CODE, SUPPORTING_INFO, THO, Canonical, Json, coding, concept
from schemas.identifiers import Namespace, without_version
from schemas.lifecycle import HistoryAssessed
from schemas.report import Priority
from schemas.terms import REVIEW_STATUS, TASK_CODE, TASK_INPUT
from workflows.report.context import by_identifier, create, review_period, versioned_reference, who
from workflows.report.posted import PostedResult, revision_entity
from workflows.report.release import ARTIFICIAL_INTELLIGENCE, attachment
from workflows.report.rules import RULE_BY_CODE, Rule
from workflows.report.text import BANNER, UNTRAINED, narrative


@dataclass(frozen=True)
class AddendumContext:
    """Everything that decides the bytes of an addendum's Bundle."""

    namespace: Namespace
    thread_id: str
    base: PostedResult
    """The result that is added to, as it stands."""
    assessed: HistoryAssessed
    issued: str
    priority: Priority
    review_role: str
    organization: str
    acknowledge_by: str | None
    escalation_policy: str = "none@v1"

    @property
    def canonical(self) -> Canonical:
        return Canonical(self.namespace.base)

    @property
    def addendum_id(self) -> str:
        return addendum_id(self.namespace, self.base.result_id(self.canonical), self.assessed)

    @property
    def observations(self) -> list[str]:
        """Versioned references, sorted, without repeats."""
        return sorted(set(self.assessed.relevant))

    @property
    def rules(self) -> list[Rule]:
        """Those that named an observation, in the order in which they first did."""
        return [RULE_BY_CODE[code] for code in dict.fromkeys(self.assessed.rules) if code in RULE_BY_CODE]


def addendum_id(namespace: Namespace, result_id: str, assessed: HistoryAssessed) -> str:
    """uuid5(result, addendum, sorted versioned references, version of the table)."""
    return namespace.key(result_id, "addendum", *sorted(set(assessed.relevant)), assessed.table)


def build_addendum(context: AddendumContext) -> Json:
    """Report, Provenance, Task: conditional creates only, so that posting twice makes nothing new."""
    report, provenance, task = _report(context), _provenance(context), _task(context)
    tag = provenance["meta"]["tag"][0]
    entries = [
        create(_urn(context, "report"), report, by_identifier(report)),
        create(_urn(context, "provenance"), provenance, f"_tag={tag['system']}|{tag['code']}"),
        create(_urn(context, "task"), task, by_identifier(task)),
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def addendum_conclusion(context: AddendumContext) -> str:
    """In our words alone."""
    warning = [UNTRAINED] if UNTRAINED in context.base.report.get("conclusion", "") else []
    return " ".join([BANNER, *warning, *_sentences(context)])


def addendum_headline(context: AddendumContext) -> str:
    """The inbox's line: which findings are concerned."""
    return f"Addendum: new results concern {', '.join(_concerned(context)).lower()}"


def _sentences(context: AddendumContext) -> list[str]:
    when, count = context.base.report["issued"][:10], len(context.observations)
    news = f"{count} later observation{'s' if count > 1 else ''}"
    head = f"Addendum to the AI result of {when}: {news} concern{'' if count > 1 else 's'} what it found."
    named = [f"{_finding(rule)}: {rule.reason} (rule {rule.code}, {context.assessed.table})." for rule in context.rules]
    return [
        head,
        *named,
        "The images were not read again; the values are in the observations cited, and are not interpreted here.",
    ]


def _finding(rule: Rule) -> str:
    return LABEL_BY_CODE[rule.finding].text


def _concerned(context: AddendumContext) -> list[str]:
    return list(dict.fromkeys(_finding(rule) for rule in context.rules))


def _urn(context: AddendumContext, name: str) -> str:
    return "urn:uuid:" + context.namespace.key("entry", name, context.addendum_id)


def _tag(context: AddendumContext) -> Json:
    return coding(context.canonical.sid("ai-result"), context.addendum_id)


def _from_base(context: AddendumContext, *names: str) -> Json:
    report = context.base.report
    return {name: report[name] for name in names if name in report}


def _report(context: AddendumContext) -> Json:
    canonical, base = context.canonical, context.base.report
    text = "\n".join(["AI-GENERATED ADDENDUM - NOT VERIFIED BY A CLINICIAN", *_sentences(context)]) + "\n"
    form = attachment(text.encode(), "text/plain; charset=utf-8", "Addendum to AI findings (unverified)")
    code = {"coding": base["code"]["coding"]} if base["code"].get("coding") else {}
    return {
        "resourceType": "DiagnosticReport",
        "meta": {"security": [AIAST], "tag": [_tag(context)]},
        "text": narrative(addendum_conclusion(context)),
        "extension": [
            {"url": ADDENDUM_OF, "valueReference": {"reference": f"DiagnosticReport/{base['id']}"}},
            *(
                {
                    "url": SUPPORTING_INFO,
                    "valueReference": {"reference": without_version(o), "display": "later observation"},
                }
                for o in context.observations
            ),
        ],
        "identifier": [
            {"use": "official", "system": canonical.sid("ai-result"), "value": context.addendum_id},
            {"system": canonical.sid("ai-report-thread"), "value": context.thread_id},
        ],
        **_from_base(context, "basedOn"),
        "status": "partial",
        **_from_base(context, "category"),
        "code": code | {"text": "Addendum to AI findings (unverified)"},
        **_from_base(context, "subject", "encounter", "effectiveDateTime"),
        "issued": context.issued,
        **_from_base(context, "performer", "imagingStudy"),
        "conclusion": addendum_conclusion(context),
        "presentedForm": [form | {"language": "en", "creation": context.issued}],
    }


def _provenance(context: AddendumContext) -> Json:
    """Made by the table of rules, which is part of the release's code: not by the model, so no prompt and no AI-Provenance profile."""
    canonical, kinds = context.canonical, THO + "provenance-participant-type"
    author = {
        "type": concept(coding(kinds, "author", "Author")),
        "role": [concept(ARTIFICIAL_INTELLIGENCE)],
        "who": context.base.task["requester"],
        "onBehalfOf": who(context.organization),
    }
    custodian = {"type": concept(coding(kinds, "custodian", "Custodian")), "who": who(context.organization)}
    table = {
        "identifier": {"system": canonical.sid("rule-table"), "value": context.assessed.table},
        "display": "table of rules",
    }
    sources = [versioned_reference(canonical, o) | {"display": "later observation"} for o in context.observations]
    return {
        "resourceType": "Provenance",
        "meta": {"tag": [_tag(context)]},
        "target": [{"reference": _urn(context, "report")}],
        "occurredDateTime": context.issued,
        "recorded": context.issued,
        "reason": [concept(AIAST)],
        "activity": concept(coding(THO + "v3-DataOperation", "CREATE", "create")),
        "agent": [author, custodian],
        "entity": [
            revision_entity(canonical, context.base.report),
            {"role": "derivation", "what": table},
            *({"role": "source", "what": what} for what in sources),
        ],
    }


def _task(context: AddendumContext) -> Json:
    canonical, base = context.canonical, context.base.task
    key = context.namespace.key("task", context.addendum_id)
    kept: Json = {name: base[name] for name in ("for", "encounter", "basedOn") if name in base}
    policy = concept(TASK_INPUT.coding(canonical, "escalation-policy"))
    return {
        "resourceType": "Task",
        "meta": {"tag": [_tag(context)]},
        "identifier": [{"system": canonical.sid("ai-review-task"), "value": key}],
        "status": "requested",
        "businessStatus": concept(REVIEW_STATUS.coding(canonical, "unread")),
        "intent": "order",
        "priority": context.priority,
        "code": concept(TASK_CODE.coding(canonical, "review-ai-result")),
        "description": "Review addendum to AI findings",
        "focus": {"reference": _urn(context, "report")},
        **kept,
        "authoredOn": context.issued,
        "lastModified": context.issued,
        "requester": base["requester"],
        "owner": who(context.review_role),
        "restriction": {"period": review_period(context.issued, context.acknowledge_by)},
        "input": [{"type": policy, "valueString": context.escalation_policy}],
    }
