"""Skeletons of connected pieces of a mask, and the graphs of those.

Thinning follows Guo and Hall, "Parallel thinning
with two-subiteration algorithms", CACM 32(3), 1989 (their algorithm A1), and visits only the pixels at the border of
what is left: time goes with the crack, not with the picture. The older rule of Zhang and Suen (1984), which
``skimage.morphology.skeletonize`` follows, eats diagonal lines two pixels wide from their ends and is no use here.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled

Points = NDArray[np.float64]


# ----------------------------------------------------------------------------------------------------- thinning


@compiled
def thin(image: NDArray[np.uint8]) -> None:
    """Thin an image of 0 and 1, ground at its border, in place to one pixel's width; 8-connectivity and holes stay.

    Guo and Hall (1989), A1: in turns, a pixel goes if its neighbours are one 8-connected group (C = 1), two or three
    of its neighbour pairs are crack, and it lies on the north and east, or the south and west, side.
    """
    height, width = image.shape
    around = np.array([-width, 1 - width, 1, width + 1, width, width - 1, -1, -width - 1])  # N, NE, E, ... NW
    pixels = image.reshape(-1)
    border = [0]
    border.clear()
    for at in range(width, height * width - width):
        if pixels[at]:
            for k in range(8):
                if not pixels[at + around[k]]:
                    pixels[at] = 2  # listed
                    border.append(at)
                    break
    idle, step = 0, 0
    gone = [0]
    p = np.zeros(8, np.int64)
    while idle < 2:
        gone.clear()
        for at in border:
            for k in range(8):
                p[k] = pixels[at + around[k]] > 0
            groups, first, second = 0, 0, 0
            for k in range(0, 8, 2):
                groups += (1 - p[k]) * (p[k + 1] | p[(k + 2) % 8])
                first += p[k - 1] | p[k]
                second += p[k] | p[k + 1]
            pairs = min(first, second)
            turn = 4 * (step % 2)
            stays = (p[turn] | p[turn + 1] | (1 - p[(turn + 3) % 8])) & p[turn + 2]
            if groups == 1 and 2 <= pairs <= 3 and not stays:
                gone.append(at)
        for at in gone:
            pixels[at] = 0
        if len(gone):
            left = [at for at in border if pixels[at]]
            for at in gone:
                for k in range(8):
                    if pixels[at + around[k]] == 1:
                        pixels[at + around[k]] = 2
                        left.append(at + around[k])
            border = left
        idle = 0 if len(gone) else idle + 1
        step += 1
    for at in border:
        pixels[at] = 1


@compiled
def _neighbours(pixels: NDArray[np.uint8], at: int, width: int, out: NDArray[np.int64]) -> int:
    """Neighbours along a skeleton: the four sides, and a corner where neither side beside it is set; their number."""
    n = 0
    north, east = pixels[at - width] > 0, pixels[at + 1] > 0
    south, west = pixels[at + width] > 0, pixels[at - 1] > 0
    if north:
        out[n] = at - width
        n += 1
    if east:
        out[n] = at + 1
        n += 1
    if south:
        out[n] = at + width
        n += 1
    if west:
        out[n] = at - 1
        n += 1
    if not north and not east and pixels[at - width + 1]:
        out[n] = at - width + 1
        n += 1
    if not south and not east and pixels[at + width + 1]:
        out[n] = at + width + 1
        n += 1
    if not south and not west and pixels[at + width - 1]:
        out[n] = at + width - 1
        n += 1
    if not north and not west and pixels[at - width - 1]:
        out[n] = at - width - 1
        n += 1
    return n


@compiled
def _trace(skeleton: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Chains of pixels between nodes (pixels without exactly two neighbours), and closed chains; uses up its input.

    Returns flat pixel indices of all chains, where each begins (and the last ends), and the number of neighbours of
    each chain's first and last pixel ``(chains, 2)``.
    """
    height, width = skeleton.shape
    pixels = skeleton.reshape(-1)
    near, further = np.empty(8, np.int64), np.empty(8, np.int64)
    nodes, links, plain = [0], 0, [0]
    nodes.clear()
    plain.clear()
    for at in range(width, height * width - width):
        if pixels[at]:
            n = _neighbours(pixels, at, width, near)
            if n == 2:
                plain.append(at)
            else:
                nodes.append(at)
                links += max(n, 1)
    for at in nodes:
        pixels[at] = 2
    chain = np.empty(2 * len(plain) + 2 * links, np.int64)
    begins, degrees, used = [0], [(0, 0)], 0
    degrees.clear()
    for start in nodes + plain:
        if pixels[start] == 3:
            continue
        closed = pixels[start] == 1
        n = _neighbours(pixels, start, width, near)
        if n == 0:
            chain[used] = start
            used += 1
            begins.append(used)
            degrees.append((0, 0))
        for k in range(1 if closed else n):
            before, at = start, near[k]
            if pixels[at] == 3 or (pixels[at] == 2 and at < start):
                continue
            chain[used] = start
            used += 1
            while pixels[at] == 1 and at != start:
                pixels[at] = 3
                chain[used] = at
                used += 1
                _neighbours(pixels, at, width, further)
                before, at = at, further[0] if further[0] != before else further[1]
            chain[used] = at
            used += 1
            begins.append(used)
            if closed:
                pixels[start] = 3
                degrees.append((2, 2))
            else:
                degrees.append((n, _neighbours(pixels, at, width, further)))
    ends = np.empty((len(degrees), 2), np.int64)
    for k in range(len(degrees)):
        ends[k, 0], ends[k, 1] = degrees[k]
    return chain[:used], np.array(begins), ends


