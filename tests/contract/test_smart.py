"""A FHIR server behind SMART Backend Services: the FHIR contract's stories through it, and what becomes of a night's work when access changes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from joserfc.util import urlsafe_b64decode

from schemas.errors import LongviewError, PartUnavailable, PermanentFailure, TransientFailure
from schemas.identifiers import canonical_json
from services.clients.fhir import FhirClient
from services.clients.smart import ASSERTION_SECONDS, PAUSE_SECONDS, SmartAuth, SmartClient, SmartTokens
from services.clients.smart_keys import add_key, read_keys
from services.clients.smart_scopes import needed
from tests.contract.authorization_server import CLIENT, AuthorizationServer, Gate, gated
from tests.contract.test_fhir import (  # noqa: F401  the same stories, with the fixture `fhir` of this module
    test_a_decision_is_written_once_and_recognised,
    test_a_lost_race_heals_by_posting_the_same_bytes,
    test_a_new_result_cancels_the_unread_one_in_the_same_transaction,
    test_a_patient_is_found_by_a_bare_number,
    test_a_result_posted_twice_makes_nothing_new,
    test_a_stale_update_rolls_the_whole_transaction_back,
    test_an_accession_number_with_the_marks_of_a_search_is_found,
    test_an_unread_result_beside_a_newer_one_is_withdrawn_once,
    test_our_reports_are_found_by_day_and_no_others,
    test_the_record_is_complete_beyond_one_page,
    test_the_server_can_do_what_we_need,
    test_what_the_server_does_not_know_is_named,
)
from tests.contract.written_bundles import context, seed
from workflows.report import build_result

SEEDING = ("rolls_the_whole", "beyond_one_page", "accession_number")
"""Stories that put a chart there through the client; a system at work may not."""
EVERYTHING = ("system/*.cruds",)


class Clocks:
    """Ours: the wall's and the monotonic one, moved by hand."""

    def __init__(self, server: AuthorizationServer) -> None:
        self.passed, self._server = 0.0, server
        self._began, self.ours_ahead = 1_800_000_000.0, 0.0
        server.clock = lambda: self._began + self.passed

    def wall(self) -> float:
        return self._began + self.passed + self.ours_ahead

    def monotonic(self) -> float:
        return self.passed


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "fhir.jwks"
    add_key(path, "ES384")
    return path


@pytest.fixture
def gate(fhir_base_url: str, key_file: Path) -> Iterator[Gate]:
    with closing(FhirClient(fhir_base_url)) as direct:
        direct.transaction(json.dumps(seed()).encode())
    server = AuthorizationServer(read_keys(key_file).public(), needed())
    with gated(server, fhir_base_url) as gate:
        yield gate


@pytest.fixture
def fhir(gate: Gate, key_file: Path, request: pytest.FixtureRequest) -> Iterator[FhirClient]:
    """The client as the worker has it; only for the stories that seed it asks for more than it needs."""
    wide = any(word in request.node.name for word in SEEDING)
    gate.server.allowed = list(EVERYTHING) if wide else needed()
    client = SmartClient(gate.url, CLIENT, key_file, scopes=EVERYTHING if wide else ())
    with closing(FhirClient(gate.url, auth=SmartAuth(SmartTokens(client)))) as server:
        yield server


@pytest.fixture
def clocks(gate: Gate) -> Clocks:
    return Clocks(gate.server)


@pytest.fixture
def tokens(gate: Gate, key_file: Path, clocks: Clocks) -> Iterator[SmartTokens]:
    made = SmartTokens(SmartClient(gate.url, CLIENT, key_file), clock=clocks.wall, monotonic=clocks.monotonic)
    yield made
    made.close()


@pytest.fixture
def reader(gate: Gate, tokens: SmartTokens) -> Iterator[FhirClient]:
    with closing(FhirClient(gate.url, auth=SmartAuth(tokens), read_pauses=())) as client:
        yield client


def test_nobody_gets_in_without_a_token(gate: Gate) -> None:
    with closing(FhirClient(gate.url)) as stranger, pytest.raises(PermanentFailure, match="fhir-forbidden"):
        stranger.read("Patient/pat-1")


def test_what_a_reading_does_is_within_the_scopes_that_are_asked_for(gate: Gate, fhir: FhirClient) -> None:
    """The gate refuses whatever is beyond them; here the scopes of the types that are only read are used up as well."""
    result = context(fhir.patient_record("Patient/pat-1"), manifest=b"scopes")
    fhir.transaction(canonical_json(build_result(result)))
    read = {kind for kind, letter in gate.used if letter in "rs"}
    assert {"Patient", "Condition", "AllergyIntolerance", "ServiceRequest"} <= read
    assert ("Task", "c") in gate.used
    assert not [kind for kind, letter in gate.used if letter == "d"]


