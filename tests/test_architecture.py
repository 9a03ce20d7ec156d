"""The house rules of the design, as tests."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "fieldsight"
FILES = sorted(SOURCE.rglob("*.py"))

#: Calls that execute or unpickle what they are given, or reach out by surprise.
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "pickle.load", "pickle.loads", "pickle.dump", "pickle.dumps", "torch.load", "torch.save",
    "joblib.load", "joblib.dump", "yaml.load", "os.symlink", "urllib.request.urlopen", "requests.get",
    "huggingface_hub.hf_hub_download", "huggingface_hub.snapshot_download",
}  # fmt: skip
FORBIDDEN_IMPORTS = {
    "pickle",
    "joblib",
    "dill",
    "cloudpickle",
    "requests",
    "urllib3",
    "shelve",
    "marshal",
    "ultralytics",
}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def name_of(call: ast.expr) -> str:
    if isinstance(call, ast.Attribute):
        return f"{name_of(call.value)}.{call.attr}"
    return call.id if isinstance(call, ast.Name) else ""


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(SOURCE)}:{line}"


def test_a_system_imports_the_core_never_another_system() -> None:
    wrong = []
    for path in FILES:
        parts = path.relative_to(SOURCE).parts
        own = parts[1] if parts[0] == "systems" and len(parts) > 2 else None
        for line, module in imports(path):
            match = re.match(r"fieldsight\.systems\.(\w+)", module)
            if match and match[1] != own:
                wrong.append(where(path, line))
    assert not wrong


def test_the_core_names_no_system() -> None:
    wrong = []
    for path in FILES:
        if path.relative_to(SOURCE).parts[0] == "systems" or path.name == "registry.py":
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "fieldsight.systems." in node.value:
                wrong.append(where(path, node.lineno))
    assert not wrong


def test_import_and_list_load_no_torch() -> None:
    code = """
import sys
import fieldsight
heavy = ("torch", "numpy", "lightning_fabric", "gradio", "transformers", "cv2", "scipy", "matplotlib")
assert not [m for m in heavy if m in sys.modules], sys.modules.keys()
from fieldsight.cli import main
for words in (["list"], ["--help"], ["--version"], ["list", "--help"], ["studio", "--help"], ["tour", "--help"]):
    assert main(words) == 0, words
late = [m for m in heavy if m in sys.modules and m != "numpy"]
assert not late, late
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_fabric_is_imported_inside_fit_only() -> None:
    users = {
        path.relative_to(SOURCE).as_posix()
        for path in FILES
        for _, module in imports(path)
        if module.split(".")[0] in ("lightning_fabric", "lightning")
    }
    assert users == {"engine/fit.py"}


def test_the_flag_library_is_known_by_one_file() -> None:
    users = {p.relative_to(SOURCE).as_posix() for p in FILES for _, m in imports(p) if m.split(".")[0] == "tyro"}
    assert users == {"cli/flags.py"}


