"""The tab Choose a board: what a mission needs left; right the answer, a drawing and a table, at each change."""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fieldsight.errors import ConfigError, DataError, FieldsightError
from fieldsight.studio import render
from fieldsight.studio.context import PageContext
from fieldsight.systems.edge.options_bench import MORE_COLUMNS
from fieldsight.systems.edge.profiles import BenchRow, paper_rows, read_rows
from fieldsight.systems.edge.recommend import Constraints, Judged, Recommendation, recommend, value_of
from fieldsight.systems.edge.studio_plot import plot

#: What decides among those that fit, and of what the frames a second are.
PREFER = {
    "Least energy": "epi", "Best accuracy": "map", "Most speed": "fps", "Least power": "power",
    "Quickest answer": "latency",
}  # fmt: skip
RATES = {"the model alone": "mis", "the whole loop on the board": "loop", "with camera and network": "rtt"}

#: What the fields ask for at first.
FIRST = {"min_map": 0.8, "min_fps": 30.0}

#: Constraints by the words of their fields.
FIELDS = {
    "min_map": "Accuracy, at least", "min_fps": "Frames a second, at least", "max_power": "Power of the board, at most",
    "battery_wh": "Battery", "min_endurance": "It must last", "airframe_w": "Power of all else",
    "network_rtt": "Round trip to a cloud", "rate": "Frames a second of", "prefer": "Among those that fit",
}  # fmt: skip

#: Most rows of an uploaded table: each is held against each.
MOST_ROWS = 500

#: Rows that are shown of those that fit, that nearly fit, and of the others.
SHOWN = 50

#: What the page's style sheet needs for this tab.
STYLE = """
.edge-rows td small {
  color: #5b6776 !important; white-space: normal; display: block; min-width: 190px; line-height: 1.4;
}
.edge-rows td:nth-child(2) { min-width: 230px; }
.edge-rows tr.edge-best td { background: #eef6fa; }
.edge-plot { max-width: 700px; }
.edge-plot svg { width: 100%; height: auto; display: block; }
.edge-plot .edge-narrow { display: none; }
@media (max-width: 720px) { .edge-plot .edge-narrow { display: block; } .edge-plot .edge-wide { display: none; } }
"""


def draw(context: PageContext) -> None:
    """Draw the tab and connect it."""
    import gradio as gr

    from fieldsight.studio.frame import on_visit

    with gr.Row(elem_classes="fs-halves"):
        with gr.Column(scale=5, min_width=300, elem_classes="fs-left"):
            short = gr.HTML("", elem_classes="fs-html fs-now fs-narrow")  # on a phone the answer is far below
            fields, file = _fields()
        with gr.Column(scale=8, min_width=300, elem_classes="fs-right", elem_id="edge-choose-result"):
            result = gr.HTML("", elem_classes="fs-html")

    def choose(path: Any, *values: Any) -> list[str]:
        return list(answer(context, path, dict(zip(fields, values, strict=True))))

    live: dict[str, Any] = {
        "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last",
        "concurrency_id": "edge-look", "concurrency_limit": 4,
    }  # fmt: skip
    asked = [file, *fields.values()]
    for event in (file.change, *(field.input for field in fields.values()), on_visit):
        event(choose, asked, [result, short], **live)


def _fields() -> tuple[dict[str, Any], Any]:
    """Components of the constraints by name, and the one that takes a table."""
    import gradio as gr

    from fieldsight.studio.fields import caption

    made: dict[str, Any] = {}
    caption("What the mission needs", "0 means that it is not asked for")
    made["prefer"] = gr.Radio(list(PREFER.items()), value="epi", label="Among those that fit, first the one with")
    made["min_map"] = gr.Slider(
        0, 1, value=FIRST["min_map"], step=0.01, label=FIELDS["min_map"], elem_id="edge-min-map",
        info="mAP50-95: how many objects are found, and how exactly. 1 is perfect.",
    )  # fmt: skip
    made["min_fps"] = gr.Slider(0, 120, value=FIRST["min_fps"], step=1, label=FIELDS["min_fps"], elem_id="edge-min-fps")
    made["max_power"] = gr.Slider(0, 60, value=0, step=0.5, label=f"{FIELDS['max_power']} [W]")
    with gr.Row(elem_classes="fs-fields"):
        made["battery_wh"] = _number("battery_wh", "Wh", "To see how long it lasts")
        made["min_endurance"] = _number("min_endurance", "min", "On one battery")
    with gr.Row(elem_classes="fs-fields"):
        made["airframe_w"] = _number("airframe_w", "W", "Flying included")
        made["network_rtt"] = _number("network_rtt", "ms", "To compare with a T4 there")
    made["rate"] = gr.Radio(list(RATES.items()), value="mis", label=FIELDS["rate"])
    caption("Your own boards", "A table of fieldsight edge bench; without one the paper's 14 (.csv, .json)")
    file = gr.File(show_label=False, file_types=[".csv", ".json"], height=140, elem_classes="fs-drop")
    return made, file


