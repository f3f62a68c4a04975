"""A local code system as the code that writes it and the definitions that are published see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from schemas.codes import Canonical, Json, coding
from schemas.errors import PermanentFailure

VERSION, DATE = "1.0.0", "2026-11-24"

Strength = Literal["required", "extensible", "preferred"]


@dataclass(frozen=True)
class Term:
    code: str
    display: str
    definition: str


@dataclass(frozen=True)
class System:
    """A local CodeSystem, complete and case-sensitive. `elements` are where its codes stand, `strength` how firmly they are bound there."""

    name: str
    title: str
    description: str
    elements: tuple[str, ...]
    strength: Strength
    terms: tuple[Term, ...]
    version: str = VERSION
    date: str = DATE

    @cached_property
    def _by_code(self) -> dict[str, Term]:
        return {term.code: term for term in self.terms}

    def __contains__(self, code: object) -> bool:
        return code in self._by_code

    def display(self, code: str) -> str:
        """`PermanentFailure` `code-undefined` for a code that this system does not define: nothing undefined is ever written."""
        if code not in self._by_code:
            raise PermanentFailure("code-undefined", f"a code that {self.name} does not define was to be written")
        return self._by_code[code].display

    def url(self, canonical: Canonical) -> str:
        return canonical.code_system(self.name)

    def coding(self, canonical: Canonical, code: str) -> Json:
        return coding(self.url(canonical), code, self.display(code))


def terms(rows: Iterable[tuple[str, str, str]]) -> tuple[Term, ...]:
    return tuple(Term(*row) for row in rows)
