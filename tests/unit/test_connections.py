"""How Longview reaches others: what is refused before a secret leaves, secrets that are replaced while a process runs, and what ends it."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, RSAKey

from schemas.errors import PartUnavailable
from services.adapters import kafka_access, smart_tokens
from services.cli import main
from services.clients.fhir import FhirClient
from services.clients.smart_keys import add_key, read_keys
from services.clients.smart_scopes import LETTERS, missing, needed, rights_of
from services.clients.tokens import bearer
from services.parts.environment import child_environment
from services.renewal import ending_when_replaced, taken_once
from services.secret_file import SecretFromFile
from services.settings import Settings
from tests.secret_mount import mount

SASL = {"LONGVIEW_KAFKA_USERNAME": "u", "LONGVIEW_KAFKA_PASSWORD": "p"}
SMART = {"LONGVIEW_FHIR_CLIENT_ID": "longview", "LONGVIEW_FHIR_KEY_FILE": "/keys/fhir.jwks"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"LONGVIEW_KAFKA_SECURITY": "tls"}, "LONGVIEW_KAFKA_SECURITY is none of plaintext"),
        ({"LONGVIEW_KAFKA_SECURITY": "ssl", **SASL}, "would not be used"),
        ({"LONGVIEW_KAFKA_SASL_MECHANISM": "GSSAPI"}, "LONGVIEW_KAFKA_SASL_MECHANISM is none of"),
        (
            {"LONGVIEW_KAFKA_SECURITY": "sasl_plaintext", "LONGVIEW_KAFKA_BOOTSTRAP": "127.0.0.1:1,bus:9092", **SASL},
            "in the clear to another machine: set it to sasl_ssl",
        ),
        ({"LONGVIEW_TEMPORAL_TLS": "yes"}, "LONGVIEW_TEMPORAL_TLS is neither"),
        (
            {"LONGVIEW_TEMPORAL_API_KEY": "k", "LONGVIEW_TEMPORAL_ADDRESS": "temporal:7233"},
            "LONGVIEW_TEMPORAL_API_KEY would be sent in the clear",
        ),
        (
            {"LONGVIEW_CLIENT_CERT_FILE": "/tls.crt"},
            "LONGVIEW_CLIENT_CERT_FILE and LONGVIEW_CLIENT_KEY_FILE go together",
        ),
        ({"LONGVIEW_FHIR_KEY_FILE": "/keys/fhir.jwks"}, "set LONGVIEW_FHIR_CLIENT_ID"),
        ({**SMART, "LONGVIEW_FHIR_TOKEN": "t"}, "a fixed token, or SMART Backend Services"),
        ({**SMART, "LONGVIEW_FHIR_URL": "http://fhir.hospital.example/r4"}, "LONGVIEW_FHIR_URL is not https"),
        ({**SMART, "LONGVIEW_FHIR_TOKEN_URL": "http://auth/token"}, "LONGVIEW_FHIR_TOKEN_URL is not https"),
    ],
)
def test_what_cannot_be_or_would_give_a_secret_away_is_refused(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(PartUnavailable, match=sentence):
        Settings.from_environment(given)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"LONGVIEW_KAFKA_SECURITY": "sasl_plaintext", "LONGVIEW_KAFKA_BOOTSTRAP": "127.0.0.1:1,[::1]:2", **SASL},
        {"LONGVIEW_KAFKA_SECURITY": "sasl_ssl", "LONGVIEW_KAFKA_BOOTSTRAP": "bus:9093", **SASL},
        {"LONGVIEW_TEMPORAL_API_KEY": "k", "LONGVIEW_TEMPORAL_ADDRESS": "temporal:7233", "LONGVIEW_TEMPORAL_TLS": "on"},
        {**SMART, "LONGVIEW_FHIR_URL": "http://127.0.0.1:8080/fhir"},
        {**SMART, "LONGVIEW_FHIR_URL": "https://fhir.hospital.example/r4"},
    ],
)
def test_what_is_guarded_is_taken(given: dict[str, str]) -> None:
    Settings.from_environment(given)


def test_a_process_that_is_not_given_a_secret_starts_and_one_that_needs_it_says_so() -> None:
    """A worker is told how the bus is spoken to and not its password; a gateway knows the FHIR server's address and has no key."""
    given = {
        "LONGVIEW_KAFKA_SECURITY": "sasl_ssl",
        "LONGVIEW_KAFKA_USERNAME": "u",
        "LONGVIEW_FHIR_CLIENT_ID": "longview",
    }
    settings = Settings.from_environment(given | {"LONGVIEW_FHIR_URL": "https://fhir.hospital.example/r4"})
    with pytest.raises(PartUnavailable, match="LONGVIEW_KAFKA_PASSWORD_FILE"):
        kafka_access(settings)
    with pytest.raises(PartUnavailable, match="LONGVIEW_FHIR_KEY_FILE is not set"):
        smart_tokens(settings)