def _number(name: str, unit: str, info: str) -> Any:
    import gradio as gr

    return gr.Number(0, label=f"{FIELDS[name]} [{unit}]", info=info, min_width=140)


# ---------------------------------------------------------------------------------------------------- the answer


def answer(context: PageContext, path: Any, values: Mapping[str, Any]) -> tuple[str, str]:
    """What is recommended, or what is wrong with the table or the fields; and the same in a few words. As HTML.

    Args:
        context: of the page.
        path: an uploaded table, or nothing for the paper's.
        values: what the fields hold, by the name of the constraint.
    """
    from fieldsight.studio.results import clean

    names = {str(path): Path(str(path)).name, str(context.scratch): "the Studio's folder"}
    try:
        rows, source = _rows(context, path)
        found = recommend(asked_for(values), rows)
    except FieldsightError as error:
        return render.message(clean(str(error), names), "error", "This did not work."), _short("This did not work")
    few = f"{found.best.name}: first of {len(found.ranked)}" if found.best is not None else "None fits"
    return found_html(found, source), _short(few)


def _short(words: str) -> str:
    return f'<p class="fs-run">{escape(words)}</p>'


def asked_for(values: Mapping[str, Any]) -> Constraints:
    """The constraints that fields ask for; nothing and 0 take any.

    Raises:
        ConfigError: a value out of its range, in the words of the fields.
    """
    plain = {k: v for k, v in values.items() if v not in (None, "", 0)}
    if "min_endurance" in plain and "battery_wh" not in plain:
        raise ConfigError(f"'{FIELDS['min_endurance']}' needs the energy of the '{FIELDS['battery_wh']}' too, in Wh.")
    try:
        return Constraints.parse(plain)
    except ConfigError as error:
        problems = []
        for problem in error.problems:
            name, colon, rest = problem.partition(":")
            problems.append(f"'{FIELDS[name]}'{colon}{rest}" if name in FIELDS else problem)
        raise ConfigError(problems) from None


def _rows(context: PageContext, path: Any) -> tuple[Sequence[BenchRow], str]:
    from fieldsight.studio.guard import uploaded

    if not path:
        return paper_rows(), "The paper's Tables 4 and 5"
    file = uploaded(path, context.uploads)
    if file.suffix.lower() not in (".csv", ".json"):
        raise DataError(f"'{file.name}' is no table: its name must end in .csv or .json.")
    return _read(file, file.stat().st_mtime), file.name


@functools.lru_cache(maxsize=8)
def _read(file: Path, stamp: float) -> Sequence[BenchRow]:
    rows = read_rows(file, ignore=MORE_COLUMNS)
    if len(rows) > MOST_ROWS:
        raise DataError(f"'{file}' has {len(rows):,} rows; at most {MOST_ROWS} are compared here.")
    return rows


def found_html(found: Recommendation, source: str) -> str:
    """The answer in a sentence, the drawing, the table and what to know beside."""
    notes = "".join(render.message(note, "quiet") for note in found.notes)
    every = [*found.ranked, *found.near, *found.others]
    drawn = f'<div class="edge-plot">{plot(found)}{plot(found, narrow=True)}</div>{_legend()}'
    without = sum(value_of(j.row, "fps", found.constraints) is None or j.row.map50_95 is None for j in every)
    gone = render.soft(f"{without} without a measured accuracy or speed can't be drawn.") if without else ""
    about = render.soft(f"{source}: {len(every)} configurations of board, model and precision.")
    return f"{verdict(found)}{notes}{drawn}{gone}{_table(found)}{about}{_download(found)}"


def verdict(found: Recommendation) -> str:
    """The answer in a sentence, as HTML."""
    if found.ranked:
        best, count = found.ranked[0].row, len(found.ranked)
        first = "the only one that fits" if count == 1 else f"the first of {count} that fit"
        words = f"<strong>{escape(best.name)}</strong> is {first}: {escape(', '.join(_said(best, found.constraints)))}."
        return f'<div class="fs-message fs-info" role="status">{words}</div>'
    nearest = next(iter((*found.near, *found.others)), None)
    words = "<strong>None fits.</strong>"
    if nearest is not None:
        words += f" Nearest is {escape(nearest.row.name)}: {escape(nearest.reason)}. Ask for less to have one."
    return f'<div class="fs-message fs-warning" role="status">{words}</div>'


def _said(row: BenchRow, asked: Constraints) -> list[str]:
    told = (
        ("map50_95", "accuracy {:.3f}"), ("fps", "{:.3g} frames a second"), ("power", "{:.3g} W"),
        ("epi", "{:.3g} J an image"), ("endurance", "lasts {:.0f} minutes"),
    )  # fmt: skip
    known = [(value_of(row, name, asked), words) for name, words in told]
    return [words.format(value) for value, words in known if value is not None] or ["nothing of it was measured"]


