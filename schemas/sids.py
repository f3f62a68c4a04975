"""Our own identifier systems, each with what its values name. `schemas.conformance` publishes them from here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sid:
    """An identifier system of ours, below `<base>/sid/`. Values of some also stand as codes in `meta.tag` (contract 1.1)."""

    name: str
    description: str


SIDS = (
    Sid("ai-result", "One AI result (DiagnosticReport); as a tag, every resource that belongs to it."),
    Sid("ai-report-thread", "All AI results about one study, whatever their versions."),
    Sid("ai-finding", "One finding of an AI result."),
    Sid("ai-key-image", "One key image of an AI result."),
    Sid("ai-release", "One release of the AI system: weights, prompt, code and serving configuration."),
    Sid("ai-review-task", "The review task of an AI result."),
    Sid("ai-unread-study", "The notice about a study that the AI could not read."),
    Sid("review-act", "One act on a result, by a person or by the system; as a tag, what it has written."),
    Sid("reconcile-act", "One correction by reconciliation; as a tag, what it has written."),
    Sid("audit-event", "One entry of the audit trail; as a tag, the AuditEvent that tells of it."),
    Sid("rule-table", "A version of the table of rules by which later observations concern a result."),
    Sid("review-finding", "A finding that a clinician wrote in place of an AI finding."),
    Sid("notification", "One message about a result, or the answer to one."),
    Sid("service", "A service of this system that acts by itself."),
    Sid(
        "resource-version",
        "A version-specific reference, repeated because some servers strip versions from references.",
    ),
    Sid("accession", "Accession numbers of this deployment, unless it names its own system."),
    Sid("definition", "As a tag: one definition of ours in one version."),
)
