import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from diffgeo.data import images
from diffgeo.data.images import FORMATS, SUFFIXES, as_tensor, list_images, load_image, picture_names
from diffgeo.errors import DataError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def as_bytes(picture):
    return ((picture + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


def gradient(height=8, width=8):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 9], axis=-1).astype(np.uint8)


@pytest.fixture
def saved(tmp_path):
    def save(image, name="picture.png", **options):
        path = tmp_path / name
        image.save(path, **options)
        return path

    return save


def test_rgb_of_the_right_size_is_read_bit_for_bit(saved):
    picture = load_image(saved(Image.fromarray(gradient())), 8, 8)
    assert picture.dtype == torch.float32
    np.testing.assert_array_equal(as_bytes(picture), gradient())


def test_black_is_minus_one_and_white_is_one(saved):
    assert torch.equal(load_image(saved(Image.new("RGB", (4, 4), "black")), 4, 4), torch.full((3, 4, 4), -1.0))
    assert torch.equal(load_image(saved(Image.new("RGB", (4, 4), "white")), 4, 4), torch.ones(3, 4, 4))


def test_grey_is_repeated_over_the_channels(saved):
    grey = gradient()[..., 0]
    picture = as_bytes(load_image(saved(Image.fromarray(grey)), 8, 8))
    for channel in range(3):
        np.testing.assert_array_equal(picture[..., channel], grey)


def test_sixteen_bit_grey_keeps_its_shades(saved):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    picture = load_image(saved(Image.fromarray(values)), 8, 8)
    expected = torch.from_numpy(values.astype(np.float32) / 65535 * 2 - 1)
    for channel in range(3):
        torch.testing.assert_close(picture[channel], expected, rtol=0, atol=2 / 255)


def test_sixteen_bit_mid_grey_is_mid_grey(saved):
    picture = load_image(saved(Image.fromarray(np.full((8, 8), 32768, dtype=np.uint16))), 8, 8)
    torch.testing.assert_close(picture, torch.zeros(3, 8, 8), rtol=0, atol=2 / 255)


def test_black_and_white_bitmap(saved):
    bits = gradient()[..., 0] > 127
    picture = as_bytes(load_image(saved(Image.fromarray(bits)), 8, 8))
    np.testing.assert_array_equal(picture[..., 0] == 255, bits)


def test_transparency_is_white_and_half_transparency_half_white(saved):
    rgba = np.zeros((8, 8, 4), dtype=np.uint8)
    rgba[..., 0] = 255
    rgba[:, :4, 3], rgba[:, 4:, 3] = 0, 128
    picture = as_bytes(load_image(saved(Image.fromarray(rgba)), 8, 8))
    assert tuple(picture[0, 0]) == WHITE
    np.testing.assert_allclose(picture[0, 7], (255, 127, 127), atol=1)


def test_grey_with_alpha_is_laid_on_white(saved):
    la = np.zeros((8, 8, 2), dtype=np.uint8)
    la[:, 4:, 1] = 255
    picture = as_bytes(load_image(saved(Image.fromarray(la, "LA")), 8, 8))
    assert tuple(picture[0, 0]) == WHITE
    assert tuple(picture[0, 7]) == (0, 0, 0)


def test_transparent_palette_colour_is_white(saved):
    indexed = Image.fromarray((np.arange(64).reshape(8, 8) % 2).astype(np.uint8), "P")
    indexed.putpalette([*RED, *BLUE])
    picture = as_bytes(load_image(saved(indexed, transparency=0), 8, 8))
    assert tuple(picture[0, 0]) == WHITE
    assert tuple(picture[0, 1]) == BLUE


def test_opaque_palette_gives_its_colours(saved):
    indexed = Image.fromarray((np.arange(64).reshape(8, 8) % 2).astype(np.uint8), "P")
    indexed.putpalette([*RED, *BLUE])
    picture = as_bytes(load_image(saved(indexed), 8, 8))
    assert tuple(picture[0, 0]) == RED
    assert tuple(picture[0, 1]) == BLUE


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (7, 7)), (6, (0, 7)), (8, (7, 0))])
def test_exif_rotation_is_applied(saved, orientation, corner):
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[0, 0] = WHITE
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = as_bytes(load_image(saved(Image.fromarray(pixels), exif=exif), 8, 8))
    assert [tuple(p) for p in np.argwhere(picture[..., 0] > 128)] == [corner]


