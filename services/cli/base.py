"""What every command of `longview` shares: settings, tables, and failures in one sentence."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import click

if TYPE_CHECKING:
    from services.settings import Settings

Arguments = ParamSpec("Arguments")
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


def read_settings() -> Settings:
    from services.settings import Settings

    return Settings.from_environment()


def say(text: str) -> None:
    click.echo(text, err=True)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from services.parts.tables import print_table

    print_table(title, columns, rows)


def named_failures(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """A failure of ours is one sentence and status 1, never a traceback; Ctrl-C is status 130."""

    @functools.wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        from schemas.errors import LongviewError

        try:
            command(*args, **kwargs)
        except LongviewError as error:
            fail(error.hint or error.code)
        except KeyboardInterrupt:
            say("stopped")
            sys.exit(130)

    return wrapped


def fail(sentence: str) -> NoReturn:
    say(f"longview: {sentence}")
    sys.exit(1)


class Door(click.Group):
    """The group; called as a program it ends its process at once."""

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Temporal's client has threads that may ask for the interpreter while it is being taken down; Python then aborts (SIGABRT), and a job that
        has done its work counts as failed. So what is to be done at exit is done, and the process leaves without taking anything down."""
        status = 0
        try:
            self.main(*args, **kwargs)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if "temporalio" in sys.modules:
            atexit._run_exitfuncs()
            with suppress(OSError):  # whoever read it is gone
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
        sys.exit(status)


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="longview")
def main() -> None:
    """Longview: a new study in, a labelled FHIR result and an inbox entry out."""
    signal.signal(signal.SIGTERM, _as_interrupt)


def _as_interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def show_rows(title: str, rows: list[dict[str, Any]], as_json: bool, shown: tuple[str, ...]) -> None:
    """Everything as JSON, the columns that people look at as a table."""
    from services.parts.tables import cells, print_table

    if as_json:
        click.echo(json.dumps({title.replace(" ", "_"): rows}, indent=2, default=str))
    elif not rows:
        say(f"no {title}")
    else:
        print_table(title, [name.removesuffix("_at") for name in shown], cells(rows, shown))
