"""A folder as the root of a process, the way a container runtime does it, by the tools of util-linux and coreutils: own mounts and process numbers;
and for what runs (not for what builds) a user of no name, no capability, no way to gain any, a root that nothing can write to, and no shell.

Not done here, and so not shown: seccomp, cgroups, AppArmor, a network of its own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

DEVICES = ("null", "zero", "full", "random", "urandom")
SHELLS = ("dash", "bash", "sh")
TOOLS = ("unshare", "chroot", "setpriv", "mount")


def available() -> str:
    """Why nothing can be run like this here; empty if it can."""
    missing = [name for name in TOOLS if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} is not here"
    if os.geteuid() != 0:
        return "only root may give a process another root folder"
    tried = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "this machine lets nobody make mounts of their own"


@dataclass(frozen=True)
class Bind:
    """SOURCE of this machine at TARGET inside."""

    source: Path
    target: str
    writable: bool = False


def _mounts(root: Path, binds: Sequence[Bind], *, own_tmp: bool) -> list[str]:
    """What a container runtime mounts: /proc, /sys, a small /dev, names of hosts; and BINDS."""
    inside = shlex.quote(str(root))
    lines = ["set -e", f"mount --bind {inside} {inside}"]
    for folder in ("proc", "sys", "dev", "tmp", "etc"):
        (root / folder).mkdir(exist_ok=True)
    lines += [f"mount -t proc proc {inside}/proc", f"mount --rbind -o ro /sys {inside}/sys"]
    lines += [f"mount -t tmpfs -o mode=755,size=64m tmpfs {inside}/dev", f"mkdir -m 1777 {inside}/dev/shm"]  # noqa: S108
    lines += [f"mount -t tmpfs -o mode=1777,size=64m tmpfs {inside}/dev/shm", f"ln -s /proc/self/fd {inside}/dev/fd"]  # noqa: S108
    for name in DEVICES:
        lines += [f"touch {inside}/dev/{name}", f"mount --bind /dev/{name} {inside}/dev/{name}"]
    for name in ("hosts", "resolv.conf"):
        (root / "etc" / name).touch()
        lines.append(f"mount --bind $(readlink -f /etc/{name}) {inside}/etc/{name}")
    if own_tmp:
        lines.append(f"mount -t tmpfs -o mode=1777 tmpfs {inside}/tmp")  # noqa: S108
    for bind in binds:
        lines += _bound(root, bind)
    return lines


def _bound(root: Path, bind: Bind) -> list[str]:
    target = shlex.quote(str(root / bind.target.lstrip("/")))
    make = f"mkdir -p {target}" if bind.source.is_dir() else f"mkdir -p $(dirname {target}) && touch {target}"
    lines = [make, f"mount --bind {shlex.quote(str(bind.source))} {target}"]
    return lines if bind.writable else [*lines, f"mount -o remount,bind,ro {target}"]


def build_step(
    root: Path, command: str, environment: Mapping[str, str], *, workdir: str, binds: Sequence[Bind] = ()
) -> None:
    """A RUN: as root, with a shell, in a folder that it may change. Its failure is a `CalledProcessError`."""
    words = ["chroot", str(root), "/bin/sh", "-c", f"cd {shlex.quote(workdir)} && {command}"]
    script = _entered(_mounts(root, binds, own_tmp=False), words)
    subprocess.run(script, check=True, env=dict(environment), stdin=subprocess.DEVNULL)


class Process:
    """A running process of an image, process number 1 of its own numbering."""

    def __init__(self, started: subprocess.Popen[bytes]) -> None:
        self._started = started

    @property
    def pid(self) -> int:
        """Its number as this machine sees it: the one child of `unshare`."""
        children = Path(f"/proc/{self._started.pid}/task/{self._started.pid}/children")
        for _ in range(100):
            if found := children.read_text().split():
                return int(found[0])
            time.sleep(0.02)
        raise OSError("the process has ended already")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float | None) -> int:
        return self._started.wait(seconds)

    def running(self) -> bool:
        return self._started.poll() is None

    def kill(self) -> None:
        """For tests that failed: nothing is left."""
        if self.running():
            with suppress(OSError):  # process 1 inside, and so all of them: a change of user has undone --kill-child
                self.signal(signal.SIGKILL)
            self._started.kill()
            self._started.wait(30)


def start(
    root: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    user: str,
    binds: Sequence[Bind] = (),
    output: IO[bytes] | int | None = None,
    shell: bool = False,
) -> Process:
    """COMMAND as USER (uid:gid), without privileges, on a root that is read-only but for /tmp, /dev/shm and the writable BINDS; SHELL: with one."""
    inside = shlex.quote(str(root))
    lines = _mounts(root, binds, own_tmp=True)
    for name in () if shell else SHELLS:
        lines.append(f"[ ! -f {inside}/usr/bin/{name} ] || mount --bind /dev/null {inside}/usr/bin/{name}")
    lines.append(f"mount -o remount,bind,ro {inside}")
    words = ["setpriv", "--no-new-privs", "--bounding-set=-all,+sys_chroot,+setuid,+setgid", "--inh-caps=-all"]
    words += [_program("chroot"), f"--userspec={user}", "--groups=", str(root), *command]
    script = _entered(lines, words)
    return Process(
        subprocess.Popen(
            script, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    )


def _program(name: str) -> str:
    """A program of this machine, wherever PATH points later."""
    return shutil.which(name) or name


def _entered(lines: Sequence[str], words: Sequence[str]) -> list[str]:
    """The lines as a script in namespaces of their own, which becomes WORDS. The script has this machine's PATH, and WORDS the image's."""
    last = " ".join(shlex.quote(word) for word in [_program(words[0]), *words[1:]])
    body = [
        'inside=$PATH; export PATH="/usr/sbin:/usr/bin:/sbin:/bin"',
        *lines,
        'export PATH="$inside"; unset inside PWD OLDPWD',
    ]
    entered = [_program("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--propagation=private"]
    return [*entered, "/bin/sh", "-c", "\n".join([*body, f"exec {last}"])]
