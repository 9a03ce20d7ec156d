"""Run an exported detector with numpy, Pillow and ONNX Runtime alone: no PyTorch, no fieldsight. One file to copy.

    fieldsight edge export --out detector.onnx
    python edge_runtime.py detector.onnx photo.jpg [more.jpg ...] [--conf 0.25] [--iou 0.7] [--most 300]
                           [--threads 1] [--draw FOLDER]

The file names its classes itself. A line of JSON is printed for each photo; --draw also writes the photos with their
boxes. Pixels enter the network exactly as in fieldsight (the same bytes), so that the same boxes come out.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

GREY = 114
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


# ---------------------------------------------------------------------------------------------- before the network


def place(size, side):
    """Where a photo of (height, width) lies in a square input: its height and width there, grey above and left."""
    scale = min(side / size[0], side / size[1])
    high, wide = (min(side, max(1, round(n * scale))) for n in size)
    return high, wide, (side - high) // 2, (side - wide) // 2


def weights(old, new):
    """For each of the new pixels: the first of two old ones, and the weight of the second in 1/256."""
    at = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(at).astype(np.int64)
    second = np.rint((at - first) * 256).astype(np.int64)
    second[(first < 0) | (first >= old - 1)] = 0
    return np.clip(first, 0, old - 1), second


def resized(picture, high, wide):
    """Bilinear in whole numbers, (H, W, 3) uint8 to (high, wide, 3) uint8; no smoothing when shrinking."""
    if picture.shape[:2] == (high, wide):
        return picture
    rows, down = weights(picture.shape[0], high)
    columns, across = weights(picture.shape[1], wide)
    after = np.minimum(columns + 1, picture.shape[1] - 1)
    below = np.minimum(rows + 1, picture.shape[0] - 1)
    across, down = across[None, :, None], down[:, None, None]

    def line(which):
        part = picture[which].astype(np.int64)
        return part[:, columns] * (256 - across) + part[:, after] * across

    return ((line(rows) * (256 - down) + line(below) * down + 32768) >> 16).astype(np.uint8)


def letterbox(picture, side):
    """A photo (H, W, 3) uint8 on grey, (side, side, 3) uint8, and where it lies."""
    high, wide, top, left = place(picture.shape[:2], side)
    out = np.full((side, side, 3), GREY, np.uint8)
    out[top : top + high, left : left + wide] = resized(picture, high, wide)
    return out, (high, wide, top, left)


def to_input(boxed):
    """A letterboxed photo as the network wants it, (1, 3, side, side) float32 in 0-1."""
    return np.ascontiguousarray((boxed.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)[None])


# ----------------------------------------------------------------------------------------------- after the network


def suppress(output, conf, iou, most):
    """Boxes of one photo from the output (1, 4 + classes, anchors): (K, 6), x1, y1, x2, y2, score, class; best first.

    A candidate is an anchor with a class whose score is above ``conf``. It is dropped where a better kept one of its
    class overlaps it by more than ``iou``.
    """
    boxes, scores = output[0, :4].T, output[0, 4:]
    label, anchor = np.nonzero(scores > np.float32(conf))
    centre, half = boxes[anchor, :2], boxes[anchor, 2:] / 2
    corners = np.concatenate([centre - half, centre + half], 1)
    fine = np.isfinite(corners).all(1)
    corners, score, label = corners[fine], scores[label, anchor][fine], label[fine]
    order = np.argsort(-score, kind="stable")
    corners, score, label = corners[order], score[order], label[order]
    area = np.prod((corners[:, 2:] - corners[:, :2]).clip(0), axis=1)
    kept, alive = [], np.ones(len(order), bool)
    for k in range(len(order)):
        if not alive[k]:
            continue
        kept.append(k)
        if len(kept) == most:
            break
        low, high = np.maximum(corners[k, :2], corners[k:, :2]), np.minimum(corners[k, 2:], corners[k:, 2:])
        shared = np.prod((high - low).clip(0), axis=1)
        union = area[k] + area[k:] - shared
        overlap = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
        alive[k:] &= (overlap <= np.float32(iou)) | (label[k:] != label[k])
    return np.concatenate([corners, score[:, None], label[:, None].astype(np.float32)], 1)[kept]


def back(boxes, where, size):
    """Boxes (K, 4) in pixels of the input as pixels of the photo, cut to it."""
    high, wide, top, left = where
    scale = np.array([wide / size[1], high / size[0]] * 2)
    found = (boxes.astype(np.float64) - np.array([left, top] * 2)) / scale
    return np.clip(found, 0, np.array([size[1], size[0]] * 2, float)).astype(np.float32)


# ------------------------------------------------------------------------------------------------------ the network


class Detector:
    """An exported file, ready to run.

    Attributes: ``classes`` by label; ``side`` of the input; ``conf``, ``iou``, ``most`` as the model has them.
    """

    def __init__(self, path, threads=0):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        told = self.session.get_modelmeta().custom_metadata_map
        config = json.loads(told.get("fieldsight.config", "{}"))
        (entry,) = self.session.get_inputs()
        self.name, shape = entry.name, entry.shape
        self.half = entry.type == "tensor(float16)"
        self.side = int(shape[2] if isinstance(shape[2], int) else config.get("input", 640))
        self.classes = tuple(config.get("classes", ()))
        self.conf, self.iou = config.get("conf", 0.25), config.get("iou", 0.7)
        self.most = config.get("most", 300)
        if config.get("family") in ("yolov10", "rtdetr"):
            self.iou = 1.0  # these need no suppression

    def __call__(self, picture, conf=None, iou=None, most=None):
        """Boxes of a photo (H, W, 3) uint8 RGB: (K, 6), x1, y1, x2, y2 in its pixels, score, class; best first."""
        boxed, where = letterbox(picture, self.side)
        given = to_input(boxed)
        output = self.session.run(None, {self.name: given.astype(np.float16) if self.half else given})[0]
        rows = suppress(output.astype(np.float32), conf or self.conf, iou or self.iou, most or self.most)
        rows[:, :4] = back(rows[:, :4], where, picture.shape[:2])
        return rows[(rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])]

    def label(self, k):
        """Name of a class."""
        return self.classes[k] if k < len(self.classes) else str(k)

    def told(self, rows):
        """Boxes as plain values."""
        return [
            {"class": self.label(int(r[5])), "score": round(float(r[4]), 5), "box": [round(float(v), 2) for v in r[:4]]}
            for r in rows
        ]


def read(path):
    """A photo as (H, W, 3) uint8 RGB, turned as its EXIF says."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def draw(picture, rows, detector):
    """The photo with its boxes, a Pillow image."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(max(11, max(image.size) // 60))
    for x1, y1, x2, y2, score, k in rows[::-1]:
        colour = COLOURS[int(k) % len(COLOURS)]
        pen.rectangle((x1, y1, x2, y2), outline=colour, width=max(2, max(image.size) // 400))
        text = f"{detector.label(int(k))} {score:.2f}"
        place = pen.textbbox((x1 + 2, y1 + 1), text, font=font)
        pen.rectangle((place[0] - 2, place[1] - 1, place[2] + 2, place[3] + 1), fill=(0, 0, 0))
        pen.text((x1 + 2, y1 + 1), text, font=font, fill=(255, 255, 255))
    return image


def main(words):
    """The command line; returns the exit code."""
    if not any(w.endswith(".onnx") for w in words):
        print(__doc__.strip())
        return 2 if any(w.lower().endswith(PICTURES) for w in words) else 0
    parser = argparse.ArgumentParser(description="Boxes of photos, by an exported detector.")
    parser.add_argument("model", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--conf", type=float)
    parser.add_argument("--iou", type=float)
    parser.add_argument("--most", type=int)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--draw", type=Path)
    given = parser.parse_args(words)
    detector = Detector(given.model, given.threads)
    bad = 0
    for path in given.photos:
        try:
            picture = read(path)
        except (OSError, ValueError, SyntaxError) as error:
            print(f"skipped {path}: {error}", file=sys.stderr)
            bad = 3
            continue
        start = time.perf_counter()
        rows = detector(picture, given.conf, given.iou, given.most)
        spent = 1e3 * (time.perf_counter() - start)
        print(json.dumps({"input": str(path), "ms": round(spent, 2), "boxes": detector.told(rows)}))
        if given.draw is not None:
            given.draw.mkdir(parents=True, exist_ok=True)
            draw(picture, rows, detector).save(given.draw / f"{path.stem}_boxes.png")
    return bad


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if code:
        sys.exit(code)
