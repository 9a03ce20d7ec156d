from __future__ import annotations

import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fieldsight.data import blocks
from fieldsight.data.blocks import open_blocks, open_large, shrunk_by_bands
from fieldsight.data.georeference import Georeference, read_georeference
from fieldsight.data.geotiff import write_geotiff
from fieldsight.data.images import read_image
from fieldsight.errors import ConfigError, DataError

KEYS = (1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 1026, 34737, 22, 0, 3072, 0, 1, 32631)
SCALE = (33550, 12, 3, (0.01, 0.01, 0.0), True)
TIE = (33922, 12, 6, (0.0, 0.0, 0.0, 500000.0, 4100000.0, 0.0), True)
TAGS = [SCALE, TIE, (34735, 3, 20, KEYS, True), (34737, 2, 0, "WGS 84 / UTM zone 31N|", True)]


def photo(height=150, width=211, seed=0):
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    return (noise + np.linspace(0, 200, width)[None, :, None]).astype(np.uint8)


def saved(path, picture=None, tags=TAGS, **options):
    picture = photo() if picture is None else picture
    photometric = "rgb" if picture.ndim == 3 else "minisblack"
    tifffile.imwrite(path, picture, **{"photometric": photometric, "extratags": tags, "metadata": None, **options})
    return path


