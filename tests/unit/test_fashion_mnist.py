"""IDX files as their authors publish them, and damaged ones."""

import gzip
import struct

import numpy as np
import pytest
import torch

from diffgeo.errors import DataError
from training.fashion_mnist import fashion_mnist

NAMES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}


def pictures(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28)).astype(np.uint8)


def idx(content, magic=0x00000803, shape=None):
    return struct.pack(">4I", magic, *(content.shape if shape is None else shape)) + content.tobytes()


def write(folder, raw, split="train", packed=False):
    path = folder / (NAMES[split] + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(raw) if packed else raw)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_are_read_onto_a_black_canvas_of_32(tmp_path, packed, split):
    content = pictures(3)
    write(tmp_path, idx(content), split, packed)
    found = fashion_mnist(tmp_path, split)
    assert found.shape == (3, 1, 32, 32)
    assert found.dtype == torch.float32
    expected = torch.from_numpy(content.astype(np.float64)) / 127.5 - 1
    torch.testing.assert_close(found[:, 0, 2:-2, 2:-2].double(), expected, rtol=0, atol=1e-6)
    border = torch.ones(32, 32, dtype=torch.bool)
    border[2:-2, 2:-2] = False
    assert bool((found[:, 0, border] == -1).all())


def test_black_and_white_are_the_ends_of_the_range(tmp_path):
    content = np.zeros((1, 28, 28), np.uint8)
    content[0, 5, 7] = 255
    write(tmp_path, idx(content))
    found = fashion_mnist(tmp_path)[0, 0]
    assert found[7, 9] == 1
    assert int((found == -1).sum()) == 32 * 32 - 1


def test_each_split_has_its_own_file_and_a_path_may_be_text(tmp_path):
    for seed, split in enumerate(NAMES):
        write(tmp_path, idx(pictures(2, seed)), split, packed=True)
    train, test = fashion_mnist(str(tmp_path)), fashion_mnist(tmp_path, "test")
    assert not torch.equal(train, test)
    assert torch.equal(train, fashion_mnist(tmp_path, "train"))


def test_an_unpacked_file_goes_before_a_packed_one(tmp_path):
    write(tmp_path, idx(pictures(2, seed=1)), packed=True)
    write(tmp_path, idx(pictures(5, seed=2)))
    assert len(fashion_mnist(tmp_path)) == 5


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_file_is_named_with_where_to_get_it(tmp_path, split):
    with pytest.raises(DataError, match=rf"{NAMES[split]} is missing.*dataset-fashion-mnist"):
        fashion_mnist(tmp_path / "nowhere", split)


DAMAGES = {
    "labels": idx(pictures(3), magic=0x00000801),
    "other sides": idx(pictures(3), shape=(3, 32, 32)),
    "turned bytes": idx(pictures(3))[:4][::-1] + idx(pictures(3))[4:],
    "truncated pictures": idx(pictures(3))[:-1],
    "truncated head": idx(pictures(3))[:10],
    "empty": b"",
    "text": b"<html>not found, what you asked for</html>",
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_files_that_hold_something_else_are_refused_by_name(tmp_path, damage, packed):
    write(tmp_path, DAMAGES[damage], packed=packed)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte(.gz)? is no file of 28x28 pictures.*fetch it again"):
        fashion_mnist(tmp_path)


@pytest.mark.parametrize("kept", [0.9, 0.5, 15, 5, 0])
def test_a_download_that_broke_off_is_refused(tmp_path, kept):
    path = write(tmp_path, idx(pictures(3)), packed=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match="fetch it again"):
        fashion_mnist(tmp_path)


def test_a_packed_file_that_is_not_packed_is_refused(tmp_path):
    (tmp_path / f"{NAMES['train']}.gz").write_bytes(idx(pictures(3)))
    with pytest.raises(DataError, match="fetch it again"):
        fashion_mnist(tmp_path)
