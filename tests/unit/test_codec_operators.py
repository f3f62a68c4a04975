"""The codec server's operators: a token is shown once, its hash alone is kept, and without operators nothing starts."""

from __future__ import annotations

import asyncio
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from schemas.errors import PartUnavailable
from services import bootstrap
from services.cli import main
from services.codec.operators import add_operator, read_operators, remove_operator
from services.operations.process import Operations
from services.parts.state import payload_key_file
from services.settings import Settings

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)


def run(tmp_path: Path, *arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"LONGVIEW_STATE_DIR": str(tmp_path / "state"), **environment})


def test_the_token_is_nowhere_but_on_the_screen(tmp_path: Path) -> None:
    file = tmp_path / "operators.json"
    token = add_operator(file, "jo", NOW)
    assert token.split(".")[1] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_operators(file).find(token) == "jo"
    assert add_operator(file, "ann", NOW) != token
    assert [operator.name for operator in read_operators(file).operators] == ["jo", "ann"]


def test_nobody_has_an_empty_or_a_made_up_token(tmp_path: Path) -> None:
    file = tmp_path / "operators.json"
    for token in ("", ".", "jo.", "nobody." + "a" * 43, "\x00"):
        assert read_operators(file).find(token) is None
        add_operator(file, "jo", NOW)
        assert read_operators(file).find(token) is None


def test_a_name_is_checked_and_an_unknown_one_named(tmp_path: Path) -> None:
    file = tmp_path / "operators.json"
    for name in ("", "Jo", "jo.smith", "1st", "a b", "x" * 40):
        with pytest.raises(PartUnavailable, match="codec-operator-name"):
            add_operator(file, name, NOW)
    with pytest.raises(PartUnavailable, match="codec-operator-unknown"):
        remove_operator(file, "jo")


def test_a_broken_file_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "operators.json"
    file.write_text('{"operators": [{"name": "jo"}]}')
    with pytest.raises(PartUnavailable, match="codec-operators"):
        read_operators(file)


async def test_without_operators_the_server_refuses_to_start(tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path), payload_key_file=str(tmp_path / "payload.key"))
    with pytest.raises(PartUnavailable, match="nobody may log in"):
        await bootstrap.codec(settings, asyncio.Event(), Operations("codec", settings))


def test_an_operator_is_added_and_removed_on_the_command_line(tmp_path: Path) -> None:
    added = run(tmp_path, "codec", "--add-user", "jo")
    file = tmp_path / "state" / "codec-operators.json"
    assert read_operators(file).find(added.stdout.strip()) == "jo"
    assert run(tmp_path, "codec", "--remove-user", "jo").exit_code == 0
    assert read_operators(file).operators == []
    refused = run(tmp_path, "codec")
    assert refused.exit_code == 1
    assert "--add-user" in refused.output


def test_keys_are_listed_rotated_and_removed_on_the_command_line(tmp_path: Path) -> None:
    import base64
    import json

    assert "is not set" in run(tmp_path, "keys", "list").output, "where nothing was ever started no key is made"
    payload_key_file(tmp_path / "state")  # as 'longview up' does first of all
    [first] = json.loads(run(tmp_path, "keys", "list", "--json").stdout)["keys"]
    rotated = run(tmp_path, "keys", "rotate").stdout.strip()
    listed = run(tmp_path, "keys", "list", "--json")
    assert [(key["id"], key["use"]) for key in json.loads(listed.stdout)["keys"]] == [
        (rotated, "encrypts"),
        (first["id"], "decrypts"),
    ]
    kept = json.loads((tmp_path / "state" / "payload.key").read_text())["keys"]
    assert all(key["key"] not in listed.output and len(base64.b64decode(key["key"])) == 32 for key in kept)
    assert run(tmp_path, "keys", "remove", rotated).exit_code == 1
    assert run(tmp_path, "keys", "remove", first["id"]).exit_code == 0
    assert [key["id"] for key in json.loads(run(tmp_path, "keys", "list", "--json").stdout)["keys"]] == [rotated]


@pytest.mark.parametrize("origin", ["temporal.example", "https://temporal.example/", "*", "null", "https://a b"])
def test_the_origin_of_temporals_page_is_an_origin(origin: str) -> None:
    with pytest.raises(PartUnavailable, match="LONGVIEW_CODEC_UI_ORIGIN"):
        Settings(codec_ui_origin=origin)