def with_keys(*keys):
    return [SCALE, TIE, (34735, 3, 4 + len(keys), (1, 1, 0, len(keys) // 4, *keys), True)]


def test_scale_and_tie_point(tmp_path):
    found = read_georeference(saved(tmp_path / "a.tif", tags=[*TAGS, (42113, 2, 0, "-9999", True)]))
    assert found.transform == (0.01, 0.0, 500000.0, 0.0, -0.01, 4100000.0)
    assert (found.epsg, found.raster_type, found.nodata, found.notes) == (32631, "area", -9999.0, ())
    assert found.pixel_size_mm == pytest.approx(10.0)
    assert [tag[0] for tag in found.tags] == [33550, 33922, 34735, 34737]


def test_pixel_is_point_counts_from_the_centre(tmp_path):
    tags = with_keys(1024, 0, 1, 1, 1025, 0, 1, 2, 3072, 0, 1, 32631)
    found = read_georeference(saved(tmp_path / "a.tif", tags=tags))
    assert found.raster_type == "point"
    assert found.transform == pytest.approx((0.01, 0.0, 499999.995, 0.0, -0.01, 4100000.005))


def test_a_turned_picture(tmp_path):
    matrix = (0.3, 0.4, 0, 100.0, 0.4, -0.3, 0, 200.0, 0, 0, 0, 0, 0, 0, 0, 1)
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 3072, 0, 1, 32767, 3076, 0, 1, 9001)
    found = read_georeference(
        saved(tmp_path / "a.tif", tags=[(34264, 12, 16, matrix, True), (34735, 3, 16, keys, True)])
    )
    assert found.transform == (0.3, 0.4, 100.0, 0.4, -0.3, 200.0)
    assert found.epsg is None
    assert found.pixel_size_mm == pytest.approx(500.0)
    assert "defined by the user" in found.notes[0]


@pytest.mark.parametrize(
    ("keys", "epsg"),
    [
        ((1024, 0, 1, 1, 3072, 0, 1, 3857), 3857),  # metres that are none
        ((1024, 0, 1, 1, 3072, 0, 1, 2263, 3076, 0, 1, 9003), 2263),  # feet
        ((1024, 0, 1, 2, 2048, 0, 1, 4326), 4326),  # degrees
        ((1024, 0, 1, 1, 3072, 0, 1, 31370), 31370),  # not said
    ],
)
def test_no_pixel_size_where_the_unit_is_not_the_metre(tmp_path, keys, epsg):
    found = read_georeference(saved(tmp_path / "a.tif", tags=with_keys(*keys)))
    assert (found.epsg, found.pixel_size_mm) == (epsg, None)
    assert found.notes


@pytest.mark.parametrize(
    "tags",
    [
        [SCALE],
        [TIE],
        [(33550, 12, 3, (0.0, 0.0, 0.0), True), TIE],
        [(33550, 12, 3, (np.nan, 1.0, 0.0), True), TIE],
        [(33550, 12, 1, (0.5,), True), TIE],
        [SCALE, (33922, 12, 3, (0.0, 0.0, 0.0), True)],
        [(34264, 12, 4, (1.0, 0.0, 0.0, 1.0), True)],
        [SCALE, TIE, (34735, 3, 6, (1, 1, 0, 9, 1024, 0), True)],
        [SCALE, TIE, (34735, 3, 4, (7, 1, 0, 0), True)],
    ],
)
def test_broken_tags_are_a_note(tmp_path, tags):
    found = read_georeference(saved(tmp_path / "a.tif", tags=tags))
    assert found.notes
    assert (found.transform is None) == (len(tags) < 3)
    assert open_blocks(tmp_path / "a.tif").shape == (150, 211)


def test_world_file(tmp_path):
    Image.fromarray(photo()).save(tmp_path / "a.jpg")
    (tmp_path / "a.jgw").write_text("0.5\n0.0\n0.0\n-0.5\n1000.25\n1999.75\n")
    found = read_georeference(tmp_path / "a.jpg")
    assert found.transform == (0.5, 0.0, 1000.0, 0.0, -0.5, 2000.0)
    assert "a.jgw" in found.notes[0]
    written = write_geotiff(tmp_path / "out.tif", np.zeros((150, 211), bool), found)
    assert read_georeference(written).transform == found.transform
    (tmp_path / "a.jgw").write_text("0.5\nnonsense\n")
    assert read_georeference(tmp_path / "a.jpg").transform is None
    assert "six usable numbers" in read_georeference(tmp_path / "a.jpg").notes[0]


def test_a_plain_picture_has_an_empty_georeference(tmp_path):
    assert read_georeference(saved(tmp_path / "a.tif", tags=())) == Georeference()
    with pytest.raises(DataError, match="no file"):
        read_georeference(tmp_path / "none.tif")
    (tmp_path / "bad.tif").write_bytes(b"no picture at all")
    with pytest.raises(DataError, match="no TIFF"):
        read_georeference(tmp_path / "bad.tif")


@pytest.mark.parametrize("kind", ["mask", "probability", "picture"])
def test_written_and_read_back(tmp_path, kind):
    source = read_georeference(saved(tmp_path / "a.tif", tags=[*TAGS, (42113, 2, 0, "0", True)]))
    array = {
        "mask": photo()[..., 0] > 128,
        "probability": (photo()[..., 0] / 255).astype(np.float32),
        "picture": photo(),
    }[kind]
    written = write_geotiff(tmp_path / "out.tif", array, source, tile=64)
    assert read_georeference(written) == source
    assert read_georeference(written).nodata is None  # 0 is no nodata in a mask
    back = tifffile.imread(written)
    expected = array.astype(np.uint8) * 255 if kind == "mask" else array
    assert back.dtype == expected.dtype
    assert (back == expected).all()
    with tifffile.TiffFile(written) as tiff:
        assert (tiff.pages[0].is_tiled, int(tiff.pages[0].compression)) == (True, 8)


def test_texts_in_any_encoding_survive(tmp_path):
    tags = [*TAGS[:3], (34737, 2, 0, "Système|".encode("latin-1"), True)]
    source = read_georeference(saved(tmp_path / "a.tif", tags=tags))
    assert source.tags[-1][3] == b"Syst\xe8me|"
    assert read_georeference(write_geotiff(tmp_path / "b.tif", np.zeros((9, 9), bool), source)) == source


def test_writing_reads_tile_by_tile(tmp_path):
    class Watched:
        shape, dtype, ndim, nbytes = (500, 700), np.dtype(np.float32), 2, 1_400_000
        largest = 0

        def __getitem__(self, where):
            piece = np.ones(self.shape, np.float32)[where]
            self.largest = max(self.largest, piece.size)
            return piece

    array = Watched()
    write_geotiff(tmp_path / "out.tif", array, None, tile=128)  # type: ignore[arg-type]
    assert array.largest == 128 * 128
    assert (tifffile.imread(tmp_path / "out.tif") == 1).all()


def test_writing_refuses(tmp_path):
    with pytest.raises(ConfigError):
        write_geotiff(tmp_path / "a.png", np.zeros((4, 4), bool))
    with pytest.raises(ConfigError):
        write_geotiff(tmp_path / "a.tif", np.zeros((4, 4), bool), tile=100)
    for array in (np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), bool)):
        with pytest.raises(DataError):
            write_geotiff(tmp_path / "a.tif", array)
    assert list(tmp_path.iterdir()) == []


