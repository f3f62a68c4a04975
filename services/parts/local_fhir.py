"""`python -m services.parts.local_fhir`: sekmet, the FHIR server of the trial, behind our own door. Its configuration is named by SEKMET_CONFIG.

Its own `serve` logs every URL, and with it identifiers of patients; it answers any page of any site (CORS `*`), and nobody has to say who they are.
"""

from __future__ import annotations

from pathlib import Path

import click
import uvicorn

from services.http_bounds import PromptUploads, bounds
from services.parts.local_only import LocalOnly, door_options


@click.command()
@door_options
@click.option("--logging", "logging_file", type=click.Path(path_type=Path), required=True, help="How it logs (JSON).")
def main(host: str, port: int, reached_as: str, token_file: Path | None, logging_file: Path) -> None:
    """Serve FHIR R4 at /fhir."""
    from sekmet.main import app_factory

    app = LocalOnly(app_factory(), token_file, names=(host, reached_as), open_paths=("/fhir/metadata",))
    uvicorn.run(app, host=host, port=port, log_config=str(logging_file), access_log=False, **bounds(PromptUploads))


if __name__ == "__main__":
    main()
