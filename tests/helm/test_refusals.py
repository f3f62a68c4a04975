"""Values that cannot work are refused before anything is installed, with one sentence that says what to do."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.helm.tools import CHART, Refused, helm, render

REFUSED = {
    "image.registry=": "which is Docker Hub",
    "image.digest=": "a tag may be moved to another image",
    "model.image.digest=": "model.image.digest is empty",
    "settings.kafka_bootstrap=": "the gateway has no bus",
    "settings.temporal_address=": "the processes have no Temporal",
    "settings.fhir_url=": "the workers have no FHIR server",
    "settings.dicomweb_url=": "the workers have no images",
    "secrets.payload_key_file.name=": "kubectl create secret generic longview-payload",
    "secrets.database_url.name=": "postgresql://user:password@host/database",
    "secrets.model_token.name=": "kubectl create secret generic longview-model",
    "secrets.kafka_password.name=": "name the Secret that holds the password",
    "settings.kafka_username=": "set the user, or kafka_security",
    "secrets.fhir_key_file.name=": "settings.fhir_client_id cannot be proven",
    "secrets.oidc_client_secret.name=": "name the Secret that holds our client secret",
    "secrets.client_cert_file.name=tls": "name both or none",
    "codec.enabled=true": "longview codec --add-user NAME",
    "externalSecrets.enabled=true": "name the SecretStore",
    "externalSecrets.enabled=true,externalSecrets.store.name=vault": "set the key under which it lies there",
    "trial.enabled=true": "contradict each other",
    "settings.canonical_base=": "set a URL that this hospital owns",
    "settings.inbox_login=off": "needs people to log in to the inbox",
    "profile=,settings.inbox_login=off": "would show patients' results to everybody",
    "settings.oidc_issuer=": "people cannot log in without it",
    "settings.inbox_url=": "people cannot log in without it",
    "inbox.ingress.tlsSecret=": "results travel over TLS alone",
    "networkPolicy.ingress.inbox=null": "the ingress controller cannot reach the inbox",
    "networkPolicy.egress.kafka=null": "the gateway cannot reach Kafka",
    "networkPolicy.egress.oidc=null": "the inbox cannot reach the issuer",
    "settings.traces_url=http://otel:4318/v1/traces": "traces cannot reach settings.traces_url",
    "settings.audit_url=https://audit.example/fhir": "the audit trail cannot reach settings.audit_url",
    "model.url=http://elsewhere:8000": "unclear which model reads",
    "model.checkpoint.existingClaim=": "exactly one checkpoint",
    "model.checkpoint.image.reference=models/medgemma": "exactly one checkpoint",
    "model.checkpoint.existingClaim=,model.checkpoint.untrained=true": "a model that has learnt nothing",
    "model.enabled=false": "no model reads",
    "model.tls.clients=true": "the model server has no certificate itself",
    "model.tls.secret=model-tls,model.tls.clients=true": "name the Secret with that of the workers",
    "model.tls.secret=model-tls,files.ca_file.configMap=": "the workers do not trust the certificate",
    "settings.kafka_security=sasl_plaintext": "sends the password in the clear",
    "secrets.temporal_api_key.name=temporal": "set settings.temporal_tls to on",
    "secrets.fhir_token.name=token": "set one",
    "model.enabled=false,model.url=http://elsewhere:8000,files.model_release.configMap=": "files.model_release is empty",
    "store.accessMode=ReadWriteOnce": "set it to ReadWriteMany",
    "profile=,image.digest=,image.tag=latest": "names no version",
    "worker.retire={0.2.0-000000000000}": "which this release runs",
    "autoscaling.gateway.least=9": "raise most or lower least",
    "autoscaling.prometheusAddress=": "how many questions wait",
    "autoscaling.hpa.modelMetric=waiting": "only one of KEDA and HPA may decide",
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_hospital_values_that_cannot_work_are_refused_with_the_mend(wrong: str) -> None:
    with pytest.raises(Refused) as refused:
        render("hospital", "--set", wrong)
    found = re.search(r"longview: (.*)", str(refused.value))
    assert found is not None, refused.value
    assert REFUSED[wrong] in found[1]
    assert found[1].endswith(".")
    assert len(found[1]) < 260


@pytest.mark.parametrize("missing", ["tenant", "task_queue"])
def test_two_sites_are_never_taken_for_one(missing: str) -> None:
    with pytest.raises(Refused, match="give each site's release its own of both"):
        render("multi-site", "--set", f"settings.{missing}=")


def test_the_defaults_alone_install_nothing() -> None:
    with pytest.raises(Refused, match="the gateway has no bus"):
        render("")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("gateway.replicsa=3", "replicsa"),
        ("settings.kafka_bootstraps=k:9092", "kafka_bootstraps"),
        ("settings.database_url=postgresql://user:word@host/db", "database_url"),
        ("settings.kafka_password=word", "kafka_password"),
        ("settings.worker_build_id=1", "worker_build_id"),
        ("secrets.fhir_token.value=word", "value"),
        ("gateway.replicas=two", "replicas"),
        ("store.size=plenty", "size"),
        ("profile=clinic", "profile"),
        ("autoscaling.provider=both", "provider"),
        ("image.digest=sha256:12", "digest"),
        ("networkPolicy.egress.fhir[0].cidr=10.0.0.0/8,networkPolicy.egress.fhir[0].ports=null", "fhir"),
        ("networkPolicy.egress.fhir[0].namespace=fhir", "fhir"),
        ("files.ca_file.inline=pem", "ca_file"),
        ("model.settings.port=80", "port"),
        ("worker.retire={a b}", "retire"),
    ],
)
def test_a_value_that_is_not_known_or_not_one_of_its_kind_is_refused(wrong: str, named: str) -> None:
    """Also a secret in the place of a reference to one."""
    with pytest.raises(Refused, match=named) as refused:
        render("hospital", "--set", wrong)
    assert "values don't meet the specifications of the schema" in str(refused.value)


def test_a_number_and_a_yes_become_what_the_processes_expect() -> None:
    """YAML reads `on` as true and 1048576 as a number; the processes read text."""
    text = helm(
        "template",
        str(CHART),
        "-f",
        str(CHART / "values-hospital.yaml"),
        "--set",
        "settings.conclusion_codes=true,settings.payload_store_bytes=1048576",
    )
    assert 'name: LONGVIEW_CONCLUSION_CODES\n              value: "on"' in text
    assert 'name: LONGVIEW_PAYLOAD_STORE_BYTES\n              value: "1048576"' in text


def test_the_schema_leaves_nothing_open_and_describes_what_it_takes() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    undescribed = [
        path
        for path, each in _leaves(schema)
        if "description" not in each and not path.startswith(("settings.", "model.settings."))
    ]
    assert undescribed == []


def _leaves(node: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, each in node.get("properties", {}).items():
        inner = f"{path}.{name}".lstrip(".")
        if each.get("type") == "object" and "properties" in each:
            assert each["additionalProperties"] is False, inner
            found += _leaves(each, inner) if "description" not in each else []
        else:
            found.append((inner, each))
    return found
