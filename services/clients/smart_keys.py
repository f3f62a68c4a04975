"""The keys that sign our client assertions (SMART App Launch 2.x, "Client Authentication: Asymmetric").

The file holds one private JWK, or a JWK set (RFC 7517) whose last key is the newest.

The authorization server knows the public halves. To rotate: add a key, register both, let the new one sign, remove the old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeyParameters, KeySet, RSAKey

from schemas.errors import PartUnavailable, TransientFailure
from services.private_file import locked, replace_file

ALGORITHMS = ("ES384", "RS384")
"""Those that every SMART server must take."""
RSA_BITS = 3072
LEAST_RSA_BITS = 2048
MEND = "make one with 'longview fhir key'."

SigningKey = RSAKey | ECKey


@dataclass(frozen=True)
class SigningKeys:
    """Oldest first."""

    keys: tuple[SigningKey, ...]

    def signer(self, supported: list[str]) -> tuple[SigningKey, str]:
        """The newest key that signs by an algorithm the server takes (`supported`; empty: it does not say), and that algorithm."""
        for key in reversed(self.keys):
            if not supported or algorithm(key) in supported:
                return key, algorithm(key)
        raise TransientFailure(
            "smart-key",
            f"the authorization server takes none of our keys' algorithms: make a key of another kind, {MEND}",
        )

    def public(self) -> dict[str, Any]:
        """The JWK set to register (RFC 7517), without the private halves."""
        return {"keys": [_public(key) for key in self.keys]}


def algorithm(key: SigningKey) -> str:
    return "RS384" if isinstance(key, RSAKey) else "ES384"


def read_keys(path: Path) -> SigningKeys:
    """`PartUnavailable` (`smart-key`) says what is wrong with the file; never its content."""
    try:
        held = orjson.loads(path.read_bytes())
        found = KeySet.import_key_set(held) if "keys" in held else KeySet([_imported(held)])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, JoseError) as error:
        raise PartUnavailable("smart-key", f"LONGVIEW_FHIR_KEY_FILE holds no JWK that can be read: {MEND}") from error
    keys = tuple(_checked(key) for key in found)
    if not keys or len({key.kid for key in keys}) != len(keys):
        raise PartUnavailable("smart-key", f"LONGVIEW_FHIR_KEY_FILE holds no key, or two of one 'kid': {MEND}")
    return SigningKeys(keys)


def add_key(path: Path, kind: str) -> SigningKeys:
    """Make a key pair (`ES384` or `RS384`), which signs from now on, and keep it in the file beside those that are there. Mode 0600."""
    options: KeyParameters = {"use": "sig", "alg": kind}
    key: SigningKey = (
        RSAKey.generate_key(RSA_BITS, options) if kind == "RS384" else ECKey.generate_key("P-384", options)
    )
    key.ensure_kid()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            keys = SigningKeys((*(read_keys(path).keys if path.exists() else ()), key))
            replace_file(path, _written(keys))
    except OSError as error:
        raise PartUnavailable(
            "smart-key", "the key file's folder cannot be written: make the key where it is kept, with --output."
        ) from error
    return keys


def _written(keys: SigningKeys) -> bytes:
    private = {"keys": [key.as_dict(private=True) for key in keys.keys]}
    return orjson.dumps(private, option=orjson.OPT_INDENT_2) + b"\n"


def _imported(held: dict[str, Any]) -> SigningKey:
    return RSAKey.import_key(held) if held.get("kty") == "RSA" else ECKey.import_key(held)


def _checked(key: Any) -> SigningKey:
    """A private key of a kind that SMART servers take; one without a `kid` gets its thumbprint (RFC 7638)."""
    strong = (isinstance(key, RSAKey) and key.raw_value.key_size >= LEAST_RSA_BITS) or (
        isinstance(key, ECKey) and key.curve_name == "P-384"
    )
    if not strong or not key.is_private or key.alg not in (None, *ALGORITHMS):
        raise PartUnavailable(
            "smart-key", f"a key of LONGVIEW_FHIR_KEY_FILE is not a private one for RS384 or ES384 (P-384): {MEND}"
        )
    key.ensure_kid()
    return cast(SigningKey, key)


def _public(key: SigningKey) -> dict[str, Any]:
    return dict(key.as_dict(private=False)) | {"use": "sig", "alg": algorithm(key), "key_ops": ["verify"]}