def test_no_file_over_600_lines_and_no_function_over_80() -> None:
    long_files = [f"{p.relative_to(SOURCE)}" for p in FILES if len(p.read_text().splitlines()) > 600]
    long_functions = []
    for path in FILES:
        lines = path.read_text().splitlines()
        for node in ast.walk(parsed(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                reason = any("long because" in text for text in lines[node.lineno - 2 : node.end_lineno])
                if size > 80 and not reason:
                    long_functions.append(f"{where(path, node.lineno)} {node.name}: {size}")
    assert not long_files
    assert not long_functions


def test_model_files_are_tensors_in_tensors_out() -> None:
    wrong = []
    for path in (SOURCE / "systems").glob("*/model.py"):
        for line, module in imports(path):
            if module.split(".")[0] in ("pathlib", "os", "json", "fieldsight") and not re.match(
                r"fieldsight\.(nn|systems\.\w+\.(model|losses|wavelet))", module
            ):
                wrong.append(f"{where(path, line)} imports {module}")
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and name_of(node.func) in ("open", "print"):
                wrong.append(f"{where(path, node.lineno)} {name_of(node.func)}")
    assert not wrong


def test_no_pickle_no_eval_no_download() -> None:
    wrong = []
    for path in FILES:
        wrong += [f"{where(path, n)} imports {m}" for n, m in imports(path) if m.split(".")[0] in FORBIDDEN_IMPORTS]
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call):
                called = name_of(node.func)
                if called in FORBIDDEN_CALLS or (called.endswith("from_pretrained") and "config" not in called.lower()):
                    wrong.append(f"{where(path, node.lineno)} calls {called}")
                for keyword in node.keywords:
                    unsafe = keyword.arg in ("allow_pickle", "trust_remote_code", "weights_only")
                    value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                    if unsafe and value is not (keyword.arg == "weights_only"):
                        wrong.append(f"{where(path, node.lineno)} {keyword.arg}={value}")
    assert not wrong


def test_no_module_reaches_for_the_network_or_the_environment_at_import() -> None:
    """The only variable read is FIELDSIGHT_CACHE and what torchrun and the system set; none is required."""
    allowed = {"FIELDSIGHT_CACHE", "LOCALAPPDATA", "XDG_CACHE_HOME", "RANK", "WORLD_SIZE"}
    wrong = []
    for path in FILES:
        for node in ast.walk(parsed(path)):
            key: ast.expr | None = None
            if (
                isinstance(node, ast.Subscript)
                and name_of(node.value) == "os.environ"
                and isinstance(node.ctx, ast.Load)
            ):
                key = node.slice
            if isinstance(node, ast.Call) and name_of(node.func) in ("os.environ.get", "os.getenv"):
                key = node.args[0]
            if key is not None and not (isinstance(key, ast.Constant) and key.value in allowed):
                wrong.append(where(path, node.lineno))
    assert not wrong


def public_functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in FILES:
        tree = parsed(path)
        owners = [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))]
        for owner in owners:
            for node in owner.body:
                function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
                if function and not node.name.startswith("_") and not _is_overload(node):
                    yield path, node


def _is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(name_of(d) == "overload" for d in node.decorator_list)


def test_every_public_function_has_types_and_a_docstring() -> None:
    wrong = []
    for path, node in public_functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if untyped or node.returns is None:
            wrong.append(f"{where(path, node.lineno)} {node.name}: types missing")
        if not ast.get_docstring(node):
            wrong.append(f"{where(path, node.lineno)} {node.name}: docstring missing")
    assert not wrong


def test_every_module_says_what_it_is() -> None:
    assert not [str(p.relative_to(SOURCE)) for p in FILES if not ast.get_docstring(parsed(p))]


def test_no_two_places_hold_the_same_ten_lines() -> None:
    seen: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in FILES:
        kept = []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            text = line.strip()
            if len(text) > 3 and not text.startswith(("#", "import ", "from ", '"""')):
                kept.append((number, text))
        for start in range(len(kept) - 9):
            window = tuple(text for _, text in kept[start : start + 10])
            seen[window].append(where(path, kept[start][0]))
    doubled = [places for places in seen.values() if len(places) > 1]
    assert not doubled, doubled[:5]


def test_nothing_names_a_machine_or_a_registry_host() -> None:
    root = SOURCE.parents[1]
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    if not any(tracked):
        pytest.skip("not a git checkout")
    wrong = []
    pattern = re.compile(r"/(?:work|root|home)/\w|pypi\.org|files\.pythonhosted|/opt/wheels", re.IGNORECASE)
    for name in tracked:
        path = root / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".json", ".html", "") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            if path.name != "test_architecture.py" and pattern.search(text):
                wrong.append(name)
    assert not wrong


def test_shipped_weights_stay_small() -> None:
    weights = [p for p in (SOURCE / "systems").rglob("weights/**/*") if p.is_file()]
    assert all(p.stat().st_size < 16e6 for p in weights)
    assert sum(p.stat().st_size for p in weights) < 45e6
    assert not [p for p in weights if p.suffix not in (".safetensors", ".json", ".md")]
