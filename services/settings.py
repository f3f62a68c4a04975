"""What a process is told by its environment: read once, in the entry point, into one frozen object."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.errors import PartUnavailable
from schemas.identifiers import Namespace
from services.connection_rules import check_connections
from services.secret_file import read_secret

PREFIX = "LONGVIEW_"
HIDDEN = "(hidden)"
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+")


def _setting(default: str, meaning: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"meaning": meaning, "secret": secret})


@dataclass(frozen=True)
class Settings:
    """All settings; each is the variable LONGVIEW_<NAME IN CAPITALS>. An empty address means: not given, the launcher starts the embedded part."""

    state_dir: str = _setting(".longview", "folder of the embedded parts' data, logs and process ids")
    store_dir: str = _setting("", "folder of the object store (default: <state_dir>/store)")
    kafka_bootstrap: str = _setting("", "Kafka bootstrap servers, host:port[,host:port]")
    temporal_address: str = _setting("", "Temporal frontend, host:port")
    temporal_namespace: str = _setting("default", "Temporal namespace")
    task_queue: str = _setting("longview", "Temporal task queue")
    worker_deployment: str = _setting(
        "", "name of the Temporal worker deployment; with it studies stay on the version they began with"
    )
    worker_build_id: str = _setting("", "build id of this worker's version (default: version and digest of the code)")
    worker_current: str = _setting("off", "on: a worker that starts makes its version the one for new workflows")
    fhir_url: str = _setting("", "base URL of the FHIR R4 server")
    fhir_token: str = _setting("", "bearer token for the FHIR server", secret=True)
    dicomweb_url: str = _setting("", "base URL of the DICOMweb archive")
    dicomweb_token: str = _setting("", "bearer token for the DICOMweb archive", secret=True)
    dicomweb_public_url: str = _setting(
        "", "DICOMweb base URL that readers of the result can reach (default: dicomweb_url)"
    )
    database_url: str = _setting("", "SQLAlchemy URL of the database (default: SQLite in state_dir)", secret=True)
    model_url: str = _setting("", "base URL of the vLLM server, without /v1")
    model_token: str = _setting("", "bearer token for the vLLM server", secret=True)
    model_token_file: str = _setting("", "file that holds the bearer token for the vLLM server")
    model_media: str = _setting("file", "how volumes reach vLLM: file (shared disk) or data (in the request)")
    model_release: str = _setting("", "path of the served checkpoint's release.json")
    payload_key_file: str = _setting("", "file with the AES-256 key, or the keyring, that encrypts Temporal payloads")
    payload_store_bytes: str = _setting(
        "262144", "size from which a Temporal payload goes to the object store, encrypted"
    )
    shadow_model_url: str = _setting(
        "", "base URL of a second vLLM server, whose release reads along without being shown"
    )
    shadow_model_token: str = _setting("", "bearer token for the second vLLM server", secret=True)
    shadow_model_release: str = _setting("", "path of the shadow checkpoint's release.json")
    history_model_url: str = _setting(
        "",
        "base URL of a vLLM server whose model weighs the history by text alone (default: the one that reads the images)",
    )
    history_model_token: str = _setting("", "bearer token for that vLLM server", secret=True)
    history_model_release: str = _setting("", "path of that checkpoint's release.json")
    dead_letter_cap: str = _setting(
        "1000", "dead letters of a topic in ten minutes from which its intake pauses (0: no such limit)"
    )
    dead_letter_share: str = _setting(
        "20", "percentage of a topic's records of ten minutes that may be dead letters, from 50 on (0: no such limit)"
    )
    grace_seconds: str = _setting("10", "seconds from SIGTERM to the end of a process, whatever hangs in it")
    reconcile_minutes: str = _setting("60", "minutes between two passes of reconciliation (0: none by themselves)")
    reconcile_days: str = _setting("3", "how many days a pass of reconciliation looks back")
    reconcile_grace_minutes: str = _setting(
        "15", "minutes for which a study must have kept quiet before it is announced"
    )
    reconcile_cap: str = _setting("50", "the most that one pass of reconciliation heals of each kind")
    reconcile_heal: str = _setting("on", "on: reconciliation heals what it may; off: it flags everything for a person")
    canonical_base: str = _setting("https://ai.example.org/fhir", "canonical base URL of this deployment")
    tenant: str = _setting("hospital", "name of the hospital within this deployment")
    accession_system: str = _setting(
        "", "identifier system of accession numbers (default: <canonical_base>/sid/accession)"
    )
    organization: str = _setting("Radiology", "operating organization: a reference (Organization/..) or a name")
    review_role: str = _setting(
        "Duty radiologist", "duty role that reviews: a reference (PractitionerRole/..) or a name"
    )
    conclusion_codes: str = _setting(
        "off", "on: reports carry conclusionCode, which some records file to the problem list; off: they do not"
    )
    time_zone: str = _setting("UTC", "time zone of dates that name none, as Europe/Berlin")
    acknowledge_minutes: str = _setting("60", "minutes within which a result is to be acknowledged")
    series_table_file: str = _setting(
        "", "file with the site's own table of how the series of a study are ranked (docs/series.md)"
    )
    escalation_file: str = _setting(
        "", "JSON file: who is told of an unread result, by priority (default: urgent and above, two steps)"
    )
    critical_list_file: str = _setting(
        "", "JSON file: which findings raise a result above its order (default: the list that comes with Longview)"
    )
    escalation_role: str = _setting(
        "Radiology lead", "who is told when the duty role did not acknowledge in time: a reference or a name"
    )
    inbox_host: str = _setting("127.0.0.1", "address the inbox listens on")
    inbox_port: str = _setting("0", "port the inbox listens on (0: any free one)")
    inbox_proxies: str = _setting(
        "", "proxies whose forwarded addresses are believed: addresses or networks, separated by commas (empty: none)"
    )
    inbox_url: str = _setting("", "URL under which people reach the inbox")
    codec_host: str = _setting("127.0.0.1", "address the codec server listens on")
    codec_port: str = _setting("8082", "port the codec server listens on (0: any free one)")
    codec_operators_file: str = _setting(
        "", "file of those who may decode payloads (default: codec-operators.json in state_dir)"
    )
    codec_ui_origin: str = _setting(
        "", "origin of Temporal's page, http(s)://host[:port]; without it no browser may ask"
    )
    ready_file: str = _setting("", "file a process writes when it is ready")
    operations_host: str = _setting("127.0.0.1", "address of a process's /health, /ready and /metrics")
    operations_port: str = _setting(
        "", "port of a process's /health, /ready and /metrics (empty: none; 0: any free one)"
    )
    log_format: str = _setting("text", "text: lines for people; json: one object a line")
    traces_url: str = _setting(
        "", "OTLP/HTTP endpoint that takes traces, as http://host:4318/v1/traces (empty: no traces)"
    )
    worker_queues: str = _setting("all", "what a worker serves: all, reading or background")
    fhir_client_id: str = _setting(
        "", "SMART Backend Services: our client id at the FHIR server's authorization server"
    )
    fhir_key_file: str = _setting(
        "", "SMART Backend Services: file with our private key, or keys, as JWK (RS384 or ES384)"
    )
    fhir_token_url: str = _setting(
        "", "SMART Backend Services: token endpoint (default: from .well-known/smart-configuration)"
    )
    fhir_scopes: str = _setting("", "SMART Backend Services: scopes to ask for (default: those that Longview needs)")
    ca_file: str = _setting("", "PEM file of certificate authorities trusted besides the system's")
    client_cert_file: str = _setting("", "PEM file of our client certificate, shown to every server that asks (mTLS)")
    client_key_file: str = _setting("", "PEM file of that certificate's private key")
    kafka_security: str = _setting("plaintext", "how the bus is spoken to: plaintext, ssl, sasl_plaintext or sasl_ssl")
    kafka_sasl_mechanism: str = _setting("SCRAM-SHA-512", "SASL mechanism: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN")
    kafka_username: str = _setting("", "SASL user")
    kafka_password: str = _setting("", "SASL password", secret=True)
    temporal_tls: str = _setting("off", "on: Temporal is spoken to over TLS")
    temporal_api_key: str = _setting("", "API key for Temporal", secret=True)
    inbox_login: str = _setting(
        "off", "oidc: people log in at LONGVIEW_OIDC_ISSUER; off: only on loopback, names are typed"
    )
    oidc_issuer: str = _setting("", "OpenID Connect issuer at which people log in")
    oidc_client_id: str = _setting("", "our client id at the issuer")
    oidc_client_secret: str = _setting("", "our client secret at the issuer", secret=True)
    oidc_roles_claim: str = _setting("groups", "claim of the ID token that names a person's groups")
    oidc_practitioner_claim: str = _setting(
        "fhirUser", "claim of the ID token that names a person's Practitioner in our FHIR server"
    )
    oidc_reviewers: str = _setting("", "group whose members may review")
    oidc_auditors: str = _setting("", "group whose members may see the audit trail")
    audit_url: str = _setting("", "base URL of the FHIR audit repository (empty: the trail stays in the database)")
    audit_token: str = _setting("", "bearer token for the audit repository", secret=True)

    def __post_init__(self) -> None:
        if self.model_media not in ("file", "data"):
            raise PartUnavailable(
                "setting-model-media", "LONGVIEW_MODEL_MEDIA is neither 'file' nor 'data': set one of them."
            )
        if self.conclusion_codes not in ("on", "off"):
            raise PartUnavailable(
                "setting-conclusion-codes", "LONGVIEW_CONCLUSION_CODES is neither 'on' nor 'off': set one of them."
            )
        if self.codec_ui_origin and not _ORIGIN.fullmatch(self.codec_ui_origin):
            raise PartUnavailable(
                "setting-codec-ui-origin",
                "LONGVIEW_CODEC_UI_ORIGIN is no origin: write it as http(s)://host[:port], without a path.",
            )
        if self.inbox_login not in ("off", "oidc"):
            raise PartUnavailable(
                "setting-inbox-login", "LONGVIEW_INBOX_LOGIN is neither 'off' nor 'oidc': set one of them."
            )
        if self.worker_current not in ("on", "off"):
            raise PartUnavailable(
                "setting-worker-current", "LONGVIEW_WORKER_CURRENT is neither 'on' nor 'off': set one of them."
            )
        if self.worker_queues not in ("all", "reading", "background"):
            raise PartUnavailable(
                "setting-worker-queues",
                "LONGVIEW_WORKER_QUEUES is none of 'all', 'reading' and 'background': set one of them.",
            )
        try:
            _ = self.zone
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise PartUnavailable(
                "setting-time-zone", "LONGVIEW_TIME_ZONE is no time zone of this machine: write it as Europe/Berlin."
            ) from None
        if self.reconcile_heal not in ("on", "off"):
            raise PartUnavailable(
                "setting-reconcile-heal", "LONGVIEW_RECONCILE_HEAL is neither 'on' nor 'off': set one of them."
            )
        if bool(self.shadow_model_url) != bool(self.shadow_model_release):
            raise PartUnavailable(
                "setting-shadow-model",
                "LONGVIEW_SHADOW_MODEL_URL and LONGVIEW_SHADOW_MODEL_RELEASE go together: set both or none.",
            )
        if bool(self.history_model_url) != bool(self.history_model_release):
            raise PartUnavailable(
                "setting-history-model",
                "LONGVIEW_HISTORY_MODEL_URL and LONGVIEW_HISTORY_MODEL_RELEASE go together: set both or none.",
            )
        if self.log_format not in ("text", "json"):
            raise PartUnavailable(
                "setting-log-format", "LONGVIEW_LOG_FORMAT is neither 'text' nor 'json': set one of them."
            )
        if not _is_address(self.traces_url):
            raise PartUnavailable(
                "setting-traces-url",
                "LONGVIEW_TRACES_URL is no URL: write it as http(s)://host:4318/v1/traces.",
            )
        if self.operations_port and not _is_number(self.operations_port):
            raise PartUnavailable("setting-number", "LONGVIEW_OPERATIONS_PORT is not a whole number: set one.")
        for name in _NUMBERS:
            if not _is_number(getattr(self, name)):
                raise PartUnavailable("setting-number", f"{PREFIX}{name.upper()} is not a whole number: set one.")
        try:
            _ = [ipaddress.ip_network(each, strict=False) for each in self.proxies]
        except ValueError:
            raise PartUnavailable(
                "setting-inbox-proxies",
                "LONGVIEW_INBOX_PROXIES holds what is no address and no network: write it as 10.0.0.0/8,192.168.1.7.",
            ) from None
        for each in fields(self):
            if each.name.endswith("_url") and each.name != "database_url" and not _is_address(getattr(self, each.name)):
                raise PartUnavailable(
                    "setting-url",
                    f"{PREFIX}{each.name.upper()} is no URL: write it as http(s)://host[:port][/path].",
                )
        check_connections(self)

    @property
    def proxies(self) -> list[str]:
        """Addresses and networks of the proxies that are believed."""
        return [each.strip() for each in self.inbox_proxies.split(",") if each.strip()]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Settings from LONGVIEW_* variables, secrets also from LONGVIEW_*_FILE; an unknown one is refused: most often a slip of the pen."""
        known = {PREFIX + f.name.upper(): f.name for f in fields(cls)}
        given = {k: v for k, v in environment.items() if k.startswith(PREFIX) and not k.startswith(_NOT_SETTINGS)}
        given = _secrets_from_files(given, known, {f.name for f in fields(cls) if f.metadata["secret"]})
        if unknown := sorted(set(given) - set(known)):
            raise PartUnavailable(
                "setting-unknown", f"{unknown[0]} is not a setting: see 'longview config' for all of them."
            )
        return cls(**{known[k]: v for k, v in given.items() if v})

    @property
    def namespace(self) -> Namespace:
        return Namespace(self.canonical_base, self.tenant)

    @property
    def state(self) -> Path:
        return Path(self.state_dir).resolve()

    @property
    def store(self) -> Path:
        return Path(self.store_dir).resolve() if self.store_dir else self.state / "store"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.state / 'longview.db'}"

    @property
    def codec_operators(self) -> Path:
        return Path(self.codec_operators_file or self.state / "codec-operators.json").resolve()

    @property
    def media(self) -> Literal["file", "data"]:
        return "data" if self.model_media == "data" else "file"

    @property
    def accessions(self) -> str:
        return self.accession_system or f"{self.canonical_base}/sid/accession"

    @property
    def zone(self) -> tzinfo:
        return UTC if self.time_zone == "UTC" else ZoneInfo(self.time_zone)

    @property
    def event_source(self) -> str:
        return f"urn:longview:{re.sub(r'[^A-Za-z0-9-]', '-', self.tenant)}:ai"

    def bearer_of_model(self) -> str:
        """The worker's token for the model server: the setting, else what its file holds, else "". `PartUnavailable` if the file cannot be read."""
        if self.model_token or not self.model_token_file:
            return self.model_token
        try:
            return read_secret(Path(self.model_token_file))
        except (OSError, ValueError) as error:
            raise PartUnavailable(
                "setting-model-token", "LONGVIEW_MODEL_TOKEN_FILE cannot be read: check its name and who may read it."
            ) from error

    def require(self, name: str) -> str:
        """A setting that must be given; one sentence says which and how."""
        value = str(getattr(self, name))
        if not value:
            raise PartUnavailable(
                "setting-missing", f"{PREFIX}{name.upper()} is not set: set it, or start the part with 'longview up'."
            )
        return value

    def describe(self, environment: Mapping[str, str] = os.environ) -> list[tuple[str, str, str, str]]:
        """Rows (variable, value, source, meaning) with secrets hidden, for `longview config`."""
        rows = []
        for f in fields(self):
            variable, value = PREFIX + f.name.upper(), str(getattr(self, f.name))
            shown = HIDDEN if f.metadata["secret"] and value else value
            rows.append((variable, shown, _source(variable, environment), f.metadata["meaning"]))
        return rows


