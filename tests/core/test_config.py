"""Configs: parsing, limits, units, precedence, messages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import tomlkit
from hypothesis import example, given
from hypothesis import strategies as st

from fieldsight.cli.flags import Flag, parse
from fieldsight.config import Config, coerce, options, read_toml, resolve, setting, type_name
from fieldsight.errors import ConfigError


@dataclass(frozen=True)
class Inner(Config):
    depth: int = setting(3, "levels", ge=1, le=9)
    name: str = setting("unet", "kind")


@dataclass(frozen=True)
class Outer(Config):
    sigma: float = setting(1.5, "width of the blur", unit="nm", gt=0)
    mode: Literal["edge", "zero"] = setting("edge", "what lies outside")
    sizes: tuple[int, ...] = setting((1, 2), "sizes", ge=0, min_items=1)
    pair: tuple[float, float] = setting((0.0, 1.0), "range")
    maybe: float | None = setting(None, "optional", ge=0)
    fast: bool = setting(False, "be quick")
    file: Path | None = setting(None, "a file")
    inner: Inner = setting(Inner(), "a group")

    rules = ((lambda c: c.pair[0] < c.pair[1], "pair: the first must be below the second"),)


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2.0), ("5nm", 5.0), ("0.005um", 5.0), ("5e-3 µm", 5.0), ("1e-6mm", 1.0), (" 7 ", 7.0)]
)
def test_quantities_are_understood(text: str, value: float) -> None:
    assert Outer.parse({"sigma": text}).sigma == value


@pytest.mark.parametrize("text", ["5 pJ", "nm", "5 parsec", "", "1e", "--3", "nan"])
def test_other_units_and_nonsense_are_not(text: str) -> None:
    with pytest.raises(ConfigError, match="sigma: must be"):
        Outer.parse({"sigma": text})


def test_all_problems_come_at_once_with_the_nearest_names() -> None:
    values = {
        "sigmma": 1,
        "sigma": -1,
        "mode": "edg",
        "sizes": ["a"],
        "fast": "perhaps",
        "inner": {"dept": 1, "depth": 99},
    }
    with pytest.raises(ConfigError) as caught:
        Outer.parse(values, where="run.toml")
    text = "\n".join(caught.value.problems)
    for piece in (
        "run.toml: Unknown option 'sigmma'. Did you mean 'sigma'?",
        "sigma: must be > 0 nm, got -1",
        "mode: Unknown choice 'edg'. Did you mean 'edge'?",
        "sizes: must be a whole number >= 0, got 'a'",
        "fast: must be yes or no, got 'perhaps'",
        "Unknown option 'inner.dept'. Did you mean 'inner.depth'?",
        "inner.depth: must be >= 1 and <= 9, got 99",
    ):
        assert piece in text
    assert len(caught.value.problems) == 7


def test_rules_over_several_options() -> None:
    with pytest.raises(ConfigError, match="the first must be below"):
        Outer(pair=(2.0, 1.0))


def test_construction_checks_too() -> None:
    with pytest.raises(ConfigError, match="depth: must be a whole number"):
        Inner(depth="many")  # type: ignore[arg-type]
    assert Inner(depth=4.0).depth == 4  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"got 4\.5"):
        Inner(depth=4.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="got True"):
        Inner(depth=True)


def test_precedence_preset_then_file_then_changes(tmp_path: Path) -> None:
    presets = {"plain": Outer(), "wide": Outer(sigma=9, inner=Inner(depth=5))}
    file = tmp_path / "mine.toml"
    file.write_text('mode = "zero"\n[inner]\nname = "vit"\n')
    found = resolve(Outer, presets, "wide", file, {"inner.depth": "2"})
    assert (found.sigma, found.mode, found.inner) == (9.0, "zero", Inner(depth=2, name="vit"))
    assert resolve(Outer, presets).sigma == 1.5
    with pytest.raises(ConfigError, match="Did you mean 'wide'"):
        resolve(Outer, presets, "wid")


def test_toml_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Can't read the config file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="Can't read"):
        read_toml(tmp_path / "binary.toml")


def test_print_config_shows_help_limits_and_everything() -> None:
    text = Outer().to_toml()
    assert "# width of the blur (nm; > 0)" in text
    assert "# what lies outside (edge, zero)" in text
    assert Outer.parse(tomlkit.parse(text).unwrap()) == Outer()


def test_replace_and_differences() -> None:
    changed = Outer().replace(sigma=2, inner={"depth": 4})
    assert changed.inner == Inner(depth=4)
    assert Outer().differences(changed) == ["sigma: 1.5 -> 2.0", "inner.depth: 3 -> 4"]


def test_strings_and_lists_become_tuples_and_none_is_a_word() -> None:
    assert Outer.parse({"sizes": "3, 4 5"}).sizes == (3, 4, 5)
    assert Outer.parse({"sizes": 7}).sizes == (7,)
    assert Outer.parse({"maybe": "none", "file": "a/b"}).file == Path("a/b")
    with pytest.raises(ConfigError, match="must hold 2 values, got 3"):
        Outer.parse({"pair": "1,2,3"})
    with pytest.raises(ConfigError, match="at least 1"):
        Outer.parse({"sizes": []})


def test_dashes_and_dotted_names() -> None:
    assert Outer.parse({"inner.depth": 2, "inner.name": "x"}).inner == Inner(2, "x")


def test_type_names_for_help() -> None:
    names = {o.name: type_name(o.type) for o in options(Outer)}
    assert names["mode"] == "edge|zero"
    assert names["sizes"] == "INT,..."
    assert names["pair"] == "NUMBER NUMBER"
    assert names["maybe"] == "NUMBER"
    assert names["file"] == "PATH"


@example(math.inf)
@example(math.nan)
@example(10**400)
@example([math.inf])
@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_coercion_gives_the_type_or_a_value_error(value: object) -> None:
    for option in options(Outer):
        if option.group is not None:
            continue
        try:
            found = coerce(value, option)
        except ValueError:
            continue
        if option.name == "sigma":
            assert isinstance(found, float)
            assert found > 0
        if option.name == "fast":
            assert isinstance(found, bool)


# ------------------------------------------------------------------------------------------------------ flags


def _parsed(*words: str) -> dict[str, object]:
    flags = [
        Flag("inputs", "files", "words", "FILE"), Flag("set", "an option", "many", "NAME=VALUE"),
        Flag("out_dir", "folder"), Flag("json", "machines", "switch"),
    ]  # fmt: skip
    return parse("prog", "A program.", flags, words)


def test_repeated_flags_keep_all_their_values_in_order() -> None:
    assert _parsed() == {}
    assert _parsed("a", "b", "--set", "x=1") == {"inputs": ("a", "b"), "set": ("x=1",)}
    found = _parsed("--set", "x=1", "--json", "--set=y=2,3", "--out-dir", "o", "--set", "-4")
    assert found == {"set": ("x=1", "y=2,3", "-4"), "json": True, "out_dir": "o"}
    assert _parsed("--", "a") == {"inputs": ("a",)}


@pytest.mark.parametrize("words", [["--set"], ["--set", "--json"], ["--sett", "x=1"], ["--out-dir"]])
def test_a_flag_without_its_value_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        _parsed(*words)
    assert caught.value.code == 2
    assert words[0] in capsys.readouterr().err
