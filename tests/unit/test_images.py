import numpy as np
import pytest
import torch
from PIL import Image

from diffgeo.data.images import SUFFIXES, list_images, load_image, picture_names
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


def test_big_endian_sixteen_bit_tiff_is_read_or_refused(tmp_path):
    path = tmp_path / "big.tif"
    values = np.linspace(0, 65535, 64).astype(">u2").reshape(8, 8)
    Image.frombytes("I;16B", (8, 8), values.tobytes()).save(path)
    try:
        picture = load_image(path, 8, 8)
    except DataError:
        return
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