# -- secrets that are replaced -------------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    mount(tmp_path / "secret", {"token": b"first\n"})
    return tmp_path / "secret"


def test_a_token_that_is_replaced_on_the_disk_is_sent_from_the_next_request_on(secret: Path) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(200, json={"resourceType": "Patient", "id": "p"})

    settings = Settings.from_environment({"LONGVIEW_FHIR_TOKEN_FILE": str(secret / "token")})
    client = FhirClient("http://fhir.test", token=settings.fhir_token, transport=httpx.MockTransport(answer))
    client.read("Patient/p")
    mount(secret, {"token": b"second"})
    client.read("Patient/p")
    (secret / "token").resolve().unlink()  # gone for a moment
    client.read("Patient/p")
    mount(secret, {"token": b"two words"})  # no token
    client.read("Patient/p")
    assert seen == ["Bearer first", "Bearer second", "Bearer second", "Bearer second"]


def test_a_token_that_changed_before_the_first_request_is_read_as_it_is_then(secret: Path) -> None:
    settings = Settings.from_environment({"LONGVIEW_DICOMWEB_TOKEN_FILE": str(secret / "token")})
    mount(secret, {"token": b"second"})
    auth = bearer(settings.dicomweb_token)
    assert auth is not None
    request = next(auth.auth_flow(httpx.Request("GET", "http://archive.test")))
    assert request.headers["Authorization"] == "Bearer second"


def test_a_child_gets_the_file_of_a_secret_and_not_the_secret(secret: Path) -> None:
    settings = Settings.from_environment(
        {"LONGVIEW_FHIR_TOKEN_FILE": str(secret / "token"), "LONGVIEW_MODEL_TOKEN": "x"}
    )
    environment = child_environment(settings, source={})
    assert environment["LONGVIEW_FHIR_TOKEN_FILE"] == str(secret / "token")
    assert "LONGVIEW_FHIR_TOKEN" not in environment
    assert environment["LONGVIEW_MODEL_TOKEN"] == "x"
    assert Settings.from_environment(environment).fhir_token == "first"


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "tab\t", "ümlaut"])
def test_what_no_header_can_carry_is_no_token(token: str) -> None:
    with pytest.raises(PartUnavailable, match="token-form"):
        bearer(token)


async def test_a_process_ends_in_order_when_a_password_it_took_once_is_replaced(secret: Path) -> None:
    settings = Settings.from_environment(
        {
            "LONGVIEW_KAFKA_PASSWORD_FILE": str(secret / "token"),
            "LONGVIEW_KAFKA_USERNAME": "u",
            "LONGVIEW_KAFKA_SECURITY": "sasl_ssl",
        }
    )
    stop = asyncio.Event()
    async with ending_when_replaced(settings, stop.set, look=0.02, spread=0.0):
        await asyncio.sleep(0.1)
        mount(secret, {"token": b"first\n"})  # written again as it was
        await asyncio.sleep(0.2)
        assert not stop.is_set()
        mount(secret, {"token": b"another"})
        await asyncio.wait_for(stop.wait(), 60)


async def test_the_embedded_system_watches_nothing() -> None:
    assert taken_once(Settings(database_url="sqlite:///x", kafka_password="", temporal_api_key="")) == []
    tls = Settings(temporal_tls="on", ca_file="/ca.crt", client_cert_file="/tls.crt", client_key_file="/tls.key")
    assert [file.name for file in taken_once(tls)] == ["ca.crt", "tls.crt", "tls.key"]
    assert taken_once(Settings(temporal_tls="off", ca_file="/ca.crt")) == []


def test_a_secret_of_a_file_is_text_as_any_other() -> None:
    secret = SecretFromFile("s", Path("relative"))
    assert (secret, f"{secret}", secret.file.is_absolute()) == ("s", "s", True)


# -- SMART Backend Services: keys and scopes -----------------------------------------------------------------------------------------


