"""Makes the entries of a long history at the cost of copying a dict each.

Pydantic's own validation of an entry takes as long as reading the resource that it comes from. So an entry is filled in a copy of its defaults by
code that makes tuples and records itself; only the texts come from outside, and those are looked at.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from schemas.model import Record

Made = TypeVar("Made", bound=Record)
Fields = dict[str, Any]


_new = object.__new__
_put_fields, _put_named, _put_extra, _put_private = (
    BaseModel.__dict__[slot].__set__
    for slot in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)
"""What `BaseModel.model_construct` sets, without asking the frozen class first."""


class Maker(Generic[Made]):
    """Makes records of one class that has `codings`, a list of `Coding`; `texts` are its fields of text that a source fills."""

    def __init__(self, kind: type[Made], texts: tuple[str, ...]) -> None:
        self._kind = kind
        self._texts = itemgetter(*texts)
        self._named = set(kind.model_fields)
        self.defaults: Fields = {
            name: None if field.is_required() else field.get_default(call_default_factory=True)
            for name, field in kind.model_fields.items()
        }

    def make(self, fields: Fields, codings: list[Any]) -> Made:
        """The record; `fields` is a filled copy of `defaults` and belongs to it from now on. `TypeError` where a text is none."""
        for text in self._texts(fields):
            if text is not None and type(text) is not str:
                raise TypeError("a text is none")
        fields["codings"] = codings
        made = _new(self._kind)
        _put_fields(made, fields)
        _put_named(made, self._named)
        _put_extra(made, None)
        _put_private(made, None)
        return made


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's cycle collector, which would walk through the whole chart again and again and find nothing: no cycle is made here.

    Memory is freed by reference counts as ever. Whoever turned the collector off turns it on again, so builds in several threads may overlap.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
