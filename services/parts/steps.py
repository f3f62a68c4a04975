"""What is done for a part besides starting a process: topics, migrations, the checkpoint, sekmet's configuration."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import orjson

from schemas.errors import PartUnavailable
from services.parts.environment import cache_folder, model_environment
from services.parts.probes import NotReady
from services.parts.scrub import last_words

if TYPE_CHECKING:
    from services.parts.part import Launch
    from services.settings import Settings

BUILD_SECONDS = 300.0


def quiet_logging(style: str) -> bytes:
    """Errors of the server alone, in the shape of our own lines: sekmet's messages repeat URLs and values of resources."""
    settings = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "schemas.telemetry.logs.LineFormatter", "style": style}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": "ERROR", "handlers": ["stderr"]},
        "loggers": {"sekmet": {"level": "CRITICAL"}, "uvicorn.access": {"level": "CRITICAL"}},
    }
    return orjson.dumps(settings, option=orjson.OPT_INDENT_2)


def sekmet_settings(address: str, folder: Path) -> bytes:
    """settings.yaml (JSON is YAML), without the traffic log, which would keep every chart twice, and the simulator, which answers orders."""
    host, _, port = address.rpartition(":")
    settings = {
        "base_url": f"http://{address}/fhir",
        "host": host,
        "port": int(port),
        "data_dir": str(folder / "data"),
        "log_inbound": False,
        "simulator": {"enabled": False},
        "validation": {"inbound": "warn"},
    }
    return orjson.dumps(settings, option=orjson.OPT_INDENT_2)


def create_topics(launch: Launch) -> dict[str, str]:
    """The topics in and out and their dead-letter topics, where they are absent."""
    from schemas.events import INBOUND_TOPICS, OUTBOUND_TOPICS, dead_letter_topic
    from services.adapters import kafka_access
    from services.clients.kafka import ensure_topics

    topics = (*INBOUND_TOPICS, *OUTBOUND_TOPICS, *map(dead_letter_topic, INBOUND_TOPICS))
    ensure_topics(launch.settings.kafka_bootstrap, topics, kafka_access(launch.settings))
    return {}


def migrate_database(launch: Launch) -> dict[str, str]:
    """The schema at its newest revision."""
    from services.db import migrate

    url = launch.settings.database
    try:
        migrate(url)
    except PartUnavailable:
        raise
    except Exception as error:  # whatever a driver raises, its text may hold the URL with its password
        raise NotReady(f"it could not be migrated ({type(error).__name__})") from error
    return {"database_url": url}


def build_checkpoint(launch: Launch) -> dict[str, str]:
    """The checkpoint's release file; built on the first run, found in the cache afterwards."""
    folder = launch.folder.parent
    log, answer = folder / "logs" / "checkpoint.log", folder / "run" / "checkpoint.out"
    since = log.stat().st_size if log.exists() else 0
    cache_folder().mkdir(parents=True, exist_ok=True)
    for path in (log, answer):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-P", "-m", "model_runtime", "build", "--cache", str(cache_folder())]
    with log.open("ab") as errors, answer.open("wb") as output:
        status = _run(command, model_environment(launch.settings), output, errors, launch)
    lines = answer.read_text().strip().splitlines()
    if status != 0 or not lines:
        raise NotReady(last_words(log, since) or f"its build ended with status {status}")
    return {"model_release": str(Path(lines[-1]) / "release.json")}


def _run(command: list[str], environment: dict[str, str], output: IO[bytes], errors: IO[bytes], launch: Launch) -> int:
    """Run to the end, or until the launch is given up."""
    deadline = time.monotonic() + BUILD_SECONDS
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors) as child:
        while child.poll() is None:
            if launch.aborted.is_set() or time.monotonic() > deadline:
                child.kill()
            time.sleep(0.1)
    return child.returncode


def check_release(settings: Settings) -> None:
    """A model server of the operator's own needs its release described."""
    if not Path(settings.require("model_release")).is_file():
        raise NotReady("LONGVIEW_MODEL_RELEASE names no file")