def _source(variable: str, environment: Mapping[str, str]) -> str:
    given = environment.get(variable) or environment.get(f"{variable}_FILE")
    return "environment" if given else "default"


def _secrets_from_files(given: dict[str, str], known: Mapping[str, str], secrets: set[str]) -> dict[str, str]:
    """A secret may be given as LONGVIEW_<NAME>_FILE, the file that holds it: so it stands in no environment and no manifest."""
    read = {}
    for variable, value in given.items():
        name = variable.removesuffix("_FILE")
        if variable in known or known.get(name) not in secrets or not value:
            read[variable] = value
        elif given.get(name):
            raise PartUnavailable("setting-twice", f"{name} and {variable} are both set: set one of them.")
        else:
            read[name] = _content(variable, Path(value))
    return read


def _content(variable: str, file: Path) -> str:
    try:
        return read_secret(file)
    except (OSError, ValueError) as error:
        raise PartUnavailable(
            "setting-file", f"{variable} names a file that cannot be read: check its name and who may read it."
        ) from error


def _is_address(url: str) -> bool:
    """Of an HTTP server, or none at all."""
    try:
        parts = urlsplit(url)
        return not url or (parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        return False


def _is_number(text: str) -> bool:
    """ASCII digits alone: "²" is a digit too, and no number."""
    return text.isascii() and text.isdigit()


_NUMBERS = (
    "acknowledge_minutes",
    "inbox_port",
    "payload_store_bytes",
    "codec_port",
    "dead_letter_cap",
    "dead_letter_share",
    "grace_seconds",
    "reconcile_minutes",
    "reconcile_days",
    "reconcile_grace_minutes",
    "reconcile_cap",
)
_NOT_SETTINGS = ("LONGVIEW_MODEL_SERVER_", "LONGVIEW_TEST_", "LONGVIEW_CACHE", "LONGVIEW_BENCH_")
"""Variables of the model server, which is no process of these settings, of the build and of the tests."""
