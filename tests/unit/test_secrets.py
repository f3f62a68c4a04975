"""What is tracked must be fit for anybody's eyes: no private key, token or password. (Registries and paths: `test_packaging`.)"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/]"),
    "an access key of AWS": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a token of GitHub": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})"),
    "a token of GitLab": re.compile(r"\bglpat-[A-Za-z0-9_-]{20}"),
    "a token of Slack": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
    "a token of Hugging Face": re.compile(r"\bhf_[A-Za-z0-9]{30,}"),
    "a token of PyPI": re.compile(r"\bpypi-[A-Za-z0-9_-]{50,}"),
    "a signed JSON Web Token": re.compile(r"\beyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{30,}"),
    "a password in an address": re.compile(
        r"\b[a-z][a-z0-9+]*://[A-Za-z0-9._-]+:(?!\$|\{|<|password\b|secret\b)[^\s@/:'\"{}<>$]{6,}@[a-z0-9.-]+\.[a-z]{2,}"
    ),
}
ALLOWED = {
    "tests/unit/test_secrets.py",  # the patterns themselves
}


def tracked() -> Iterator[tuple[str, str]]:
    """Name and text of every tracked file that is text."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("no Git here")
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b"\0"
        if b"\0" not in data[:4096] and name not in ALLOWED:
            yield name, data.decode("utf-8", "replace")


def test_no_secret_is_tracked() -> None:
    found = [f"{name}: {what}" for name, text in tracked() for what, pattern in SECRETS.items() if pattern.search(text)]
    assert found == []


@pytest.mark.parametrize(
    ("what", "sample"),
    [
        ("a private key", "-----BEGIN RSA PRIVATE KEY-----\nMIIEow"),
        ("a private key", "-----BEGIN PRIVATE KEY-----\nMIIEow"),
        ("an access key of AWS", "id = AKIA" + "ABCDEFGHIJKLMNOP"),
        ("a token of GitHub", "ghp_" + "a" * 36),
        ("a token of Hugging Face", "hf_" + "A" * 34),
        ("a signed JSON Web Token", f"eyJ{'a' * 20}.eyJ{'b' * 20}.{'c' * 43}"),
        ("a password in an address", "postgresql://longview:hunter2hunter2@db.example.org/x"),
    ],
)
def test_the_scan_would_notice(what: str, sample: str) -> None:
    assert SECRETS[what].search(sample)
