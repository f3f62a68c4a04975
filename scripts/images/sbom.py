"""The list of all parts of an image (CycloneDX 1.6, JSON): Python and its packages by cyclonedx-py, Debian's or Ubuntu's from dpkg's own list.

Runs inside a build stage with nothing of the project beside it, hence one file. Addresses that packages name as their homes are left out: some are of
registries, and a hospital's mirror is none of them. What wheels carry inside (libpq in psycopg-binary, OpenCV's codecs) neither of the two lists.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

Component = dict[str, Any]
SPECIFICATION = "1.6"


def without_addresses(document: Any) -> Any:
    """The same document without `externalReferences` and without addresses in its texts, at any depth."""
    if isinstance(document, dict):
        kept = {name: value for name, value in document.items() if name != "externalReferences"}
        return {name: value if name == "$schema" else without_addresses(value) for name, value in kept.items()}
    if isinstance(document, str):
        return re.sub(r"\w+://\S+", "(address left out)", document)
    return [without_addresses(each) for each in document] if isinstance(document, list) else document


def operating_system_packages(status: str, os_release: str, documents: Path) -> Iterator[Component]:
    """The installed packages of dpkg's list (deb822 paragraphs, dpkg(1)), with purls as their own specification has them.

    Licences are the short names in a package's copyright file in DOCUMENTS, where it is in the machine-readable form (DEP-5).
    """
    about = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    distribution, version = (about.get(name, "unknown").strip('"') for name in ("ID", "VERSION_ID"))
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and not line[0].isspace())
        if fields.get("Status", "").endswith(" installed"):
            purl = (
                f"pkg:deb/{distribution}/{fields['Package']}@{fields['Version'].replace('+', '%2B').replace(':', '%3A')}"
                f"?arch={fields['Architecture']}&distro={distribution}-{version}"
            )
            yield {
                "type": "library",
                "bom-ref": purl,
                "name": fields["Package"],
                "version": fields["Version"],
                "purl": purl,
                "licenses": [
                    {"license": {"name": name}} for name in _licences(documents / fields["Package"] / "copyright")
                ],
            }


def _licences(copyright_file: Path) -> list[str]:
    if not copyright_file.is_file():
        return []
    text = copyright_file.read_text(errors="replace")
    return sorted(set(re.findall(r"^License: *(\S.*?)\s*$", text, re.MULTILINE)))


def python_itself(version: str) -> Component:
    purl = f"pkg:generic/python@{version}"
    licence = [{"license": {"id": "PSF-2.0"}}]
    return {
        "type": "application",
        "bom-ref": purl,
        "name": "python",
        "version": version,
        "purl": purl,
        "licenses": licence,
    }


def python_packages(python: str, project: str) -> dict[str, Any]:
    """What cyclonedx-py says of an environment, equal for equal ones; and in a package's own words the licences that it passes over."""
    program = str(Path(sys.executable).with_name("cyclonedx-py"))
    command = [program, "environment", "--output-reproducible", "--sv", SPECIFICATION, "--pyproject", project, python]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    (packages,) = Path(python).parent.parent.glob("lib/python3*/site-packages")
    installed = {each.name: each for each in distributions(path=[str(packages)])}
    for component in found["components"]:
        if not component.get("licenses"):
            component["licenses"] = [{"license": {"name": _own_words(installed[component["name"]])}}]
    return found


def _own_words(package: Distribution) -> str:
    """What a package says of its licence in no form that has a name: the field, or the heading of the file."""
    if words := (package.metadata["License"] or "").strip():
        return str(words).splitlines()[0]
    for file in package.files or ():
        if re.search(r"\.dist-info/(licenses/)?(LICEN[CS]E|COPYING)", str(file), re.IGNORECASE):
            heading = file.read_text().strip().splitlines()[0].strip("# ")
            return heading if len(heading) <= 60 else f"see {Path(str(file)).name}"
    return "not stated by the package"


def completed(document: dict[str, Any], others: list[Component]) -> dict[str, Any]:
    """One document of all parts, in one order."""
    components = [*document.get("components", []), *others]
    components.sort(key=lambda each: (each["name"], each.get("version", "")))
    found: dict[str, Any] = without_addresses({**document, "components": components})
    return found


def mistakes(text: str) -> str:
    """Why TEXT is not a CycloneDX document; empty if it is one."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    found = JsonStrictValidator(SchemaVersion.from_version(SPECIFICATION)).validate_str(text)
    return "" if found is None else str(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="interpreter of the environment to describe")
    parser.add_argument("--project", required=True, help="pyproject.toml of what the image is for")
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    version = subprocess.run([given.python, "-V"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[1]
    status = next(path for path in (Path("status"), Path("/var/lib/dpkg/status")) if path.exists())
    os_release = next(path for path in (Path("os-release"), Path("/etc/os-release")) if path.exists())
    documents = next(path for path in (Path("doc"), Path("/usr/share/doc")) if path.exists())
    listed = operating_system_packages(status.read_text(), os_release.read_text(), documents)
    others = [python_itself(version), *listed]
    text = json.dumps(completed(python_packages(given.python, given.project), others), indent=1, sort_keys=True) + "\n"
    if wrong := mistakes(text):
        sys.exit(f"sbom: the list is not CycloneDX {SPECIFICATION}: {wrong}")
    given.output.write_text(text)


if __name__ == "__main__":
    main()
