"""`longview doctor --deployed` on a whole system: nothing to mend while all is well, and each thing that is broken is named with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from services import oversight
from services.cli import main
from services.clients import kafka_view
from services.clients.kafka_view import BusSeen
from services.db import migrate
from services.deployed import examine_deployed
from services.parts.doctor import Check
from services.parts.environment import child_environment
from services.settings import Settings
from tests.integration.system import System

pytestmark = [pytest.mark.integration]
NOWHERE = "http://127.0.0.1:1"


def problems(settings: Settings) -> dict[str, str]:
    return {check.name: check.mend for check in examine_deployed(settings) if not check.ok}


def test_a_system_in_order_has_nothing_to_mend(quick: System, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in child_environment(quick.settings).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["doctor", "--deployed", "--json"])
    checks = json.loads(done.stdout)["checks"]
    assert [check for check in checks if not check["ok"]] == []
    assert done.exit_code == 0
    assert {"bus topics", "bus lag", "temporal namespace", "schedule", "database schema", "outbox"} <= {
        c["name"] for c in checks
    }
    assert {"object store", "payload keys", "fhir access", "archive", "model", "inbox"} <= {c["name"] for c in checks}
    assert not list(quick.settings.store.rglob(".put-*"))


@pytest.mark.parametrize(
    ("changed", "name", "mend"),
    [
        ({"kafka_bootstrap": "127.0.0.1:1"}, "bus", "LONGVIEW_KAFKA_BOOTSTRAP"),
        ({"temporal_address": "127.0.0.1:1"}, "temporal", "LONGVIEW_TEMPORAL_ADDRESS"),
        ({"temporal_namespace": "another"}, "temporal", "LONGVIEW_TEMPORAL_NAMESPACE"),
        ({"task_queue": "another"}, "workers of another", "start one"),
        ({"worker_deployment": "longview"}, "current workers", "longview workers promote"),
        ({"fhir_url": f"{NOWHERE}/fhir"}, "fhir", "FHIR"),
        ({"dicomweb_url": f"{NOWHERE}/dicom-web"}, "archive", "archive"),
        ({"model_url": NOWHERE}, "model", "model server does not answer"),
        ({"model_release": "/nowhere/release.json"}, "model", "LONGVIEW_MODEL_RELEASE"),
        ({"inbox_url": NOWHERE}, "inbox", "LONGVIEW_INBOX_URL"),
        ({"audit_url": NOWHERE}, "audit", "LONGVIEW_AUDIT_URL"),
        ({"inbox_login": "oidc", "oidc_issuer": NOWHERE}, "login", "LONGVIEW_OIDC_ISSUER"),
        ({"payload_key_file": "/nowhere/key"}, "payload keys", "LONGVIEW_PAYLOAD_KEY_FILE"),
        ({"store_dir": "/dev/null/store"}, "object store", "LONGVIEW_STORE_DIR"),
        ({"database_url": "postgresql://longview@127.0.0.1:1/longview"}, "database", "LONGVIEW_DATABASE_URL"),
    ],
)
def test_what_is_broken_is_named_with_its_mend(quick: System, changed: dict[str, str], name: str, mend: str) -> None:
    if "inbox_login" in changed:  # what else such a login needs is not what is asked here
        changed = changed | {
            "oidc_client_id": "longview",
            "oidc_client_secret": "s" * 32,
            "inbox_url": "https://inbox.example.org",
        }
    found = problems(replace(quick.settings, **changed))
    assert name in found, found
    assert mend in found[name]


def test_a_schema_that_is_behind(quick: System, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    migrate(url, to="0002")
    assert "longview migrate" in problems(replace(quick.settings, database_url=url))["database"]


def test_a_store_and_a_model_of_another_release(quick: System, tmp_path: Path) -> None:
    release = json.loads(Path(quick.settings.model_release).read_bytes())
    other = tmp_path / "release.json"
    other.write_text(json.dumps(release | {"served_model_name": "another"}))
    assert "another model" in problems(replace(quick.settings, model_release=str(other)))["model"]


def test_reconciliation_that_is_paused_or_gone(quick: System) -> None:
    oversight.pause_reconciliation(quick.settings)
    assert "--schedule" in problems(quick.settings)["schedule"]
    oversight.schedule_reconciliation(replace(quick.settings, reconcile_minutes="0"))
    assert "longview schedules" in problems(quick.settings)["schedule"]
    oversight.schedule_reconciliation(quick.settings)
    assert "schedule" not in problems(quick.settings)


@pytest.mark.parametrize(
    ("seen", "name", "mend"),
    [
        (
            lambda all_of_them: BusSeen(all_of_them | {"hospital.order.v1": 0}, [], 1, 20_000),
            "bus lag",
            "20000 records behind",
        ),
        (lambda all_of_them: BusSeen({}, [], 1, 0), "bus topics", "hospital.order.v1"),
        (
            lambda all_of_them: BusSeen(all_of_them, ["longview.ai-result.v1"], 1, 0),
            "bus replicas",
            "longview.ai-result.v1",
        ),
        (lambda all_of_them: BusSeen(all_of_them, [], 0, 0), "bus readers", "no gateway"),
    ],
)
def test_a_bus_that_answers_and_is_not_well(
    quick: System, monkeypatch: pytest.MonkeyPatch, seen: Callable[[Any], BusSeen], name: str, mend: str
) -> None:
    monkeypatch.setattr(kafka_view, "look_at_bus", lambda _b, _g, topics, *_, **__: seen(dict.fromkeys(topics, 4)))
    assert mend in problems(quick.settings)[name]


def certificate(path: Path, days: int) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "longview")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, SHA256())
    )
    path.write_bytes(made.public_bytes(Encoding.PEM))
    return str(path)


@pytest.mark.parametrize(("days", "mend"), [(-1, "has ended"), (3, "ends soon"), (90, None)])
def test_certificates_are_renewed_in_time(tmp_path: Path, days: int, mend: str | None) -> None:
    from services.deployed.certificates import look

    checks: list[Check] = list(look(Settings(ca_file=certificate(tmp_path / "ca.pem", days))))
    assert [(mend or "") in check.mend and check.ok is (mend is None) for check in checks] == [True]