def test_cmyk_jpeg_is_read_as_rgb(saved):
    picture = load_image(saved(Image.new("RGB", (8, 8), RED).convert("CMYK"), "picture.jpg"), 8, 8)
    r, g, b = picture.mean(dim=(1, 2)).tolist()
    assert r > 0.8
    assert max(g, b) < -0.8


@pytest.mark.parametrize(("width", "height"), [(16, 8), (8, 16), (30, 11)])
def test_other_shapes_are_cropped_about_the_centre(saved, width, height):
    # green centre column or row, red and blue ends: after a central crop both ends are gone
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[...] = GREEN
    side, cut = min(width, height), (max(width, height) - min(width, height)) // 2
    along = pixels if width > height else pixels.transpose(1, 0, 2)
    along[:, : cut // 2], along[:, -(cut // 2) :] = RED, BLUE
    picture = load_image(saved(Image.fromarray(pixels)), 8, 8)
    inner = picture[:, 2:-2, 2:-2]
    assert side in (width, height)
    torch.testing.assert_close(inner, torch.tensor([-1.0, 1.0, -1.0])[:, None, None].expand_as(inner), atol=0.1, rtol=0)


def test_large_pictures_are_averaged_not_sampled(saved):
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    picture = load_image(saved(Image.fromarray(checkers)), 8, 8)
    torch.testing.assert_close(picture, torch.zeros(3, 8, 8), rtol=0, atol=0.1)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 500), (500, 3), (7, 9)])
def test_any_size_comes_out_as_asked(saved, width, height):
    picture = load_image(saved(Image.new("RGB", (width, height), GREEN)), 12, 10)
    expected = torch.tensor([-1.0, 1.0, -1.0])[:, None, None].expand(3, 12, 10)
    torch.testing.assert_close(picture, expected, rtol=0, atol=1e-2)


