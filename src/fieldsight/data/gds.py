"""Chip layouts: GDSII and OASIS files, their cells and layers, the polygons inside a window, markers out.

Coordinates are nm with y upwards, as in the file; :class:`Window` converts to rows, which go down.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.files import atomic
from fieldsight.data.guard import check_layout
from fieldsight.data.raster import Polygon, rasterize
from fieldsight.errors import DataError, nearest, unknown

#: More polygons than this in one window are refused: a small file can repeat a cell a billion times.
MAX_POLYGONS = 2_000_000

#: Names of drawing layers of processes whose layouts are public; ``layer/datatype``.
LAYER_NAMES: dict[str, str] = {
    # SkyWater SKY130 (layers_definitions of the open PDK)
    "nwell": "64/20",
    "diff": "65/20",
    "tap": "65/44",
    "poly": "66/20",
    "licon1": "66/44",
    "li1": "67/20",
    "mcon": "67/44",
    "met1": "68/20",
    "via": "68/44",
    "met2": "69/20",
    "via2": "69/44",
    "met3": "70/20",
}

Layer = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A rectangle of a layout in nm, and its pixels.

    Attributes:
        x0, y0, x1, y1: corners in nm, y upwards.
        pixel: nm a pixel. Height and width are rounded up to whole pixels; the top left corner is kept.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    pixel: float

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)`` in pixels."""
        return (
            max(1, math.ceil((self.y1 - self.y0) / self.pixel - 1e-6)),
            max(1, math.ceil((self.x1 - self.x0) / self.pixel - 1e-6)),
        )

    def part(self, rows: slice, columns: slice) -> Window:
        """The window of a block of pixels."""
        return Window(
            self.x0 + columns.start * self.pixel,
            self.y1 - rows.stop * self.pixel,
            self.x0 + columns.stop * self.pixel,
            self.y1 - rows.start * self.pixel,
            self.pixel,
        )

    def to_layout(self, row: float, column: float) -> tuple[float, float]:
        """x, y in nm of a pixel position; (0, 0) is the outer corner of the first pixel."""
        return self.x0 + column * self.pixel, self.y1 - row * self.pixel


