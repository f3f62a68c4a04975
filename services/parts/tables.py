"""Tables for people, on standard output."""

from __future__ import annotations

from collections.abc import Iterable


def print_table(title: str, columns: list[str], rows: Iterable[list[str]]) -> None:
    """A plain table as wide as the terminal; cells are shown as they are, never read as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