def test_values_never_leave_the_range_at_sharp_edges(saved):
    stripes = np.repeat(np.array([0, 255] * 5, dtype=np.uint8), 3)[None].repeat(30, 0)
    picture = load_image(saved(Image.fromarray(stripes)), 47, 47)
    assert picture.min() >= -1
    assert picture.max() <= 1


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_refused_by_name(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.png cannot be read as a picture"):
        load_image(path, 8, 8)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
def test_a_truncated_picture_is_refused_by_name(saved, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    path = saved(Image.fromarray(noise), f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="cut"):
        load_image(path, 8, 8)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        load_image(tmp_path / "nowhere.png", 8, 8)


def test_big_endian_sixteen_bit_tiff_is_read(tmp_path):
    path = tmp_path / "big.tif"
    values = np.linspace(0, 65535, 64).astype(">u2").reshape(8, 8)
    Image.frombytes("I;16B", (8, 8), values.tobytes()).save(path)
    picture = load_image(path, 8, 8)
    torch.testing.assert_close(picture[0], torch.linspace(-1, 1, 64).reshape(8, 8), rtol=0, atol=2 / 255)


def test_pictures_of_a_folder_come_in_the_order_of_their_names(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.webp", "notes.txt", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["a.jpg", "b.PNG", "c.webp"]


def test_every_known_suffix_counts(tmp_path):
    for suffix in SUFFIXES:
        (tmp_path / f"x{suffix}").touch()
    assert len(list_images(str(tmp_path))) == len(SUFFIXES)


def test_one_file_is_a_list_of_one(tmp_path):
    path = tmp_path / "x.unknown"
    path.touch()
    assert list_images(path) == [path]


def test_an_empty_or_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no picture; known suffixes are \.png"):
        list_images(tmp_path)
    with pytest.raises(DataError, match=r"data\.images=.*gone does not exist"):
        list_images(tmp_path / "gone")


def test_a_list_keeps_its_order_and_takes_any_suffix(tmp_path):
    files = [tmp_path / name for name in ("b.png", "a.unknown")]
    for file in files:
        file.touch()
    assert list_images(files) == list_images([str(file) for file in files]) == files


def test_a_path_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.png").touch()
    assert list_images(["~/a.png"]) == list_images("~/a.png") == [tmp_path / "a.png"]


def test_a_list_of_other_things_than_files_is_refused(tmp_path):
    file = tmp_path / "a.png"
    file.touch()
    with pytest.raises(DataError, match=r"lists .*gone\.png, which does not exist"):
        list_images([file, tmp_path / "gone.png"])
    with pytest.raises(DataError, match="which is a folder; list files"):
        list_images([file, tmp_path])
    with pytest.raises(DataError, match=r"lists .*a\.png twice"):
        list_images([file, tmp_path / "." / "a.png"])
    (tmp_path / "link.png").symlink_to(file)
    with pytest.raises(DataError, match=r"link\.png twice"):
        list_images([file, tmp_path / "link.png"])
    with pytest.raises(DataError, match="empty list"):
        list_images([])


def test_pictures_are_called_by_their_files_and_by_their_paths_where_those_clash(tmp_path):
    same = [tmp_path / "x" / "1.png", tmp_path / "y" / "1.png"]
    assert picture_names([*same, tmp_path / "x" / "2.png"]) == [str(same[0]), str(same[1]), "2.png"]


def test_sixteen_bit_grey_with_a_transparent_value_keeps_its_shades_and_is_white_there(saved):
    values = np.tile(np.arange(64, dtype=np.uint16) * 1000, (64, 1))
    picture = load_image(saved(Image.fromarray(values), transparency=0), 64, 64)
    expected = torch.from_numpy(values.astype(np.float32) / 65535 * 2 - 1)
    expected[:, 0] = 1
    torch.testing.assert_close(picture[0], expected, rtol=0, atol=2 / 255)
    assert picture.mean().item() == pytest.approx(-0.01, abs=0.02)


def test_floating_point_is_read_from_0_to_1(saved):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    picture = load_image(saved(Image.fromarray(values), "x.tif"), 8, 8)
    torch.testing.assert_close(picture[0], torch.from_numpy(values) * 2 - 1, rtol=0, atol=2 / 255)


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 65535, 64, dtype=np.float32),
        np.linspace(-1, 1, 64, dtype=np.float32),
        np.full(64, np.nan, dtype=np.float32),
        np.linspace(0, 1.01, 64, dtype=np.float32),
        np.arange(64, dtype=np.int32) * 4,
        np.zeros(64, dtype=np.int32),
    ],
)
def test_numbers_of_which_no_file_says_what_is_white_are_refused(saved, values):
    with pytest.raises(DataError, match=r"x\.tif cannot be read as a picture \(.*black and"):
        load_image(saved(Image.fromarray(values.reshape(8, 8)), "x.tif"), 8, 8)


GREYS = {"1": 255, "L": 255, "LA": (255, 255), "La": (255, 255), "P": 1, "PA": (1, 255), "F": 1.0}
WHITES = {
    **GREYS,
    "RGB": WHITE,
    "RGBA": (*WHITE, 255),
    "RGBa": (*WHITE, 255),
    "RGBX": (*WHITE, 255),
    "CMYK": (0, 0, 0, 0),
    "YCbCr": (255, 128, 128),
    "HSV": (0, 0, 255),
    "I;16": 65535,
    "I;16B": 65535,
    "I;16L": 65535,
    "I;16N": 65535,
}
"""White in every mode of Pillow's that has a rule."""


def filled(mode, colour):
    image = Image.new(mode, (8, 8), colour)
    if mode in ("P", "PA"):
        image.putpalette([0, 0, 0, *WHITE])
    return image


