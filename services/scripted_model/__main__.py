"""`python -m services.scripted_model --port P --media-dir DIR --ready-file FILE`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import click

from services.scripted_model.server import serve
from services.settings import Settings
from services.telemetry.process import configure_logging, traced


@click.command()
@click.option("--port", type=int, required=True, help="Port on the loopback interface.")
@click.option(
    "--media-dir", type=click.Path(path_type=Path), required=True, help="Folder of the volumes that may be read."
)
@click.option("--ready-file", type=click.Path(path_type=Path), default=None, help="Written when it listens.")
@click.option("--token-file", type=click.Path(path_type=Path), default=None, envvar="LONGVIEW_MODEL_SERVER_TOKEN_FILE")
@click.option("--traces-url", default="", envvar="LONGVIEW_MODEL_SERVER_TRACES_URL", help="Where its spans go.")
def main(port: int, media_dir: Path, ready_file: Path | None, token_file: Path | None, traces_url: str) -> None:
    """Answer by rule, as a model server would."""
    token = token_file.read_text("ascii").strip() if token_file else os.environ.get("LONGVIEW_MODEL_SERVER_TOKEN", "")
    configure_logging()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with traced(Settings(traces_url=traces_url), "scripted-model"):
        serve(port, media_dir, ready_file, token)


if __name__ == "__main__":
    main()
