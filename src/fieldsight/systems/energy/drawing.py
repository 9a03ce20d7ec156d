"""Bars and treemaps as SVG text, written by hand: a page that follows a slider can't wait for a plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from fieldsight.profile.joules import PARTS, si
from fieldsight.report.plots import COLOURS

#: Colour of each part of the energy, the same in every plot, page and table.
PART_COLOURS = dict(zip(PARTS, COLOURS, strict=False))

#: Words for the parts.
PART_WORDS = {"weight": "weights", "mac": "MACs", "activation": "activations", "kv": "KV cache"}

_FONT = 'font-family="system-ui, sans-serif" font-size="12"'


def joules(value: float) -> str:
    """``849 µJ``: three digits with the prefix."""
    return f"{si(value)}J"


def bars(
    rows: Sequence[tuple[str, Mapping[str, float]]],
    width: int = 680,
    label: int = 150,
    title: str = "",
    even: bool = False,
) -> str:
    """Horizontal stacked bars on one scale, each with its name on the left and its total on the right.

    Args:
        rows: name and J by part.
        width: of the drawing in pixels.
        label: room for names in pixels.
        title: for readers who can't see it.
        even: every bar as long as the longest, so that shares can be compared.
    """
    longest = max((sum(parts.values()) for _, parts in rows), default=0.0) or 1.0
    room, step = width - label - 90, 26
    drawn = []
    for i, (name, parts) in enumerate(rows):
        top, x = 6 + i * step, float(label)
        most = (sum(parts.values()) or 1.0) if even else longest
        short = name if len(name) <= 22 else f"{name[:10]}…{name[-10:]}"
        drawn.append(
            f'<text x="{label - 8}" y="{top + 14}" text-anchor="end" fill="currentColor">'
            f"{escape(short)}<title>{escape(name)}</title></text>"
        )
        for part, value in parts.items():
            wide = value / most * room
            if wide > 0:
                told = f"{PART_WORDS.get(part, part)}: {joules(value)}"
                drawn.append(
                    f'<rect x="{x:.2f}" y="{top}" width="{max(wide, 0.3):.2f}" height="18" '
                    f'fill="{PART_COLOURS.get(part, "#666666")}"><title>{escape(told)}</title></rect>'
                )
            x += wide
        total = joules(sum(parts.values()))
        drawn.append(f'<text x="{x + 6:.2f}" y="{top + 14}" fill="currentColor">{escape(total)}</text>')
    drawn += _legend(_present(rows), label, 12 + step * len(rows))
    return _svg(width, 32 + step * len(rows), drawn, title)


def _present(rows: Sequence[tuple[str, Mapping[str, float]]]) -> list[str]:
    return [part for part in PARTS if any(parts.get(part, 0.0) > 0 for _, parts in rows)]


def columns(bars_: Sequence[tuple[str, Mapping[str, float]]], base: float, height: int = 210, title: str = "") -> str:
    """Stacked columns as in the paper's figures, each with its multiple of ``base`` on top.

    Args:
        bars_: name and J by part.
        base: J that count as 1.
        height: of the highest column in pixels.
        title: for readers who can't see it.
    """
    unit = base or 1.0
    most = max((sum(parts.values()) / unit for _, parts in bars_), default=0.0) or 1.0
    floor, drawn = height + 24, []
    for i, (name, parts) in enumerate(bars_):
        x, y = 12 + 92 * i, float(floor)
        for part, value in parts.items():
            high = value / unit / most * height
            y -= high
            if high > 0:
                told = f"{PART_WORDS.get(part, part)}: {joules(value)}"
                drawn.append(
                    f'<rect x="{x}" y="{y:.2f}" width="68" height="{high:.2f}" '
                    f'fill="{PART_COLOURS.get(part, "#666666")}"><title>{escape(told)}</title></rect>'
                )
        total = f"{sum(parts.values()) / unit:.4g}"
        drawn.append(f'<text x="{x + 34}" y="{y - 5:.2f}" text-anchor="middle" fill="currentColor">{total}</text>')
        drawn.append(
            f'<text x="{x + 34}" y="{floor + 16}" text-anchor="middle" fill="currentColor">{escape(name)}</text>'
        )
    return _svg(92 * len(bars_) + 24, floor + 24, drawn, title)


def _legend(parts: Sequence[str], x: float, y: float) -> list[str]:
    drawn = []
    for part in parts:
        word = PART_WORDS[part]
        drawn.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="10" height="10" fill="{PART_COLOURS[part]}"/>')
        drawn.append(f'<text x="{x + 15:.1f}" y="{y + 10:.1f}" fill="currentColor">{word}</text>')
        x += 36 + 7 * len(word)
    return drawn


def treemap(items: Sequence[tuple[str, Mapping[str, float]]], width: int = 760, height: int = 340) -> str:
    """Rectangles whose areas are the J of layers or groups, each cut by part; the largest first.

    Args:
        items: name and J by part.
        width, height: of the drawing in pixels.
    """
    ranked = sorted(((n, p, sum(p.values())) for n, p in items if sum(p.values()) > 0), key=lambda i: -i[2])
    if not ranked:
        return _svg(width, 24, ['<text x="8" y="16" fill="currentColor">no energy</text>'], "")
    whole = sum(total for _, _, total in ranked)
    places = squarify([total / whole * width * height for _, _, total in ranked], 0.0, 0.0, width, height)
    drawn = []
    for (name, parts, total), (x, y, w, h) in zip(ranked, places, strict=True):
        told = f"{name}: {joules(total)}, {total / whole:.1%}"
        left = x
        for part, value in parts.items():
            wide = value / total * w
            if wide > 0:
                drawn.append(
                    f'<rect x="{left:.2f}" y="{y:.2f}" width="{wide:.2f}" height="{h:.2f}" fill-opacity="0.85" '
                    f'fill="{PART_COLOURS.get(part, "#666666")}"><title>{escape(told)}</title></rect>'
                )
            left += wide
        drawn.append(
            f'<rect x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}" fill="none" stroke="#ffffff" '
            'stroke-width="1.5" pointer-events="none"/>'
        )
        if w > 8 * min(len(name), 14) and h > 18:
            short = name if 7 * len(name) < w else f"{name[: max(int(w / 7) - 1, 1)]}…"
            drawn.append(f'<text x="{x + 5:.2f}" y="{y + 15:.2f}" fill="#ffffff">{escape(short)}</text>')
    drawn += _legend(_present(items), 0, height + 8)
    return _svg(width, height + 24, drawn, "energy of the layers as areas")


def squarify(areas: Sequence[float], x: float, y: float, w: float, h: float) -> list[tuple[float, float, float, float]]:
    """Lay out areas, largest first, as rectangles near squares that fill a rectangle (Bruls, Huizing, van Wijk 2000).

    Args:
        areas: positive, together ``w * h``.
        x, y, w, h: the rectangle to fill.

    Returns:
        ``(x, y, width, height)`` of each.
    """
    placed: list[tuple[float, float, float, float]] = []
    rest = list(areas)
    while rest:
        side = min(w, h)
        count = 1
        while count < len(rest) and _worst(rest[: count + 1], side) <= _worst(rest[:count], side):
            count += 1
        row, rest = rest[:count], rest[count:]
        thick = sum(row) / side if side else 0.0
        at = y if w >= h else x
        for area in row:
            long = area / thick if thick else 0.0
            placed.append((x, at, thick, long) if w >= h else (at, y, long, thick))
            at += long
        if w >= h:
            x, w = x + thick, max(w - thick, 0.0)
        else:
            y, h = y + thick, max(h - thick, 0.0)
    return placed


def _worst(row: Sequence[float], side: float) -> float:
    """The largest ratio of sides in a row laid along ``side``."""
    total = sum(row)
    if not total or not side:
        return float("inf")
    return max(side**2 * max(row) / total**2, total**2 / (side**2 * min(row)))


def _svg(width: int, height: int, drawn: Sequence[str], title: str) -> str:
    named = f"<title>{escape(title)}</title>" if title else ""
    least = min(width, 460)  # narrower, and the words can't be read: a phone scrolls
    return (
        '<div style="overflow-x:auto">'
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'style="max-width:100%;min-width:{least}px;height:auto;display:block" role="img" {_FONT}>'
        f"{named}{''.join(drawn)}</svg></div>"
    )
