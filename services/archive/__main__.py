"""`python -m services.archive --folder DIR --port P`: the archive, on loopback unless told otherwise."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import click
import uvicorn

from services.archive.app import make_app


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where the DICOM files are."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; it asks nobody who they are."
)
@click.option("--port", type=int, required=True, help="Port to listen on.")
def main(folder: Path, host: str, port: int) -> None:
    """Serve a folder of DICOM files as a DICOMweb archive (QIDO-RS, WADO-RS, STOW-RS) at /dicom-web."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # pydicom quotes the values it warns of: they would be identifiers in the log
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    uvicorn.run(make_app(folder), host=host, port=port, log_config=None, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
