"""`make mutation`: changes the pure packages at a sample of places, one at a time, and counts the changes that no test notices (mutmut).

`--tests-of REV` then judges what went unnoticed by the unit tests of an earlier commit, and fails if these notice one of them: a suite
that became faster must not have become weaker. The sample is drawn by `--seed`; what is noticed is kept in build/mutation, so that a run that was
interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "mutation"
PURE = ("timeline", "series", "reading", "report")
UNNOTICED = {0: "no test failed", 33: "no test reaches it"}
"""The statuses that mutmut keeps for a change that stays alive; a failed test, a crash and a time-out have others, None was not tried."""
LEFT_OUT = ("test_asking_families.py", "test_model_runtime.py", "families")
"""They load torch, and judge the model runtime."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=300, help="how many changes (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    parser.add_argument("--tests-of", metavar="REV", help="a commit whose unit tests judge the same changes")
    options = parser.parse_args()
    folder = lay_out(FOLDER / "today")
    chosen = random.Random(options.seed).sample(sorted(changes(folder)), options.sample)  # noqa: S311 (no secret)
    today = judged(folder, chosen)
    print(summary("today's tests", today))
    missed = sorted(name for name, killed in today.items() if not killed)
    print("\n".join(f"  not noticed: {name}" for name in missed))
    if not options.tests_of:
        return 0
    earlier = judged(lay_out(FOLDER / "earlier", options.tests_of), missed)
    lost = [name for name in missed if earlier[name]]
    print("\n".join(f"  noticed by the earlier tests alone: {name}" for name in lost))
    return 1 if lost else 0


def lay_out(folder: Path, tests_of: str = "") -> Path:
    """The tree that git knows, as it is in the working tree, in a folder of its own; its unit tests of another commit if one is named."""
    names = _git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in names:
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    if tests_of:
        shutil.rmtree(folder / "tests")
        archive = subprocess.run(["git", "archive", tests_of, "tests"], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "x", "-C", str(folder)], input=archive.stdout, check=True)
    with (folder / "pyproject.toml").open("a") as project:
        project.write(configuration(folder))
    return folder


def configuration(folder: Path) -> str:
    """What mutmut changes, and by which tests: the unit tests that import a pure package."""
    imports = re.compile(rf"^\s*from workflows\.({'|'.join(PURE)})\b", re.M)
    files = sorted((folder / "tests" / "unit").rglob("test_*.py"))
    tests = [
        str(f.relative_to(folder))
        for f in files
        if imports.search(f.read_text()) and not {f.name, f.parent.name} & set(LEFT_OUT)
    ]
    settings = {
        "source_paths": ["workflows"],
        "only_mutate": [f"workflows/{package}/*" for package in PURE],
        "do_not_mutate": ["*/__init__.py"],
        "also_copy": ["schemas", "services", "model_runtime", "scripts", "docs", "helm"],
        "pytest_add_cli_args_test_selection": tests,
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist", "-x", "-q"],
    }
    return "\n[tool.mutmut]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def changes(folder: Path) -> dict[str, int | None]:
    """Every change there is, and what became of it: written, and the tests run once to learn which reach which function, if it is not done yet."""
    if not (found := outcomes(folder)):
        mutmut(folder, "none")
        found = outcomes(folder)
    return found


def judged(folder: Path, chosen: list[str]) -> dict[str, bool]:
    """Each chosen change, and whether a test noticed it (a time-out or a crash is noticed too)."""
    before = changes(folder)
    waiting = [name for name in chosen if before[name] is None]
    if waiting:
        mutmut(folder, *waiting)
    after = outcomes(folder)
    untried = [name for name in chosen if after[name] is None]
    if untried:
        sys.exit(f"mutation: {len(untried)} changes were not tried: see {(folder / 'mutmut.log').relative_to(ROOT)}.")
    return {name: after[name] not in UNNOTICED for name in chosen}


def outcomes(folder: Path) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for file in (folder / "mutants").rglob("*.meta"):
        found |= json.loads(file.read_text()).get("exit_code_by_key", {})
    return found


def mutmut(folder: Path, *names: str) -> None:
    environment = os.environ | {
        "LONGVIEW_TEST_DATA": os.environ.get("LONGVIEW_TEST_DATA", str(ROOT.parent / "shared" / "data"))
    }
    with (folder / "mutmut.log").open("ab") as log:
        subprocess.run(
            [str(ROOT / ".venv" / "bin" / "mutmut"), "run", *names],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
        )  # fmt: skip


def summary(whose: str, noticed: dict[str, bool]) -> str:
    counted = Counter(noticed.values())
    return f"{whose}: {counted[True]} of {len(noticed)} changes noticed ({100 * counted[True] / len(noticed):.1f} %)"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
