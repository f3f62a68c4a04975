"""A stand-in for the images that a Dockerfile begins with, where no registry can be reached: Debian 12 from its packages, this machine's Python 3.11.

What it shares with `python:3.11-slim-bookworm`: the distribution, the C library, the shared libraries that Debian's small variant has and Python
needs, Python 3.11 in /usr/local with a shared library, and nothing else. What differs: packages are of today, their installation scripts were not
run, and Python is another patch release, built by somebody else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ESSENTIAL = (
    *(
        "base-files",
        "base-passwd",
        "bash",
        "coreutils",
        "dash",
        "debianutils",
        "diffutils",
        "dpkg",
        "findutils",
        "grep",
    ),
    *(
        "gzip",
        "hostname",
        "libc-bin",
        "login",
        "mawk",
        "ncurses-bin",
        "passwd",
        "perl-base",
        "sed",
        "tar",
        "util-linux",
    ),
    *("apt", "debian-archive-keyring"),
)
"""Debian's essential packages and its package manager."""
FOR_PYTHON = (
    *("ca-certificates", "netbase", "tzdata", "libbz2-1.0", "libffi8", "libgdbm6", "liblzma5", "libncursesw6"),
    *("libreadline8", "libsqlite3-0", "libssl3", "libuuid1", "zlib1g"),
)
"""What the official image adds for its Python."""
MERGED = ("bin", "sbin", "lib", "lib64")
"""Links into /usr since Debian 12."""


def available() -> str:
    """Why the stand-in cannot be made here; empty if it can."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return "there is no apt-get: the stand-in for the base image is made of Debian's packages"
    if "VERSION_CODENAME=bookworm" not in Path("/etc/os-release").read_text():
        return "this is not Debian 12, whose packages the stand-in for the base image is made of"
    if sys.version_info[:2] != (3, 11):
        return "this is not Python 3.11, which the base image has"
    return ""


def make(folder: Path) -> None:
    """The stand-in as FOLDER, unless it is there already. Needs Debian's archive once."""
    if folder.is_dir():
        return
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    root = building / "root"
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    packages = _download(building / "apt")
    for package in packages:
        _unpack(package, root)
    _settle(root, packages)
    _add_python(root)
    root.rename(folder)
    shutil.rmtree(building)


def _download(folder: Path) -> list[Path]:
    """The packages and all they depend on, as if nothing were installed, checked by apt against the archive's signature."""
    archives, lists = folder / "archives", folder / "lists"
    for each in (archives, lists):
        (each / "partial").mkdir(parents=True)
    status = folder / "status"
    status.touch()
    places = [f"Dir::State::Lists={lists}", f"Dir::State::status={status}", f"Dir::Cache::archives={archives}"]
    places += ["Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache=", "Debug::NoLocking=1", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-qq", *(word for place in places for word in ("-o", place))]
    subprocess.run([*apt, "update"], check=True)
    wanted = ["install", "-y", "--no-install-recommends", "--download-only", *ESSENTIAL, *FOR_PYTHON]
    subprocess.run([*apt, *wanted], check=True, stdout=subprocess.DEVNULL)
    return sorted(archives.glob("*.deb"))


def _unpack(package: Path, root: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as stream:
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", root], check=True, stdin=stream.stdout)
    if stream.returncode:
        raise OSError(f"{package.name} cannot be unpacked")


def _settle(root: Path, packages: list[Path]) -> None:
    """What the packages' scripts would have done and somebody looks for: users, shell, certificates, where packages come from, dpkg's list."""
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    with (root / "etc/passwd").open("a") as users:
        users.write("_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n")
    shell = root / "usr/bin/sh"
    if not shell.exists():
        shell.symlink_to("dash")
    awk = root / "usr/bin/awk"
    if not awk.exists():
        awk.symlink_to("mawk")
    certificates = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("".join(each.read_text() for each in certificates))
    shutil.copytree("/etc/apt/sources.list.d", root / "etc/apt/sources.list.d", dirs_exist_ok=True)
    described = [
        subprocess.run(["dpkg-deb", "-f", each], check=True, stdout=subprocess.PIPE, text=True) for each in packages
    ]
    (root / "var/lib/dpkg/info").mkdir(parents=True, exist_ok=True)
    for each in described:  # dpkg wants to know which files are whose; nothing here asks it
        about = dict(line.split(": ", 1) for line in each.stdout.splitlines() if ": " in line)
        same = about.get("Multi-Arch") == "same"
        (root / f"var/lib/dpkg/info/{about['Package']}{':amd64' if same else ''}.list").touch()
    (root / "var/lib/dpkg/status").write_text(
        "".join(f"{each.stdout.rstrip()}\nStatus: install ok installed\n\n" for each in described)
    )
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _add_python(root: Path) -> None:
    """This machine's Python, as it is installed, without what was added to it."""
    source, target = Path(sys.base_prefix), root / "usr/local"
    leave = shutil.ignore_patterns(
        "site-packages", "__pycache__", "test", "tkinter", "idlelib", "turtledemo", "_tkinter*"
    )
    (target / "bin").mkdir(parents=True, exist_ok=True)
    (target / "lib").mkdir(exist_ok=True)
    shutil.copy2(source / "bin/python3.11", target / "bin")
    for name in ("python3", "python"):
        (target / "bin" / name).symlink_to("python3.11")
    for library in (source / "lib").glob("libpython3*.so*"):
        shutil.copy2(library, target / "lib", follow_symlinks=False)
    shutil.copytree(source / "lib/python3.11", target / "lib/python3.11", ignore=leave, symlinks=True)
    (target / "lib/python3.11/site-packages").mkdir()
    shutil.copytree(source / "include/python3.11", target / "include/python3.11")
    subprocess.run(["chroot", root, "ldconfig"], check=True)
    installer = ["chroot", root, "/usr/local/bin/python3.11", "-m", "ensurepip", "--default-pip"]
    quiet = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    subprocess.run(installer, check=True, stdout=subprocess.DEVNULL, env=quiet)
