"""Draw every picture of README and docs anew: the product's own output, by the modules beside this one.

python docs/pictures/make.py [NAME...]
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run the modules named, or all."""
    wanted = sys.argv[1:] or sorted(p.stem for p in HERE.glob("*.py") if p.stem != "make")
    for name in wanted:
        spec = importlib.util.spec_from_file_location(f"pictures_{name}", HERE / f"{name}.py")
        if spec is None or spec.loader is None or not (HERE / f"{name}.py").is_file():
            print(f"no such pictures: '{name}'", file=sys.stderr)
            return 2
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.make(HERE)
    for path in sorted(HERE.glob("*.png")):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