@dataclass(frozen=True)
class Layout:
    """An opened layout file: one cell of it, checked for missing and circular references.

    Attributes:
        path: the file.
        cell: name of the cell.
        nm: nm per unit of the file's coordinates.
        layers: polygons by ``(layer, datatype)`` in the whole hierarchy of the cell.
    """

    path: Path
    cell: str
    nm: float
    layers: dict[Layer, int]
    _cell: Any = field(repr=False)

    def layer(self, wanted: str | None, names: Mapping[str, str] = LAYER_NAMES) -> Layer:
        """Find a layer by ``"66/20"``, by number where its datatype is clear, or by name; None picks one.

        With None the layer with the longest total edge among those drawn is taken: it has most to image.

        Raises:
            DataError: there is no such layer in this cell; lists those there are.
        """
        if not self.layers:
            raise DataError(f"The cell '{self.cell}' of '{self.path}' is empty: it holds no polygon on any layer.")
        if wanted is None:
            return max(self.layers, key=lambda layer: (self._edge_length(layer), layer))
        text = names.get(wanted.lower(), wanted)
        number, _, datatype = text.partition("/")
        try:
            first = int(number)
            fitting = [k for k in self.layers if k[0] == first and (not datatype or k[1] == int(datatype))]
        except ValueError:
            fitting = []
        if len(fitting) == 1:
            return fitting[0]
        listed = ", ".join(f"{describe(k, names)} ({n})" for k, n in sorted(self.layers.items()))
        if fitting:
            raise DataError(f"Layer '{wanted}' of '{self.path}' has several datatypes. Choose one of: {listed}.")
        present = [name for name, numbers in names.items() if numbers in {f"{a}/{b}" for a, b in self.layers}]
        raise DataError(
            f"'{self.path}' has no layer '{wanted}' in cell '{self.cell}'.{nearest(wanted, present)} "
            f"It has (polygons): {listed}."
        )

    def _edge_length(self, layer: Layer) -> float:
        own: dict[str, float] = {}

        def length(cell: Any) -> float:
            if cell.name not in own:
                total = sum(
                    float(np.linalg.norm(p.points - np.roll(p.points, -1, axis=0), axis=1).sum())
                    for p in cell.get_polygons(depth=0, layer=layer[0], datatype=layer[1])
                )
                for reference in cell.references:
                    total += _copies(reference) * abs(reference.magnification) * length(reference.cell)
                own[cell.name] = total
            return own[cell.name]

        return length(self._cell)

    def bounds(self, layer: Layer) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in nm of what a layer holds."""
        low = np.full(2, np.inf)
        high = np.full(2, -np.inf)
        for polygon in self.polygons(layer):
            low = np.minimum(low, polygon.min(axis=0))
            high = np.maximum(high, polygon.max(axis=0))
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def polygons(self, layer: Layer, window: Window | None = None) -> Iterator[Polygon]:
        """Corners ``(n, 2)`` in nm of a layer's polygons that touch a window, the hierarchy unfolded on the way.

        Raises:
            DataError: more than :data:`MAX_POLYGONS`.
        """
        area = None if window is None else np.array([[window.x0, window.y0], [window.x1, window.y1]]) / self.nm
        for count, points in enumerate(_unfold(self._cell, layer, area)):
            if count >= MAX_POLYGONS:
                raise DataError(
                    f"'{self.path}' unfolds to more than {MAX_POLYGONS:,} polygons here. Choose a smaller window."
                )
            yield points * self.nm

    def raster(self, layer: Layer, window: Window) -> NDArray[np.float32]:
        """Share of each pixel of a window that the layer covers, ``(H, W)`` float32."""
        flipped = (p * (1.0, -1.0) for p in self.polygons(layer, window))
        return rasterize(flipped, window.shape, window.pixel, origin=(window.x0, -window.y1))


def open_layout(path: str | Path, cell: str | None = None) -> Layout:
    """Open a GDSII or OASIS file at a cell, the only top cell when none is named.

    Raises:
        DataError: the file is absent, empty, corrupt or holds no cell; no such cell; several top cells and none
            chosen; a cell that refers to itself or to a cell that is not there.
    """
    import gdstk

    source = Path(path)
    if not source.is_file():
        raise DataError(f"There is no layout file '{source}'.")
    if source.stat().st_size == 0:
        raise DataError(f"'{source}' is empty (0 bytes).")
    oasis = source.suffix.lower().startswith(".oas")
    check_layout(source, oasis)
    try:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a missing reference; we say it ourselves
            library = gdstk.read_oas(str(source)) if oasis else gdstk.read_gds(str(source))
    except (OSError, RuntimeError, ValueError, MemoryError, UnicodeDecodeError) as error:
        kind = "OASIS" if oasis else "GDSII"
        raise DataError(f"'{source}' is no {kind} file that can be read: {error}") from None
    cells = {c.name: c for c in library.cells if not isinstance(c, gdstk.RawCell)}
    if not cells:
        raise DataError(f"'{source}' holds no cell.")
    chosen = _choose(library, cells, cell, source)
    _check_references(chosen, source)
    return Layout(source, chosen.name, library.unit / 1e-9, dict(_count(chosen)), chosen)


def describe(layer: Layer, names: Mapping[str, str] = LAYER_NAMES) -> str:
    """``66/20 poly``, or the numbers alone where no name is known."""
    text = f"{layer[0]}/{layer[1]}"
    known = [name for name, numbers in names.items() if numbers == text]
    return f"{text} {known[0]}" if known else text


def read_layer_names(path: str | Path) -> dict[str, str]:
    """Layer names from a KLayout properties file (``.lyp``) or a TOML table ``name = "layer/datatype"``.

    Raises:
        DataError: the file is neither, or names no layer.
    """
    source = Path(path)
    names: dict[str, str] = {}
    if source.suffix.lower() == ".lyp":
        import xml.etree.ElementTree as ElementTree

        try:
            root = ElementTree.parse(source).getroot()
        except (OSError, ElementTree.ParseError) as error:
            raise DataError(f"Can't read layer names from '{source}': {error}.") from None
        for entry in root.iter("properties"):
            name, target = entry.findtext("name") or "", (entry.findtext("source") or "").split("@")[0]
            if name and "/" in target and "*" not in target:
                names[name.split()[0].lower()] = target.strip()
    else:
        from fieldsight.config import read_toml

        names = {str(k).lower(): str(v) for k, v in read_toml(source).items() if "/" in str(v)}
    if not names:
        raise DataError(f"'{source}' names no layer. Give a .lyp file or TOML lines such as met1 = \"68/20\".")
    return names


def write_polygons(
    path: str | Path, polygons: Sequence[Polygon], layer: Layer = (0, 0), cell: str = "TOP", labels: Sequence[str] = ()
) -> Path:
    """Write polygons (nm, y upwards) as a GDSII or OASIS file, 1 nm grid of 0.001; labels stand at first corners."""
    import gdstk

    library = gdstk.Library(unit=1e-6, precision=1e-12)
    target = library.new_cell(cell)
    for points in polygons:
        target.add(gdstk.Polygon(np.asarray(points) * 1e-3, layer=layer[0], datatype=layer[1]))
    for text, points in zip(labels, polygons, strict=False):
        target.add(gdstk.Label(text, tuple(np.asarray(points)[0] * 1e-3), layer=layer[0], texttype=layer[1]))
    with atomic(path) as temporary:
        if Path(path).suffix.lower().startswith(".oas"):
            library.write_oas(str(temporary))
        else:
            # a fixed time stamp: the same markers give the same bytes
            import datetime

            library.write_gds(str(temporary), timestamp=datetime.datetime(2000, 1, 1))
    return Path(path)


# ---------------------------------------------------------------------------------------------- internals


def _choose(library: Any, cells: dict[str, Any], wanted: str | None, path: Path) -> Any:
    if wanted is not None:
        if wanted not in cells:
            raise DataError(f"'{path}': " + unknown("cell", wanted, list(cells)[:40]))
        return cells[wanted]
    top = [c for c in library.top_level() if c.name in cells]
    if len(top) == 1:
        return top[0]
    if not top:
        raise DataError(f"'{path}' has no top cell: its cells refer to each other in a circle ({', '.join(cells)}).")
    listed = ", ".join(c.name for c in top[:40])
    raise DataError(f"'{path}' has {len(top)} top cells. Choose one with --cell: {listed}.")


def _check_references(top: Any, path: Path) -> None:
    """Walk the hierarchy without recursion of our own; a chain that closes or breaks is named."""
    state: dict[str, bool] = {}  # False: on the present chain, True: done
    chain: list[tuple[Any, Iterator[Any]]] = [(top, iter(top.references))]
    state[top.name] = False
    while chain:
        cell, remaining = chain[-1]
        reference = next(remaining, None)
        if reference is None:
            state[cell.name] = True
            chain.pop()
            continue
        child = reference.cell
        if isinstance(child, str):
            raise DataError(f"'{path}': cell '{cell.name}' refers to '{child}', which is not in the file.")
        if not hasattr(child, "references"):
            continue
        if state.get(child.name) is False:
            names = [c.name for c, _ in chain]
            circle = " -> ".join([*names[names.index(child.name) :], child.name])
            raise DataError(f"'{path}' has a recursive reference: {circle}. Break the circle in a layout editor.")
        if child.name not in state:
            state[child.name] = False
            chain.append((child, iter(child.references)))


def _copies(reference: Any) -> int:
    return max(1, int(reference.repetition.size)) if reference.repetition is not None else 1


def _count(top: Any) -> Counter[Layer]:
    known: dict[str, Counter[Layer]] = {}

    def count(cell: Any) -> Counter[Layer]:
        if cell.name not in known:
            own = Counter((p.layer, p.datatype) for p in cell.get_polygons(depth=0))
            for reference in cell.references:
                if hasattr(reference.cell, "references"):
                    for layer, number in count(reference.cell).items():
                        own[layer] += number * _copies(reference)
            known[cell.name] = own
        return known[cell.name]

    return count(top)


def _unfold(top: Any, layer: Layer, area: NDArray[np.float64] | None) -> Iterator[Polygon]:
    """Polygons of a layer below a cell that touch ``area`` ``((x0, y0), (x1, y1))``, branch by branch."""
    own: dict[str, list[Polygon]] = {}
    boxes: dict[str, NDArray[np.float64] | None] = {}
    stack: list[tuple[Any, NDArray[np.float64]]] = [(top, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))]
    while stack:
        cell, matrix = stack.pop()
        if cell.name not in own:
            own[cell.name] = [p.points for p in cell.get_polygons(depth=0, layer=layer[0], datatype=layer[1])]
        for points in own[cell.name]:
            moved = points @ matrix[:, :2].T + matrix[:, 2]
            if _touches(moved.min(axis=0), moved.max(axis=0), area):
                yield moved
        for reference in cell.references:
            child = reference.cell
            if not hasattr(child, "references"):
                continue
            if child.name not in boxes:
                box = child.bounding_box()
                boxes[child.name] = None if box is None else np.array(box)
            corners = boxes[child.name]
            if corners is None:
                continue
            placed = _matrix(reference)
            placed = np.column_stack([matrix[:, :2] @ placed[:, :2], matrix[:, :2] @ placed[:, 2] + matrix[:, 2]])
            square = np.array([[corners[i, 0], corners[j, 1]] for i in (0, 1) for j in (0, 1)])
            extent = square @ placed[:, :2].T + placed[:, 2]
            low, high = extent.min(axis=0), extent.max(axis=0)
            offsets = _offsets(reference) @ matrix[:, :2].T
            if area is not None:
                offsets = offsets[((high + offsets > area[0]) & (low + offsets < area[1])).all(axis=1)]
            for offset in offsets:
                shifted = placed.copy()
                shifted[:, 2] += offset
                stack.append((child, shifted))


def _touches(low: NDArray[np.float64], high: NDArray[np.float64], area: NDArray[np.float64] | None) -> bool:
    return area is None or bool((high > area[0]).all() and (low < area[1]).all())


def _matrix(reference: Any) -> NDArray[np.float64]:
    cosine, sine = math.cos(reference.rotation), math.sin(reference.rotation)
    scale = reference.magnification
    flip = -1.0 if reference.x_reflection else 1.0
    return np.array(
        [
            [scale * cosine, -scale * sine * flip, reference.origin[0]],
            [scale * sine, scale * cosine * flip, reference.origin[1]],
        ]
    )


def _offsets(reference: Any) -> NDArray[np.float64]:
    copies = _copies(reference)
    if copies == 1:
        return np.zeros((1, 2))
    if copies > MAX_POLYGONS:
        raise DataError(
            f"A cell is repeated {copies:,} times, more than the {MAX_POLYGONS:,} that can be unfolded. "
            "Cut the part you need out of the layout first."
        )
    return np.asarray(reference.repetition.get_offsets(), dtype=np.float64)
