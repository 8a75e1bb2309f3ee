"""Add files to a wheel made by setuptools."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile


def add_to_wheel(wheel: Path, files: dict[str, bytes]) -> None:
    """Add files, by their paths in the wheel, and list them in its RECORD as the wheel format requires."""
    made = wheel.with_suffix(".new")
    with ZipFile(wheel) as old, ZipFile(made, "w", ZIP_DEFLATED) as new:
        (record,) = (name for name in old.namelist() if name.endswith(".dist-info/RECORD"))
        for item in old.infolist():
            if item.filename != record:
                new.writestr(item, old.read(item))
        lines = old.read(record).decode().splitlines()
        for name, content in files.items():
            new.writestr(name, content)
            lines.insert(-1, f"{name},{_digest(content)},{len(content)}")
        new.writestr(record, "\n".join(lines) + "\n")
    made.replace(wheel)


def link_tree(root: Path, folders: dict[str, str], tree: Path) -> Path:
    """Link the sources into a tree laid out as they are imported, and return the folder to put on the path.

    Type checkers and editors follow a path but not the import hook of an editable installation, and the source folders
    are not named like the package.

    Parameters
    ----------
    root
        Root folder of the sources.
    folders
        Folder of the sources -> its place in the import package, `.` for the package itself.
    tree
        Folder to make; an earlier one is replaced.
    """
    package = tree / "continuum_sim"
    if package.exists():
        shutil.rmtree(package)  # links, and byte code beside them
    package.mkdir(parents=True)
    for folder, place in folders.items():
        for source in (root / folder).iterdir() if place == "." else [root / folder]:
            if source.name != "__pycache__":
                (package / source.name).symlink_to(os.path.relpath(source, package), source.is_dir())
    return tree


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