def fhir_command(*arguments: str, key_file: Path) -> str:
    environment = {"LONGVIEW_FHIR_KEY_FILE": str(key_file)}
    result = CliRunner().invoke(main, ["fhir", *arguments], env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_key_pair_is_made_and_only_its_public_half_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "new" / "fhir.jwks"
    [first] = json.loads(fhir_command("key", key_file=file))["keys"]
    assert (first["kty"], first["crv"], first["alg"], first["use"]) == ("EC", "P-384", "ES384", "sig")
    both = json.loads(fhir_command("key", "--kind", "RS384", key_file=file))["keys"]
    assert [key["alg"] for key in both] == ["ES384", "RS384"]
    assert both == json.loads(fhir_command("key", "--public", key_file=file))["keys"]
    assert not {"d", "p", "q", "dp", "dq", "qi"} & {name for key in both for name in key}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_keys(file).signer([])[1] == "RS384", "the newest key signs"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": []}',
        b'{"keys": 3}',
        json.dumps(OctKey.generate_key(256).as_dict(private=True)).encode(),
        json.dumps(ECKey.generate_key("P-256").as_dict(private=True)).encode(),
        json.dumps(ECKey.generate_key("P-384").as_dict(private=False)).encode(),
        json.dumps({"keys": [ECKey.generate_key("P-384").as_dict(private=True) | {"kid": "a"}] * 2}).encode(),
    ],
    ids=[
        "nothing",
        "a list",
        "no keys",
        "an empty set",
        "no set",
        "a secret",
        "P-256",
        "a public key",
        "one name twice",
    ],
)
def test_a_file_without_a_key_that_smart_servers_take_is_named_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "fhir.jwk"
    file.write_bytes(content)
    with pytest.raises(PartUnavailable, match="smart-key") as caught:
        read_keys(file)
    assert '"d"' not in str(caught.value)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_short_rsa_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fhir.jwk"
    file.write_text(json.dumps(RSAKey.generate_key(1024).as_dict(private=True)))
    with pytest.raises(PartUnavailable, match="smart-key"):
        read_keys(file)


def test_a_key_of_the_hospitals_own_making_needs_no_kid(tmp_path: Path) -> None:
    file = tmp_path / "fhir.jwk"
    file.write_text(json.dumps(ECKey.generate_key("P-384").as_dict(private=True)))
    [key] = read_keys(file).keys
    assert key.kid == key.thumbprint()
    assert len(add_key(file, "ES384").keys) == 2


def test_the_scopes_that_are_asked_for_are_least(tmp_path: Path) -> None:
    scopes = fhir_command("scopes", key_file=tmp_path / "none").split()
    assert scopes == needed()
    assert "system/Patient.rs" in scopes
    assert "system/Provenance.crs" in scopes
    assert "system/Task.crus" in scopes
    assert not [scope for scope in scopes if "*" in scope or scope.rpartition(".")[2].endswith("d")]
    assert {scope for scope in scopes if "Patient" in scope} == {"system/Patient.rs"}


@pytest.mark.parametrize(
    ("granted", "lacking"),
    [
        ("system/*.cruds", []),
        ("system/*.rs system/Task.crus", []),
        ("system/*.read system/*.write", []),
        ("system/Patient.* system/Task.*", []),
        ("system/Patient.rs system/Task.rs", ["system/Task.cu"]),
        ("system/Patient.rs?active=true system/Task.crus", ["system/Patient.rs"]),
        ("patient/Patient.rs user/Task.crus", ["system/Patient.rs", "system/Task.crus"]),
        ("", ["system/Patient.rs", "system/Task.crus"]),
    ],
)
def test_what_a_server_grants_is_compared_with_what_was_asked(granted: str, lacking: list[str]) -> None:
    assert missing(["system/Patient.rs", "system/Task.crus"], granted.split()) == lacking


kinds = st.sampled_from(["Patient", "Task", "Observation", "*"])
letters = st.sets(st.sampled_from(LETTERS), min_size=1).map(lambda s: "".join(c for c in LETTERS if c in s))
scopes = st.lists(st.builds(lambda kind, rights: f"system/{kind}.{rights}", kinds, letters), max_size=6)


@given(asked=scopes, granted=scopes)
def test_what_is_missing_is_what_to_add(asked: list[str], granted: list[str]) -> None:
    lacking = missing(asked, granted)
    assert missing(asked, [*granted, *lacking]) == []
    assert all(rights_of([scope]) for scope in lacking)
    assert missing(asked, asked) == []


@given(st.text(max_size=60))
def test_no_text_of_a_server_breaks_the_reading_of_scopes(text: str) -> None:
    assert all(rights <= set(LETTERS) for rights in rights_of(text.split()).values())
