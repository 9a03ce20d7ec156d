"""Files out of a Debian package: listed ones only, held against their hashes, and nothing kept where one differs."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fieldsight import assets
from fieldsight.assets import Asset
from fieldsight.data.files import sha256
from fieldsight.errors import DataError

INSIDE = "usr/share/doc/pack/data"


@pytest.fixture
def asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asset:
    monkeypatch.setenv("FIELDSIGHT_CACHE", str(tmp_path / "cache"))
    picture = tmp_path / "a.png"
    picture.write_bytes(b"picture")
    one = Asset(
        "pack", "t", "Debian", "pack", "1.0-1", INSIDE, "MIT", ("alert",), 1, files={"a.png": sha256(picture)},
        installed=True,
    )  # fmt: skip
    monkeypatch.setattr(assets, "catalogue", lambda: {"pack": one})
    monkeypatch.setattr(assets.shutil, "which", lambda tool: tool)
    return one


def packed(members: dict[str, bytes | None]) -> bytes:
    """A tar as dpkg-deb writes it; None makes a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(f"./{name}")
            if data is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "elsewhere"
                archive.addfile(entry)
            else:
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def offer(monkeypatch: pytest.MonkeyPatch, data: bytes, code: int = 0, words: str = "") -> None:
    """Stand in for apt-get and dpkg-deb."""

    def run(command: list[str], **options: Any) -> Any:
        assert command[:2] == ["apt-get", "download"]
        assert command[-1] == "pack"
        if code == 0:
            (Path(options["cwd"]) / "pack_1.0-1_all.deb").write_bytes(b"deb")
        return subprocess.CompletedProcess(command, code, "", words)

    class Worker:
        def __init__(self, command: list[str], **options: Any) -> None:
            assert command[:2] == ["dpkg-deb", "--fsys-tarfile"]
            self.stdout = io.BytesIO(data)

        def kill(self) -> None: ...

        def communicate(self) -> None: ...

    monkeypatch.setattr(assets.subprocess, "run", run)
    monkeypatch.setattr(assets.subprocess, "Popen", Worker)


def test_listed_files_are_taken_out(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, packed({f"{INSIDE}/a.png": b"picture", f"{INSIDE}/b.png": b"other", "etc/passwd": b"x"}))
    assert assets.locate("pack") is None
    folder = assets.fetch("pack")
    assert sorted(p.name for p in folder.iterdir()) == ["a.png", "asset.json"]
    assert assets.locate("pack") == folder


@pytest.mark.parametrize(
    "members", [{f"{INSIDE}/a.png": b"changed"}, {}, {f"{INSIDE}/a.png": None}, {f"{INSIDE}/../a.png": b"picture"}]
)
def test_other_files_leave_nothing(asset: Asset, monkeypatch: pytest.MonkeyPatch, members: dict[str, Any]) -> None:
    offer(monkeypatch, packed(members))
    with pytest.raises(DataError, match=r"lacks 'a\.png', or holds another version"):
        assets.fetch("pack")
    assert assets.locate("pack") is None
    assert not list(assets.cache_folder().rglob("a.png"))


def test_a_damaged_package_and_no_connection_are_named(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, b"no tar at all")
    with pytest.raises(DataError, match=r"Can't unpack 'pack_1\.0-1_all\.deb'"):
        assets.fetch("pack")
    offer(monkeypatch, b"", 100, "E: Unable to locate package pack\n")
    with pytest.raises(DataError, match=r"Unable to locate package pack.*apt-get update"):
        assets.fetch("pack")
    monkeypatch.setattr(assets.shutil, "which", lambda tool: None)
    with pytest.raises(DataError, match="there is no apt-get and no dpkg-deb"):
        assets.fetch("pack")


def test_an_installed_package_is_used_where_its_files_agree(asset: Asset, tmp_path: Path) -> None:
    assert assets._if_complete(tmp_path, asset) == tmp_path
    (tmp_path / "a.png").write_bytes(b"other")
    assert assets._if_complete(tmp_path, asset) is None