def test_one_token_serves_all_threads_and_all_requests_until_shortly_before_its_end(
    gate: Gate, tokens: SmartTokens, clocks: Clocks
) -> None:
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(tokens.current())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(set(got)), len(gate.server.assertions)) == (16, 1, 1)
    clocks.passed = gate.server.lifetime - 61
    assert tokens.current() == got[0]
    clocks.passed += 2
    assert tokens.current() != got[0]


def test_a_token_that_ends_in_the_midst_of_a_study_is_replaced_without_a_failure(
    gate: Gate, reader: FhirClient, clocks: Clocks
) -> None:
    """The server's clock runs past the token while ours stands: the sixth request of the history meets a 401."""
    asked = iter(range(1000))

    def overtaken(path: str) -> None:
        if path != "/auth/token" and next(asked) == 6:
            gate.server.revoke_all()

    clocks.passed = 0.0
    reader.read("Patient/pat-1")
    clocks.passed = PAUSE_SECONDS + 1
    gate.on_request = overtaken
    assert {"Patient", "Condition"} <= {r["resourceType"] for r in reader.patient_record("Patient/pat-1")}
    assert len(gate.server.assertions) == 2


def test_a_server_that_takes_none_of_our_tokens_does_not_make_us_ask_for_one_with_every_request(
    gate: Gate, reader: FhirClient
) -> None:
    gate.on_request = lambda path: gate.server.revoke_all()
    for _ in range(5):
        with pytest.raises(TransientFailure, match="smart-token-refused"):
            reader.read("Patient/pat-1")
    assert len(gate.server.assertions) == 1


def test_while_the_authorization_server_is_away_the_work_waits(gate: Gate, reader: FhirClient) -> None:
    gate.server.away = True
    with pytest.raises(TransientFailure, match="smart-unavailable"):
        reader.read("Patient/pat-1")
    gate.server.away = False
    assert reader.read("Patient/pat-1")["id"] == "pat-1"


def test_a_revoked_key_is_named_and_asked_about_only_now_and_then(
    gate: Gate, reader: FhirClient, clocks: Clocks, tmp_path: Path, key_file: Path
) -> None:
    stranger = tmp_path / "other.jwks"
    gate.server.jwks = add_key(stranger, "ES384").public()
    for _ in range(10):
        with pytest.raises(TransientFailure, match="smart-refused: the authorization server says invalid_client"):
            reader.read("Patient/pat-1")
    assert gate.server.refused == ["invalid_client"]
    gate.server.jwks = read_keys(key_file).public()
    clocks.passed += PAUSE_SECONDS + 1
    assert reader.read("Patient/pat-1")["id"] == "pat-1"


