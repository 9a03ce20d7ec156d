"""Get what the marked tests need and a plain machine may lack: a browser, real files out of other packages.

Nothing here is an error: a test that misses something says so and skips.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def main() -> int:
    browser()
    from fieldsight import assets
    from fieldsight.errors import FieldsightError

    for name, asset in assets.catalogue().items():
        try:
            if asset.source == "Debian":
                package_lists()
            print(f"asset {name}: {assets.fetch(name)}")
        except FieldsightError as error:
            print(f"asset {name}: {error}")
    return 0


def package_lists() -> None:
    """Debian's lists of packages, which a fresh container lacks and `apt-get download` needs."""
    if not shutil.which("apt-get") or any(Path("/var/lib/apt/lists").glob("*Packages*")):
        return
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)


def browser() -> None:
    """Debian's Chromium, where we may install packages."""
    if shutil.which("chromium"):
        print("browser: chromium is here")
        return
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("apt-get"):
        print("browser: no chromium, and no right to install it; tests marked 'studio' will skip")
        return
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium", "fonts-dejavu-core"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"browser: {' '.join(command)} failed: {done.stderr.strip()[-300:]}")
            return
    print("browser: chromium installed")


if __name__ == "__main__":
    sys.exit(main())