LAYOUTS = {
    "raw": {},
    "strips": {"compression": "zlib", "rowsperstrip": 17},
    "tiles": {"compression": "zlib", "tile": (64, 96), "predictor": 2},
    "big": {"compression": "zlib", "byteorder": ">"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_pieces_equal_the_whole(tmp_path, layout, depth):
    options = dict(LAYOUTS[layout])
    picture = photo().astype(depth) * (257 if depth == np.uint16 else 1)
    picture = picture.astype(np.dtype(depth).newbyteorder(">")) if options.pop("byteorder", "<") == ">" else picture
    with open_blocks(saved(tmp_path / "a.tif", picture, **options)) as reader:
        assert reader.lazy
        assert reader.shape == (150, 211)
        assert (reader(slice(None)) == photo()).all()
        part, valid = reader.read(slice(33, 131), slice(50, 190))
        assert (part == photo()[33:131, 50:190]).all()
        assert valid.all()
        assert reader(slice(-3, None), slice(5, 5)).shape == (3, 0, 3)


@pytest.mark.parametrize("packed", [{}, {"compression": "zlib", "rowsperstrip": 16}])
def test_planes_apart(tmp_path, packed):
    path = tmp_path / "a.tif"
    saved(path, np.moveaxis(photo(), -1, 0), planarconfig="separate", **packed)
    with open_blocks(path) as reader:
        assert (reader(slice(10, 40), slice(7, 90)) == photo()[10:40, 7:90]).all()


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_other_programs_write(tmp_path, compression, mode):
    picture = Image.fromarray(photo(400, 300)).convert(mode)
    extra = {"tiffinfo": {317: 2}} if compression == "tiff_lzw" and mode == "RGB" else {}
    picture.save(tmp_path / "a.tif", compression=compression, **extra)
    expected = np.asarray(Image.open(tmp_path / "a.tif").convert("RGB"))
    with open_blocks(tmp_path / "a.tif") as reader:
        assert reader.lazy
        assert np.abs(reader(slice(None)).astype(int) - expected).max() <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 256), st.integers(0, 2**32 - 1), st.sampled_from([1, 2]))
def test_lzw_of_any_picture(tmp_path_factory, height, width, levels, seed, predictor):
    path = tmp_path_factory.mktemp("lzw") / "a.tif"
    picture = np.random.default_rng(seed).integers(0, levels, (height, width, 3), dtype=np.uint8)
    Image.fromarray(picture).save(path, compression="tiff_lzw", tiffinfo={317: predictor})
    with open_blocks(path) as reader:
        assert (reader(slice(None)) == picture).all()