def test_a_refusal_repeats_none_of_the_servers_words_and_nothing_secret_is_logged(
    gate: Gate, tokens: SmartTokens, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    good = tokens.current()
    gate.server.jwks = {"keys": []}
    gate.server.revoke_all()
    tokens._token = None
    with pytest.raises(TransientFailure) as caught:
        tokens.current()
    said = caplog.text + str(caught.value)
    assert "Doe" not in said
    assert good not in said
    assert not [assertion for assertion in gate.server.assertions if assertion in said]


@pytest.mark.parametrize("ahead", [-ASSERTION_SECONDS + 5, ASSERTION_SECONDS - 5])
def test_clocks_may_differ_by_two_minutes_either_way(tokens: SmartTokens, clocks: Clocks, ahead: float) -> None:
    clocks.ours_ahead = ahead
    assert tokens.current()


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_clocks_that_differ_more_are_named_as_the_reason(tokens: SmartTokens, clocks: Clocks, ahead: float) -> None:
    clocks.ours_ahead = ahead
    with pytest.raises(TransientFailure, match=r"our clock and its differ by 600 s|our clock and its differ by 599 s"):
        tokens.current()


def test_fewer_scopes_than_needed_are_refused_at_the_start_with_those_that_are_missing(
    gate: Gate, tokens: SmartTokens
) -> None:
    gate.server.allowed = [scope for scope in needed() if "Task" not in scope and "Patient" not in scope]
    gate.server.allowed.append("system/Task.rs")
    with pytest.raises(PartUnavailable, match=r"smart-scopes.*also: system/Patient.rs system/Task.cu") as caught:
        tokens.require()
    assert caught.value.hint.endswith("system/Task.cu")


def test_a_start_while_the_authorization_server_is_away_is_no_failure(gate: Gate, tokens: SmartTokens) -> None:
    gate.server.away = True
    tokens.require()
    gate.server.away = False
    assert tokens.current()


def test_keys_rotate_without_a_moment_in_which_nobody_gets_in(
    gate: Gate, tmp_path: Path, clocks: Clocks, key_file: Path
) -> None:
    """Add a key, register both, take the old one away: at each step the process that runs goes on."""
    mine = tmp_path / "rotating.jwks"
    mine.write_bytes(key_file.read_bytes())
    tokens = SmartTokens(SmartClient(gate.url, CLIENT, mine), clock=clocks.wall, monotonic=clocks.monotonic)
    both = tmp_path / "both.jwks"
    both.write_bytes(mine.read_bytes())
    registered = add_key(both, "RS384").public()
    assert len(registered["keys"]) == 2
    steps = [lambda: setattr(gate.server, "jwks", registered), lambda: both.replace(mine)]
    steps.append(lambda: setattr(gate.server, "jwks", {"keys": registered["keys"][1:]}))
    for step in steps:
        step()
        clocks.passed += gate.server.lifetime
        assert tokens.current()
    used = [json.loads(_decoded(assertion))["alg"] for assertion in gate.server.assertions]
    assert used == ["ES384", "RS384", "RS384"]
    tokens.close()


def _decoded(assertion: str) -> bytes:
    return urlsafe_b64decode(assertion.split(".")[0].encode())


def test_an_older_key_signs_where_the_server_takes_only_its_algorithm(gate: Gate, tmp_path: Path) -> None:
    mine = tmp_path / "two.jwks"
    add_key(mine, "RS384")
    gate.server.jwks = add_key(mine, "ES384").public()
    gate.server.told = {"token_endpoint_auth_signing_alg_values_supported": ["RS384"]}
    tokens = SmartTokens(SmartClient(gate.url, CLIENT, mine))
    assert tokens.current()
    assert json.loads(_decoded(gate.server.assertions[0]))["alg"] == "RS384"
    tokens.close()


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"token_endpoint": "http://auth.hospital.example/token"}, "not https"),
        ({"token_endpoint": None}, "names no token endpoint"),
        ({"token_endpoint_auth_methods_supported": ["client_secret_basic"]}, "signed assertions"),
        ({"grant_types_supported": ["authorization_code"]}, "client_credentials"),
    ],
)
def test_a_discovery_that_cannot_serve_is_named_and_no_assertion_leaves(
    gate: Gate, tokens: SmartTokens, told: dict[str, object], sentence: str
) -> None:
    gate.server.told = told
    with pytest.raises(LongviewError, match=f"smart-discovery.*{sentence}"):
        tokens.current()
    assert gate.server.assertions == []


def test_access_tokens_are_asked_for_over_https_alone(key_file: Path) -> None:
    with pytest.raises(PartUnavailable, match="LONGVIEW_FHIR_URL is not https"):
        SmartTokens(SmartClient("http://fhir.hospital.example/r4", CLIENT, key_file))


def test_an_assertion_that_is_overheard_is_good_for_nothing(gate: Gate, tokens: SmartTokens) -> None:
    tokens.current()
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": gate.server.assertions[0],
        "scope": "system/Patient.rs",
    }
    assert httpx.post(gate.server.token_url, data=form, trust_env=False).json()["error"] == "invalid_client"


# -- the processes -----------------------------------------------------------------------------------------------------------------


def longview(gate: Gate, key_file: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGVIEW_")}
    given = {
        "LONGVIEW_STATE_DIR": str(folder),
        "LONGVIEW_DATABASE_URL": f"sqlite:///{folder}/longview.db",
        "LONGVIEW_FHIR_URL": gate.url,
        "LONGVIEW_FHIR_CLIENT_ID": CLIENT,
        "LONGVIEW_FHIR_KEY_FILE": str(key_file),
    }
    command = [sys.executable, "-P", "-m", "services.cli", *arguments]
    return subprocess.run(command, env=kept | given, capture_output=True, text=True, timeout=120, check=False)


def test_a_worker_does_not_start_with_fewer_scopes_than_it_needs(gate: Gate, key_file: Path, tmp_path: Path) -> None:
    gate.server.allowed = [scope for scope in needed() if "Provenance" not in scope]
    ended = longview(gate, key_file, tmp_path, "worker")
    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("give LONGVIEW_FHIR_CLIENT_ID also: system/Provenance.crs")


def test_doctor_says_whether_access_is_complete(gate: Gate, key_file: Path, tmp_path: Path) -> None:
    def preflight() -> list[str]:
        told = json.loads(longview(gate, key_file, tmp_path, "doctor", "--json").stdout)
        return [check["mend"] for check in told["checks"] if check["name"] == "fhir preflight"]

    assert preflight() == [""]
    gate.server.allowed = ["system/Patient.rs"]
    [mend] = preflight()
    assert "system/Task.crus" in mend
    gate.server.jwks = {"keys": []}
    [mend] = preflight()
    assert "invalid_client" in mend
