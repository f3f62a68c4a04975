"""What people come through: the inbox, their login, the audit repository. Only what is configured is asked."""

from __future__ import annotations

from collections.abc import Iterator

from services.adapters import trust
from services.parts.doctor import Check
from services.parts.probes import NotReady, fhir_ok, http_ok
from services.settings import Settings


def inbox(settings: Settings) -> Iterator[Check]:
    if not settings.inbox_url:
        return
    try:
        http_ok(f"{settings.inbox_url.rstrip('/')}/health", verify=trust(settings).context())
    except NotReady as reason:
        yield Check(
            "inbox", str(reason), f"the inbox cannot be reached at LONGVIEW_INBOX_URL ({reason}): look at its log."
        )
        return
    yield Check("inbox", "answers")


def login(settings: Settings) -> Iterator[Check]:
    """The issuer's discovery document (OpenID Connect Discovery 1.0, section 4)."""
    if settings.inbox_login != "oidc":
        return
    mend = "people cannot log in: LONGVIEW_OIDC_ISSUER {}."
    try:
        answer = http_ok(
            f"{settings.require('oidc_issuer').rstrip('/')}/.well-known/openid-configuration",
            verify=trust(settings).context(),
        ).json()
    except NotReady as reason:
        yield Check("login", str(reason), mend.format(f"does not answer ({reason}): check it and the network"))
        return
    except ValueError:
        yield Check("login", "no JSON", mend.format("gives no discovery document: check the address"))
        return
    same = isinstance(answer, dict) and answer.get("issuer") == settings.oidc_issuer
    yield Check(
        "login", "the issuer answers", "" if same else mend.format("names itself otherwise: copy its name exactly")
    )


def audit(settings: Settings) -> Iterator[Check]:
    if not settings.audit_url:
        return
    try:
        fhir_ok(settings.audit_url, settings.audit_token, verify=trust(settings).context())
    except NotReady as reason:
        yield Check(
            "audit",
            str(reason),
            f"the audit repository is not there ({reason}): check LONGVIEW_AUDIT_URL and its token.",
        )
        return
    yield Check("audit", "answers")