# -------------------------------------------------------------------------------------------------------- graph


@dataclass(eq=False)
class Edge:
    """A chain between the nodes ``a`` and ``b``: ``points`` ``(n, 3)`` x, y, distance to the ground, in pixels."""

    a: int
    b: int
    points: Points

    @property
    def length(self) -> float:
        """Length of the chain: 1 a step along a side, the square root of 2 a diagonal step."""
        return float(np.hypot(*np.diff(self.points[:, :2], axis=0).T).sum())


@dataclass(eq=False)
class Graph:
    """A skeleton as nodes (x, y, distance to the ground) and edges; a closed chain is an edge from a node to itself."""

    nodes: dict[int, Points] = field(default_factory=dict)
    edges: dict[int, Edge] = field(default_factory=dict)
    incident: dict[int, list[int]] = field(default_factory=dict)  # an edge from a node to itself stands twice
    added: int = 0

    def degree(self, node: int) -> int:
        """Number of edge ends at a node."""
        return len(self.incident[node])

    def add(self, edge: Edge) -> int:
        """Add an edge between known nodes; its number."""
        name = self.added
        self.added += 1
        self.edges[name] = edge
        self.incident[edge.a].append(name)
        self.incident[edge.b].append(name)
        return name

    def remove(self, name: int) -> Edge:
        """Take an edge out; nodes stay."""
        edge = self.edges.pop(name)
        self.incident[edge.a].remove(name)
        self.incident[edge.b].remove(name)
        return edge

    def dissolve(self, node: int) -> int | None:
        """Join the two edges at a node that is no branch any more; the new edge's number, None if there is none."""
        if self.degree(node) != 2 or self.incident[node][0] == self.incident[node][1]:
            return None
        one, two = (self.remove(name) for name in list(self.incident[node]))
        head = one.points if one.b == node else one.points[::-1]
        tail = two.points if two.a == node else two.points[::-1]
        a, b = one.a if one.b == node else one.b, two.b if two.a == node else two.a
        del self.nodes[node], self.incident[node]
        return self.add(Edge(a, b, np.concatenate([head, tail[1:]])))