def _legend() -> str:
    dots = (
        ("#0b6e99", "fits"),
        ("#82b9d1", "fits, but another is better all round"),
        ("#E69F00", "misses one wish by a quarter or less"),
        ("#c5cdd6", "does not fit"),
    )
    dot = "width:12px;height:12px;border-radius:50%;border:1px solid #515d6b"
    items = "".join(
        '<span style="display:inline-flex;align-items:center;gap:6px;margin-right:16px">'
        f'<i style="{dot};background:{colour}"></i>{words}</span>'
        for colour, words in dots
    )
    rest = "The larger the dot, the more joules an image. Numbers are the ranks below; the dark ring is the first one. "
    line = "Along the dashed line nothing that fits is both faster and more accurate."
    return f'<p class="fs-soft">{items}<br>{rest}{line}</p>'


#: Columns of the table: value, heading, unit, format.
_COLUMNS = (
    ("map50_95", "mAP50-95", "", "{:.3f}"), ("fps", "frames", "1/s", "{:.3g}"), ("power", "power", "W", "{:.3g}"),
    ("epi", "energy", "J", "{:.3f}"), ("latency", "answer", "ms", "{:.3g}"), ("endurance", "lasts", "min", "{:.0f}"),
    ("weight", "weight", "g", "{:.0f}"),
)  # fmt: skip


def _table(found: Recommendation) -> str:
    """Those that fit in their order, then those that nearly fit; the others in a section that opens."""
    every = [*found.ranked, *found.near, *found.others]
    asked = found.constraints
    columns = [c for c in _COLUMNS if any(value_of(j.row, c[0], asked) is not None for j in every)]
    parts = []
    if found.ranked:
        parts.append(f"<h3>These fit</h3>{_rows_html(found.ranked, columns, found, ranked=True)}")
    if found.near:
        parts.append(f"<h3>These nearly fit</h3>{_rows_html(found.near, columns, found)}")
    if found.others:
        count = len(found.others)
        parts.append(
            f"<details><summary>The other {count if count > 1 else 'one'}</summary>"
            f"{_rows_html(found.others, columns, found)}</details>"
        )
    return "".join(parts)


def _rows_html(group: Sequence[Judged], columns: Sequence[Any], found: Recommendation, ranked: bool = False) -> str:
    head = "".join(
        f'<th class="n">{name}{f" <small>{unit}</small>" if unit else ""}</th>' for _, name, unit, _ in columns
    )
    body = ""
    for place, one in enumerate(group[:SHOWN], 1):
        values = [(value_of(one.row, name, found.constraints), shape) for name, _, _, shape in columns]
        cells = "".join(f'<td class="n">{"–" if v is None else shape.format(v)}</td>' for v, shape in values)
        best = ' class="edge-best"' if ranked and place == 1 else ""
        rank = f"<b>{place}</b>" if ranked else ""
        name = f"{escape(one.row.name)}<small>{escape(why(one, found))}</small>"
        body += f"<tr{best}><td>{rank}</td><td>{name}</td>{cells}</tr>"
    more = len(group) - SHOWN
    rest = render.soft(f"and {more:,} more") if more > 0 else ""
    return (
        '<div class="fs-scroll edge-rows" tabindex="0"><table><thead><tr><th></th><th>board + model</th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>{rest}"
    )


def why(one: Judged, found: Recommendation) -> str:
    """The reason without the numbers that stand beside it."""
    if one.broken:
        return "; ".join((*(b.text for b in one.broken), *one.notes))
    better = beaten_by(one.row, [j.row for j in found.ranked], found.constraints)
    front = {
        True: "none that fits is as good in accuracy, speed and energy at once",
        False: f"{better.name if better else 'another that fits'} is at least as good in accuracy, speed and energy",
        None: "accuracy, speed or energy was not measured",
    }
    return "; ".join((front[one.front], *one.notes))


def beaten_by(row: BenchRow, others: Sequence[BenchRow], asked: Constraints) -> BenchRow | None:
    """The first of the others that is nowhere worse in accuracy, speed and energy and somewhere better; or None."""

    def of(one: BenchRow) -> list[float]:
        values = (value_of(one, name, asked) for name in ("map50_95", "fps", "epi"))
        signed = ((v if k < 2 else -v) if v is not None else None for k, v in enumerate(values))
        return [-math.inf if v is None else v for v in signed]

    mine = of(row)
    return next((o for o in others if of(o) != mine and all(a >= b for a, b in zip(of(o), mine, strict=True))), None)


def _download(found: Recommendation) -> str:
    text = found.table().to_csv().encode()
    if len(text) > 200_000:
        return ""
    data = base64.b64encode(text).decode()
    address = f"data:text/csv;charset=utf-8;base64,{data}"
    return f'<p><a class="fs-button" href="{address}" download="recommendation.csv">This table, CSV</a></p>'