def test_invalid_pixels(tmp_path):
    rgba = np.dstack([photo(), np.full((150, 211), 255, np.uint8)])
    rgba[:40, :, 3] = 0
    saved(tmp_path / "alpha.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    with open_blocks(tmp_path / "alpha.tif") as reader:
        pixels, valid = reader.read(slice(30, 50))
        assert pixels.shape == (20, 211, 3)
        assert (valid == (np.arange(30, 50) >= 40)[:, None]).all()
    black = photo() | 1
    black[:, :20] = 0
    saved(tmp_path / "nodata.tif", black, tags=[*TAGS, (42113, 2, 0, "0", True)])
    with open_blocks(tmp_path / "nodata.tif") as reader:
        assert (reader.read(slice(None))[1] == (np.arange(211) >= 20)).all()


def test_transparency_over_white_is_that_of_the_whole(tmp_path):
    rgba = np.dstack([photo(), photo(seed=1)[..., :1]])
    path = saved(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"], compression="zlib")
    with open_blocks(path, over_white=True) as reader:
        assert (reader(slice(20, 90), slice(3, 50)) == read_image(path, "rgb")[20:90, 3:50]).all()
        assert reader(slice(5, 5)).shape == (0, 211, 3)
    with open_blocks(path) as reader:
        assert (reader(slice(None)) == photo()).all()


def test_only_large_tiffs_are_read_in_pieces(tmp_path):
    path = saved(tmp_path / "a.tif", tile=(64, 64), compression="zlib")
    assert open_large(path, 150 * 211) is None
    reader = open_large(path, 150 * 211 - 1)
    assert reader is not None
    assert reader.lazy
    reader.close()
    Image.fromarray(photo()).save(tmp_path / "a.png")
    Image.fromarray(photo()).convert("CMYK").save(tmp_path / "cmyk.tif", compression="tiff_lzw")
    (tmp_path / "liar.tif").write_bytes((tmp_path / "a.png").read_bytes())
    for name in ("a.png", "cmyk.tif", "liar.tif", "none.tif"):
        assert open_large(tmp_path / name, 10) is None  # read_image reads it, or says what is wrong


def test_what_can_be_read_neither_whole_nor_in_pieces(tmp_path, monkeypatch):
    Image.fromarray(photo()).convert("CMYK").save(tmp_path / "cmyk.tif", compression="tiff_lzw")
    monkeypatch.setattr(blocks, "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match="colour space"):
        open_large(tmp_path / "cmyk.tif", 10)


@pytest.mark.parametrize("rows", [1, 40, 512])
def test_shrunk_in_bands(rows):
    picture = np.repeat(np.repeat(photo(75, 100), 4, axis=0), 4, axis=1)
    asked = []

    def block(lines, columns):
        asked.append(lines.stop - lines.start)
        return picture[lines, columns]

    assert (shrunk_by_bands(block, (300, 400), 100, rows) == photo(75, 100)).all()
    assert max(asked) <= max(4, rows)
    assert sum(asked) == 300
    assert shrunk_by_bands(block, (300, 400), 500).shape == (300, 400, 3)


def test_a_mask_page_and_missing_tiles(tmp_path):
    inside = np.zeros((150, 211), bool)
    inside[20:100, 30:180] = True
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        pieces = [photo()[:128, :128], None, None, photo()[128:, 128:]]
        padded = [
            None if p is None else np.pad(p, ((0, 128 - p.shape[0]), (0, 128 - p.shape[1]), (0, 0))) for p in pieces
        ]
        writer.write(
            iter(padded), shape=(150, 211, 3), dtype=np.uint8, tile=(128, 128), photometric="rgb", compression="zlib",
            metadata=None,
        )  # fmt: skip
        writer.write(inside, subfiletype=4, photometric="mask", compression="zlib", metadata=None)
    with open_blocks(tmp_path / "a.tif") as reader:
        _, valid = reader.read(slice(None))
    expected = inside.copy()
    expected[:128, 128:] = expected[128:, :128] = False
    assert (valid == expected).all()


def test_other_files_are_read_whole(tmp_path):
    Image.fromarray(photo()).save(tmp_path / "a.png")
    with open_blocks(tmp_path / "a.png") as reader:
        assert not reader.lazy
        assert (reader(slice(3, 9), slice(1, 4)) == photo()[3:9, 1:4]).all()
    with pytest.raises(DataError):
        open_blocks(tmp_path / "none.png")


@pytest.mark.parametrize("share", [0.2, 0.7, 0.95])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_truncated_files_are_a_data_error(tmp_path, share, compression):
    data = saved(tmp_path / "a.tif", compression=compression, rowsperstrip=16).read_bytes()
    (tmp_path / "b.tif").write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError), open_blocks(tmp_path / "b.tif") as reader:
        reader(slice(None))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_end_in_data_errors_only(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    raw = bytearray(saved(folder / "a.tif", photo(20, 30), compression="zlib", rowsperstrip=5).read_bytes())
    (start,) = struct.unpack_from("<I", raw, 4)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(start if start < len(raw) else 8, min(len(raw) - 1, start + 400)))
        raw[at] = data.draw(st.integers(0, 255))
    (folder / "b.tif").write_bytes(bytes(raw))
    try:
        with open_blocks(folder / "b.tif") as reader:
            reader(slice(0, 20), slice(0, 30))
    except DataError:
        pass
