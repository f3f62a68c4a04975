"""The audit trail as auditors see it in the browser; `longview audit` shows more."""

from __future__ import annotations

from typing import Any

from litestar import get
from litestar.connection import Request
from litestar.exceptions import ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromQuery
from litestar.response import Template

from schemas.audit import AuditEntry, NotAsked, new_audit_id, patient_asked, result_asked
from services.db.audit import now_text
from services.inbox.access import address_of, auditors_only, person_of
from services.inbox.deps import Deps

SHOWN = 200


@get("/audit", guards=[auditors_only], sync_to_thread=True)
def show_audit(
    request: Request[Any, Any, Any], deps: Deps, patient: FromQuery[str] = "", result: FromQuery[str] = ""
) -> Template:
    """The newest entries, of one patient or result if asked for; that somebody looked, and at whose record, is an entry itself."""
    told = AuditEntry(
        event_id=new_audit_id(),
        kind="audit-read",
        at=now_text(),
        process="inbox",
        person=person_of(request),
        address=address_of(request),
    )
    try:
        rows = deps.trail.read(told, patient=patient_asked(patient), result_id=result_asked(result), limit=SHOWN)
    except NotAsked as error:
        raise ValidationException from error
    return Template("audit.html", context={"rows": rows, "patient": patient, "result": result, "most": SHOWN})


HANDLERS: list[BaseRouteHandler] = [show_audit]
