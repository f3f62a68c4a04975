"""AuditEvents as IHE BALP and R4 ask for them: checked against R4 models, the rules of the profiles, and the contract's examples."""

from __future__ import annotations

import base64
import json
from typing import Any, get_args

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from hypothesis import given
from hypothesis import strategies as st

from schemas.audit import AuditEntry, AuditKind
from schemas.codes import DCM, Json
from tests.conftest import TEST_DATA
from tests.contract.written_bundles import ADDRESSES, CANONICAL, audit_entry, audit_events
from workflows.report.audit import BALP, build_audit_event

KINDS: tuple[AuditKind, ...] = get_args(AuditKind)
EVENTS = dict(zip(KINDS, audit_events(), strict=True))


def codes(agent: Json) -> set[str]:
    return {coding["code"] for coding in agent["type"]["coding"]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_an_audit_event_of_r4(kind: AuditKind) -> None:
    AuditEvent.model_validate(EVENTS[kind])
    assert EVENTS[kind]["meta"]["tag"][0]["system"] == CANONICAL.sid("audit-event")


@pytest.mark.parametrize("kind", KINDS)
def test_what_claims_a_profile_of_balp_keeps_its_rules(kind: AuditKind) -> None:
    """`PatientRead.fsh`, `PatientUpdate.fsh`, `PatientCreate.fsh`, `Query.fsh`: agents, entities, outcome."""
    event = EVENTS[kind]
    [profile] = event["meta"].get("profile", [None])
    if profile is None:
        assert kind not in (
            "result-opened",
            "result-read",
            "picture-read",
            "review-written",
            "result-posted",
            "list-read",
        )
        return
    name = profile.removeprefix(BALP)
    assert event["type"]["code"] == "rest"
    assert event["outcome"] == "0"
    assert event["action"] == {"PatientCreate": "C", "PatientRead": "R", "PatientUpdate": "U", "Query": "E"}[name]
    roles = [role for agent in event["agent"] for role in codes(agent)]
    client, server = ("110152", "110153") if name == "PatientRead" else ("110153", "110152")
    assert roles[:2] == [client, server]
    assert roles[2:] in ([], ["AUT" if name in ("PatientCreate", "PatientUpdate") else "IRCP"])
    assert all("network" in agent for agent in event["agent"][:2])
    assert all("network" not in agent and agent["requestor"] for agent in event["agent"][2:])
    kinds = [entity["type"]["code"] for entity in event["entity"]]
    assert kinds == (["2", "XrequestId"] if name == "Query" else ["1", "2", "XrequestId"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_failed_claims_no_profile_since_balp_knows_success_alone(kind: AuditKind) -> None:
    refused = audit_entry(kind).model_copy(update={"outcome": "refused", "code": "review-stale"})
    event = build_audit_event(CANONICAL, ADDRESSES, refused, seq=1, chain="0" * 64)
    assert "profile" not in event["meta"]
    assert (event["outcome"], event["outcomeDesc"]) == ("4", "review-stale")
    AuditEvent.model_validate(event)


def test_a_person_is_named_by_the_issuers_own_id() -> None:
    user = EVENTS["result-opened"]["agent"][2]
    assert user["who"]["identifier"] == {"system": "https://login.example.org", "value": "u-17"}
    assert user["purposeOfUse"][0]["coding"][0]["code"] == "TREAT"


def test_a_list_tells_its_filter() -> None:
    query = EVENTS["list-read"]["entity"][0]["query"]
    assert base64.b64decode(query) == b"shown=open&modality=CT&priority=stat&page=1"


@pytest.mark.parametrize(("number", "kind"), [("02b", "review-written"), ("02c", "result-opened")])
def test_the_contracts_examples_say_the_same(number: str, kind: AuditKind) -> None:
    found = list((TEST_DATA.parent / "contract" / "examples").glob(f"{number}_*.json"))
    if not found:
        pytest.skip("no examples of the contract beside the test data")
    wanted, event = json.loads(found[0].read_bytes()), EVENTS[kind]

    def shape(resource: Json) -> Any:
        agents = [
            (codes(agent), agent["requestor"], agent.get("network", {}).get("type")) for agent in resource["agent"]
        ]
        entities = [(e["type"]["code"], e.get("role", {}).get("code")) for e in resource["entity"]]
        fields = {name: resource[name] for name in ("action", "outcome")}
        said = (resource["meta"]["profile"], resource["type"]["code"], resource["subtype"][0]["code"])
        return fields, said, [agent[:2] for agent in agents], entities

    assert shape(event) == shape(wanted)
    assert {DCM} <= {c["system"] for agent in event["agent"] for c in agent["type"]["coding"]}


@given(st.sampled_from(KINDS), st.sampled_from(["success", "refused", "failed"]), st.data())
def test_whatever_is_missing_the_event_is_valid(kind: AuditKind, outcome: str, data: st.DataObject) -> None:
    full = audit_entry(kind).model_dump()
    optional = ["person", "address", "patient", "data", "part", "query", "result_id", "act_id", "code"]
    kept = data.draw(st.sets(st.sampled_from(optional)))
    entry = AuditEntry.model_validate(
        {k: v for k, v in full.items() if k not in optional or k in kept} | {"outcome": outcome}
    )
    AuditEvent.model_validate(build_audit_event(CANONICAL, ADDRESSES, entry, seq=7, chain="ab" * 32))
