"""Files as Kubernetes mounts a Secret: links that lead through `..data`, which is swapped whole when the Secret changes."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path


def mount(folder: Path, files: dict[str, bytes]) -> None:
    """As the kubelet does it: a folder for each state, `..data` points at the one in force and is replaced whole, the old one goes."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "..data"
    old = data.resolve() if data.is_symlink() else None
    state = folder / f"..{uuid.uuid4().hex}"
    state.mkdir()
    for name, content in files.items():
        (state / name).write_bytes(content)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    beside = folder / "..data_tmp"
    beside.symlink_to(state.name)
    os.replace(beside, data)
    if old is not None:
        shutil.rmtree(old)
