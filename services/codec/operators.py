"""Who may decode: a file of operators with salted scrypt hashes of their tokens. A token is shown once, when it is made.

{"version": 1, "operators": [{"name": "jo", "salt": "<hex>", "hash": "<hex>", "n": 16384, "r": 8, "p": 1, "added": "..."}]}
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import orjson
from pydantic import ValidationError

from schemas.errors import PartUnavailable
from schemas.model import Record
from services.private_file import locked, replace_file

NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_TOKEN = re.compile(r"([a-z][a-z0-9-]{0,31})\.([A-Za-z0-9_-]{20,128})")
_SECRET_BYTES = 32
_N, _R, _P = 2**14, 8, 1
"""scrypt's cost (RFC 7914): 16 MiB and about 50 ms for each attempt."""


class Operator(Record):
    """One operator; the token itself is nowhere."""

    name: str
    salt: str
    hash: str
    n: int
    r: int
    p: int
    added: str

    def owns(self, secret: str) -> bool:
        """Takes as long for a wrong secret as for the right one."""
        return hmac.compare_digest(self.hash, _hash(secret, self.salt, self.n, self.r, self.p))


class Operators(Record):
    version: int = 1
    operators: list[Operator] = []

    def find(self, token: str) -> str | None:
        """The name that the token `<name>.<secret>` belongs to. A name that is not there costs as much time as one that is."""
        parts = _TOKEN.fullmatch(token)
        name, secret = parts.groups() if parts else ("", token)
        operator = next((each for each in self.operators if each.name == name), None)
        if (operator or _NOBODY).owns(secret) and operator is not None:
            return operator.name
        return None


def read_operators(path: Path) -> Operators:
    """Nobody where there is no file; `PartUnavailable` (`codec-operators`) where it cannot be read."""
    try:
        return Operators.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Operators()
    except (OSError, ValidationError) as error:
        raise PartUnavailable(
            "codec-operators", "the file of LONGVIEW_CODEC_OPERATORS_FILE cannot be read: restore it or make a new one."
        ) from error


def add_operator(path: Path, name: str, now: datetime) -> str:
    """The operator's token. A name that is there already gets a new one, and the old token no longer counts."""
    if not NAME.fullmatch(name):
        raise PartUnavailable("codec-operator-name", "a name is made of a-z, 0-9 and '-', and begins with a letter.")
    secret, salt = secrets.token_urlsafe(_SECRET_BYTES), os.urandom(16).hex()
    operator = Operator(
        name=name,
        salt=salt,
        hash=_hash(secret, salt, _N, _R, _P),
        n=_N,
        r=_R,
        p=_P,
        added=now.isoformat(timespec="seconds"),
    )
    _change(path, name, [operator])
    return f"{name}.{secret}"


def remove_operator(path: Path, name: str) -> None:
    """`PartUnavailable` (`codec-operator-unknown`) if nobody has this name."""
    if name not in {operator.name for operator in read_operators(path).operators}:
        raise PartUnavailable("codec-operator-unknown", "no operator of the codec server has this name.")
    _change(path, name, [])


def _change(path: Path, name: str, added: Iterable[Operator]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(path):
            others = [operator for operator in read_operators(path).operators if operator.name != name]
            body = Operators(operators=[*others, *added]).model_dump()
            replace_file(path, orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise PartUnavailable(
            "codec-operators", "the file of LONGVIEW_CODEC_OPERATORS_FILE cannot be written: choose another place."
        ) from error


def _hash(secret: str, salt: str, n: int, r: int, p: int) -> str:
    return hashlib.scrypt(secret.encode(), salt=bytes.fromhex(salt), n=n, r=r, p=p).hex()


_NOBODY = Operator(name="", salt="00" * 16, hash="", n=_N, r=_R, p=_P, added="")