@pytest.mark.parametrize("mode", sorted({*Image.MODES, "I;16N"}))
def test_every_mode_has_its_white_and_black_or_is_refused(mode):
    if mode in ("I", "LAB"):
        with pytest.raises(ValueError, match=f"mode {mode} has no rule"):
            as_tensor(Image.new(mode, (8, 8)), 8, 8)
        return
    white = WHITES[mode]
    assert torch.equal(as_tensor(filled(mode, white), 8, 8), torch.ones(3, 8, 8))
    black = {"CMYK": (0, 0, 0, 255), "YCbCr": (0, 128, 128)}.get(
        mode,
        (*[0] * (len(white) - 1), 255 if len(white) == 4 or "A" in mode.upper() else 0)
        if isinstance(white, tuple)
        else 0,
    )
    assert torch.equal(as_tensor(filled(mode, black), 8, 8), torch.full((3, 8, 8), -1.0))


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "I;16"])
def test_one_colour_may_be_transparent_in_every_mode_that_png_has(saved, mode):
    colour = (0, 0, 0) if mode == "RGB" else 0
    path = saved(filled(mode, colour), transparency=colour)
    assert torch.equal(load_image(path, 8, 8), torch.ones(3, 8, 8))


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.eps", EPS), ("x.png", EPS), ("x.ppm", b"P6 1 1 255 abc"), ("x.xbm", b"#define x_width 8\n")],
)
def test_other_formats_are_refused_whatever_their_suffix_and_no_program_is_started(
    tmp_path, monkeypatch, name, content
):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} cannot be read .*none of PNG, JPEG"):
        load_image(tmp_path / name, 8, 8)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_the_list_is_read(tmp_path, form):
    path = tmp_path / "white"
    Image.new("RGB", (8, 8), WHITE).save(path, format=form)
    torch.testing.assert_close(load_image(path, 8, 8), torch.ones(3, 8, 8), rtol=0, atol=0.02)


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE))
    first.save(tmp_path / "x.gif", save_all=True, append_images=[second])
    assert tuple(as_bytes(load_image(tmp_path / "x.gif", 8, 8))[0, 0]) == RED


def test_hidden_files_are_left_out_silently_and_other_kinds_are_named_once(tmp_path, caplog):
    for name in ("IMG_1.png", "._IMG_1.png", ".DS_Store", "a.avif", "b.heic", "caf\udce9.svg", "old.JFIF"):
        (tmp_path / name).touch()
    images._say_left_out.cache_clear()
    for _ in range(2):
        assert [p.name for p in list_images(tmp_path)] == ["IMG_1.png", "old.JFIF"]
    (said,) = [record.getMessage() for record in caplog.records]
    assert "a.avif, b.heic, caf\\xe9.svg" in said
    assert "DS_Store" not in said
    said.encode()


def test_a_name_that_is_no_utf_8_is_shown_so_that_it_can_be_written(tmp_path):
    path = tmp_path / "caf\udce9.png"
    Image.new("RGB", (8, 8)).save(path)
    (name,) = picture_names(list_images(tmp_path))
    assert name == "caf\\xe9.png"
    path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_image(path, 8, 8)
    str(caught.value).encode()


def test_a_strip_is_cropped_before_it_is_enlarged(monkeypatch):
    sizes = []
    resize = functional.resize

    def watched(tensor, *arguments, **options):
        sizes.append(tuple(tensor.shape))
        return resize(tensor, *arguments, **options)

    monkeypatch.setattr(functional, "resize", watched)
    strip = Image.new("RGB", (1, 8000), RED)
    strip.putpixel((0, 4000), GREEN)
    picture = as_tensor(strip, 256, 256)
    assert sizes == [(3, 1, 1)]
    assert picture.shape == (3, 256, 256)
    assert as_tensor(strip.rotate(90, expand=True), 16, 8).shape == (3, 16, 8)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96), (100, 30)])
def test_a_picture_with_the_wanted_proportions_loses_nothing_at_its_edges(height, width):
    ramp = np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (height, width, 3)).astype(np.uint8)
    picture = as_tensor(Image.fromarray(ramp), height // 2, width // 2)
    assert picture.shape == (3, height // 2, width // 2)
    assert picture[0, 0, 0].item() < -0.9
    assert picture[0, 0, -1].item() > 0.9


def test_what_8_bits_cannot_tell_apart_is_refused(tmp_path):
    ihdr = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    chunks = {b"IHDR": ihdr, b"tRNS": struct.pack(">HHH", 1000, 1000, 1000)}
    chunks |= {b"IDAT": zlib.compress(b"\0" + struct.pack(">HHH", 1000, 1000, 1000)), b"IEND": b""}
    made = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks.items()]
    (tmp_path / "clear.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(made))
    with pytest.raises(DataError, match="save it with an alpha channel"):
        load_image(tmp_path / "clear.png", 8, 8)


def test_a_tiff_whose_zero_is_white_is_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 60000, np.uint16)).save(tmp_path / "negative.tiff", tiffinfo={262: 0})
    with Image.open(tmp_path / "negative.tiff") as saved:
        assert (saved.mode[:4], saved.tag_v2[262]) == ("I;16", 0)
    with pytest.raises(DataError, match="save it with 0 as black"):
        load_image(tmp_path / "negative.tiff", 8, 8)
