"""`python -m services.archive --folder DIR --port P`: the archive, on loopback unless told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
import uvicorn

from services.archive.app import make_app
from services.telemetry.process import configure_logging


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where the DICOM files are."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; it asks nobody who they are."
)
@click.option("--port", type=int, required=True, help="Port to listen on.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="How the log is written.")
def main(folder: Path, host: str, port: int, log_format: Literal["text", "json"]) -> None:
    """Serve a folder of DICOM files as a DICOMweb archive (QIDO-RS, WADO-RS, STOW-RS) at /dicom-web."""
    configure_logging(log_format)
    uvicorn.run(make_app(folder), host=host, port=port, log_config=None, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
