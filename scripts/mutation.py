"""`make mutation`: changes the pure packages at a sample of places, one at a time, and counts the changes that no test notices (mutmut).

`--tests-of REV` judges the same changes by the unit tests of an earlier commit as well, and fails if these noticed one that today's do not: a suite
that became faster must not have become weaker. The sample is drawn by `--seed`; what is noticed is kept in build/mutation, so that a run that was
interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "mutation"
SURVIVED = 0
"""pytest's status when no test has failed; mutmut keeps it for each change, and None for one that was not tried."""
NO_TESTS = 33


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=300, help="how many changes (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    parser.add_argument("--tests-of", metavar="REV", help="a commit whose unit tests judge the same changes")
    options = parser.parse_args()
    today = judged(lay_out(FOLDER / "today"), options.sample, options.seed)
    print(summary("today's tests", today))
    missed = sorted(name for name, killed in today.items() if not killed)
    print("\n".join(f"  not noticed: {name}" for name in missed))
    if not options.tests_of:
        return 0
    earlier = judged(lay_out(FOLDER / "earlier", options.tests_of), options.sample, options.seed)
    print(summary(f"tests of {options.tests_of}", earlier))
    lost = [name for name in missed if earlier.get(name)]
    print("\n".join(f"  noticed by the earlier tests alone: {name}" for name in lost))
    return 1 if lost else 0


def lay_out(folder: Path, tests_of: str = "") -> Path:
    """The tree that git knows, as it is in the working tree, in a folder of its own; its unit tests of another commit if one is named."""
    names = _git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in names:
        source, target = ROOT / name, folder / name
        if source.is_file() and not (target.exists() and target.read_bytes() == source.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    if tests_of:
        shutil.rmtree(folder / "tests")
        archive = subprocess.run(["git", "archive", tests_of, "tests"], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def judged(folder: Path, sample: int, seed: int) -> dict[str, bool]:
    """Each change of the sample, and whether a test noticed it (a time-out or a crash is noticed too)."""
    if not outcomes(folder):
        mutmut(folder, "none")  # writes all changes and learns which tests reach which function
    chosen = random.Random(seed).sample(sorted(outcomes(folder)), sample)  # noqa: S311 (no secret)
    waiting = [name for name in chosen if outcomes(folder)[name] is None]
    if waiting:
        mutmut(folder, *waiting)
    told = outcomes(folder)
    return {name: told[name] not in (SURVIVED, NO_TESTS, None) for name in chosen}


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


def summary(whose: str, told: dict[str, bool]) -> str:
    counted = Counter(told.values())
    return f"{whose}: {counted[True]} of {len(told)} changes noticed ({100 * counted[True] / len(told):.1f} %)"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
