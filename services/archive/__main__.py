"""`python -m services.archive --folder DIR --port P`: the archive, on loopback unless told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
import uvicorn

from services.archive.app import make_app
from services.http_bounds import PromptUploads, bounds
from services.parts.local_only import LocalOnly, door_options
from services.telemetry.process import configure_logging


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where the DICOM files are."
)
@door_options
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="How the log is written.")
def main(
    folder: Path, host: str, port: int, reached_as: str, token_file: Path | None, log_format: Literal["text", "json"]
) -> None:
    """Serve a folder of DICOM files as a DICOMweb archive (QIDO-RS, WADO-RS, STOW-RS) at /dicom-web."""
    configure_logging(log_format)
    door = LocalOnly(make_app(folder), token_file, names=(host, reached_as), open_paths=("/health",))
    uvicorn.run(
        door, host=host, port=port, log_config=None, log_level="warning", access_log=False, **bounds(PromptUploads)
    )


if __name__ == "__main__":
    main()
