"""Settings: read once, refused when wrong, shown without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import PartUnavailable
from services.settings import HIDDEN, Settings


def test_settings_come_from_the_environment_and_stay() -> None:
    settings = Settings.from_environment({"LONGVIEW_TENANT": "st-mary", "PATH": "/bin"})
    assert settings.tenant == "st-mary"
    with pytest.raises(AttributeError):
        settings.tenant = "other"  # type: ignore[misc]


def test_a_slip_of_the_pen_is_refused() -> None:
    with pytest.raises(PartUnavailable, match="LONGVIEW_FHIR_UR is not a setting"):
        Settings.from_environment({"LONGVIEW_FHIR_UR": "http://fhir"})


@pytest.mark.parametrize("variable", ["LONGVIEW_MODEL_MEDIA", "LONGVIEW_INBOX_PORT", "LONGVIEW_ACKNOWLEDGE_MINUTES"])
def test_values_are_checked(variable: str) -> None:
    with pytest.raises(PartUnavailable, match=variable):
        Settings.from_environment({variable: "nonsense"})


def test_secrets_are_hidden_when_settings_are_shown() -> None:
    environment = {"LONGVIEW_DATABASE_URL": "postgresql://u:pw@h/d", "LONGVIEW_FHIR_TOKEN": "t0ken"}
    rows = Settings.from_environment(environment).describe(environment)
    text = repr(rows)
    assert "pw" not in text
    assert "t0ken" not in text
    assert {value for name, value, *_ in rows if name in environment} == {HIDDEN}


def test_a_missing_setting_says_its_name() -> None:
    with pytest.raises(PartUnavailable, match="LONGVIEW_FHIR_URL is not set"):
        Settings().require("fhir_url")


def test_a_secret_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://u:pw@h/d\n")
    assert Settings.from_environment({"LONGVIEW_DATABASE_URL_FILE": str(file)}).database == "postgresql://u:pw@h/d"
    with pytest.raises(PartUnavailable, match="are both set"):
        Settings.from_environment({"LONGVIEW_DATABASE_URL_FILE": str(file), "LONGVIEW_DATABASE_URL": "sqlite://"})
    with pytest.raises(PartUnavailable, match="LONGVIEW_FHIR_TOKEN_FILE names a file that cannot be read"):
        Settings.from_environment({"LONGVIEW_FHIR_TOKEN_FILE": str(tmp_path / "none")})


def test_only_secrets_have_files() -> None:
    with pytest.raises(PartUnavailable, match="LONGVIEW_TENANT_FILE is not a setting"):
        Settings.from_environment({"LONGVIEW_TENANT_FILE": "/etc/tenant"})


@pytest.mark.parametrize(
    "url", ["http://[broken", "nonsense", "ftp://fhir.example.org", "http://host:99999/fhir", "https://"]
)
def test_an_address_that_is_none_is_refused_in_one_sentence(url: str) -> None:
    """It was a traceback in the first process that asked there."""
    with pytest.raises(PartUnavailable, match="LONGVIEW_FHIR_URL is no URL"):
        Settings(fhir_url=url)
