"""``calibrate``: a CSV of measurements to a hardware profile with intervals, or a refusal that says what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldsight.data.files import write_json, write_text
from fieldsight.data.folders import safe_name
from fieldsight.predictions import Picture, Prediction, Table
from fieldsight.profile.hardware import Hardware
from fieldsight.systems.energy import calibrate as method
from fieldsight.systems.energy.calibrate import UNITS, Fit, Row
from fieldsight.systems.energy.options import CalibrateOptions

#: Name of the file that is looked for in a folder, as ``make-data`` writes it.
MEASURED = "measured.csv"


@dataclass(frozen=True)
class Calibration(Prediction):
    """Fitted constants, the profile made of them, and the rows they were fitted to."""

    name: str
    fit: Fit
    hardware: Hardware
    rows: tuple[Row, ...]

    def constants(self) -> Table:
        """Each constant with its interval."""
        rows = [
            {
                "constant": k,
                "value": v,
                "low": self.fit.intervals[k][0],
                "high": self.fit.intervals[k][1],
                "unit": UNITS[k],
            }
            for k, v in self.fit.constants.items()
        ]
        return Table(dict.fromkeys(("constant", "value", "low", "high", "unit"), ""), rows, "fitted constants, 95 %")

    def residuals(self) -> Table:
        """Measured and fitted J, row by row."""
        rows = [
            {"model": r.model, "batch": r.batch, "seconds": r.seconds, "measured": r.joules,
             "fitted": r.joules * (1 + e), "error": 100 * e}
            for r, e in zip(self.rows, self.fit.residuals, strict=True)
        ]  # fmt: skip
        columns = {"model": "", "batch": "", "seconds": "s", "measured": "J", "fitted": "J", "error": "%"}
        return Table(columns, rows, "row by row")

    def to_dict(self) -> dict[str, Any]:
        """Constants with intervals, and how good the fit is; infinities are None."""
        plain = self.fit.to_dict()
        for entry in plain["constants"].values():
            entry.update({k: _finite(entry[k]) for k in ("low", "high")})
        left = {k: _finite(v) for k, v in plain.pop("left_out_percent").items()}
        return {
            "name": self.name,
            **{k: v for k, v in plain.items() if k != "r2"},
            "r2": _finite(self.fit.r2),
            "left_out_percent": left,
        }

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """Quality, constants and rows."""
        quality = {"rows": self.fit.rows, "condition number": self.fit.condition, "mean error [%]": self.fit.mape}
        return quality, (self.constants(), self.residuals())

    def lines(self) -> list[str]:
        """The constants with their intervals, then the quality."""
        fit = self.fit
        lines = [
            f"{k}: {v:.4g} {UNITS[k]} (95 %: {fit.intervals[k][0]:.4g} to {fit.intervals[k][1]:.4g})"
            for k, v in fit.constants.items()
        ]
        left = [v for v in fit.left_out.values() if v == v]
        lines.append(
            f"{fit.rows} rows, condition number {fit.condition:.3g}, mean error {fit.mape:.2f} %, R2 {fit.r2:.5f}, "
            f"static share {fit.static_share:.1%}" + (f", model left out {sum(left) / len(left):.2f} %" if left else "")
        )
        return lines + [f"warning: {w}" for w in fit.warnings]

    def figure(self) -> Any:
        """Measured against fitted."""
        from fieldsight.systems.energy.plots import fit_figure

        measured = [r.joules for r in self.rows]
        fitted = [r.joules * (1 + e) for r, e in zip(self.rows, self.fit.residuals, strict=True)]
        return fit_figure(measured, fitted, [r.model for r in self.rows])

    def draw(self) -> Picture:
        """Measured against fitted J."""
        from fieldsight.report.plots import pixels

        return pixels(self.figure())

    def report(self) -> Any:
        """The page."""
        from fieldsight.report.html import Report
        from fieldsight.report.plots import svg

        report = Report(f"Calibration of {self.name}", f"{self.fit.rows} measurements")
        section = report.section("Constants")
        for warning in self.fit.warnings:
            section.notice(warning)
        section.table(self.constants())
        section.facts(
            {"condition number": self.fit.condition, "mean error [%]": self.fit.mape, "R2": self.fit.r2,
             "static share": self.fit.static_share}
        )  # fmt: skip
        section.plot(svg(self.figure()), "measured against fitted J")
        report.section("Rows").table(self.residuals(), most=1000)
        left = [{"model": k, "error": _finite(v)} for k, v in self.fit.left_out.items()]
        report.section("Each model left out").table(
            Table({"model": "", "error": "%"}, left, "mean error on a model whose rows were not fitted")
        )
        return report

    def save(self, folder: str | Path, stem: str | Path = "") -> list[Path]:
        """Write the profile (TOML), the fit (JSON), the rows (CSV) and the report (HTML), all named as the profile is.

        A profile is known by its file's name, so ``stem`` changes nothing.
        """
        base = Path(folder) / safe_name(self.name)
        return [
            write_text(base.with_name(f"{base.name}.toml"), self.hardware.to_toml()),
            write_json(base.with_name(f"{base.name}.json"), self.to_dict()),
            write_text(base.with_name(f"{base.name}_rows.csv"), self.residuals().to_csv()),
            self.report().save(base.with_name(f"{base.name}.html")),
        ]


def calibrate(data: Path, options: CalibrateOptions) -> Calibration:
    """Fit the constants to a CSV of measurements, or to the ``measured.csv`` of a folder.

    Raises:
        DataError: a file that can't be read, bad rows, or rows that do not identify the constants: what to measure.
    """
    file = data / MEASURED if data.is_dir() else data
    return fitted(method.read_rows(file), options)


def fitted(rows: Sequence[Row], options: CalibrateOptions) -> Calibration:
    """The same for rows in memory.

    Raises:
        DataError: as :func:`calibrate`.
    """
    fit = method.calibrate(rows, options.draws, options.seed)
    hardware = fit.hardware(options.name, options.precision, options.base)
    return Calibration(options.name, fit, hardware, tuple(rows))


def _finite(value: float) -> float | None:
    return float(value) if value == value and abs(value) != float("inf") else None
