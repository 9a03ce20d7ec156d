"""Get what the marked tests need and a plain machine may lack: a browser, real files out of other packages.

Nothing here is an error: a test that misses something says so and skips.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def main() -> int:
    browser()
    from fieldsight import assets
    from fieldsight.errors import FieldsightError

    for name in assets.catalogue():
        try:
            print(f"asset {name}: {assets.fetch(name)}")
        except FieldsightError as error:
            print(f"asset {name}: {error}")
    return 0


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