def graph_of(crop: NDArray[np.uint8]) -> Graph:
    """Skeleton graph of one piece ``(H, W)`` of 0 and 1 with ground all around, spurs pruned, in the crop's pixels."""
    import cv2

    skeleton = crop.copy()
    thin(skeleton)
    distance = cv2.distanceTransform(crop, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    width = crop.shape[1]
    chain, begins, degrees = _trace(skeleton)
    points = np.stack([chain % width + 0.5, chain // width + 0.5, distance.reshape(-1)[chain]], axis=1)
    del distance, skeleton
    graph = _assemble(chain, points, begins, degrees)
    prune(graph)
    contract(graph)
    return graph


def _assemble(chain: NDArray[np.int64], points: Points, begins: NDArray[np.int64], degrees: NDArray[np.int64]) -> Graph:
    """Nodes and edges of chains; branch pixels that touch are one node at their mean."""
    parent: dict[int, int] = {}

    def root(pixel: int) -> int:
        while parent.setdefault(pixel, pixel) != pixel:
            pixel = parent[pixel]
        return pixel

    spans = list(zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True))
    joints: list[bool] = np.all(degrees >= 3, axis=1).tolist()
    for (start, stop), joint in zip(spans, joints, strict=True):
        first, last = root(int(chain[start])), root(int(chain[stop - 1]))
        if joint and stop - start == 2 and first != last:
            parent[max(first, last)] = min(first, last)
    where = {int(chain[i]): points[i] for start, stop in spans for i in (start, stop - 1)}
    members: dict[int, list[Points]] = {}
    for pixel, point in where.items():
        members.setdefault(root(pixel), []).append(point)
    graph = Graph()
    for node, own in members.items():
        graph.nodes[node] = np.append(np.mean(own, axis=0)[:2], max(p[2] for p in own))
        graph.incident[node] = []
    for (start, stop), joint in zip(spans, joints, strict=True):
        a, b = root(int(chain[start])), root(int(chain[stop - 1]))
        if stop - start == 1 or (a == b and joint and stop - start == 2):
            continue
        inner = points[start:stop]
        before = [graph.nodes[a][None]] if len(members[a]) > 1 else []
        after = [graph.nodes[b][None]] if len(members[b]) > 1 else []
        graph.add(Edge(a, b, np.concatenate([*before, inner, *after])))
    return graph


def prune(graph: Graph) -> None:
    """Remove spurs: ends no longer than the local width, twice the distance to the ground at the branch they leave.

    Shortest first; where only two edges are left at a branch they become one. So the last edge always stays.
    """

    def spur(edge: Edge) -> tuple[int, int] | None:
        for tip, branch in ((edge.a, edge.b), (edge.b, edge.a)):
            if graph.degree(tip) == 1 and graph.degree(branch) >= 3:
                return tip, branch
        return None

    heap = [(edge.length, name) for name, edge in graph.edges.items() if spur(edge)]
    heapq.heapify(heap)
    while heap:
        length, name = heapq.heappop(heap)
        found = spur(graph.edges[name]) if name in graph.edges else None
        if found is None or length > 2.0 * graph.nodes[found[1]][2]:
            continue
        tip, branch = found
        graph.remove(name)
        del graph.nodes[tip], graph.incident[tip]
        joined = graph.dissolve(branch)
        if joined is not None and spur(graph.edges[joined]):
            heapq.heappush(heap, (graph.edges[joined].length, joined))


def contract(graph: Graph) -> None:
    """Join branches nearer to each other than the distance to the ground there: a crossing is one branch, not two."""
    heap = [(edge.length, name) for name, edge in graph.edges.items()]
    heapq.heapify(heap)
    while heap:
        length, name = heapq.heappop(heap)
        edge = graph.edges.get(name)
        if edge is None or min(graph.degree(edge.a), graph.degree(edge.b)) < 3:
            continue
        reach = max(graph.nodes[edge.a][2], graph.nodes[edge.b][2])
        if edge.a == edge.b:
            if length <= max(8.0, 4.0 * reach):  # a loop around a speck
                graph.remove(name)
                graph.dissolve(edge.a)
            continue
        if length > reach:
            continue
        graph.remove(name)
        middle = np.append((graph.nodes[edge.a] + graph.nodes[edge.b])[:2] / 2, reach)
        for other in {*graph.incident[edge.a], *graph.incident[edge.b]}:
            kept = graph.edges[other]
            head = [middle[None]] if kept.a in (edge.a, edge.b) else []
            tail = [middle[None]] if kept.b in (edge.a, edge.b) else []
            kept.points = np.concatenate([*head, kept.points, *tail])
            kept.a, kept.b = (edge.a if end == edge.b else end for end in (kept.a, kept.b))
            if kept.a == kept.b:
                heapq.heappush(heap, (kept.length, other))
        graph.incident[edge.a] += graph.incident.pop(edge.b)
        graph.nodes[edge.a] = middle
        del graph.nodes[edge.b]
