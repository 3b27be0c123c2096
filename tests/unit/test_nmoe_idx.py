import gzip
import struct

import numpy as np
import pytest

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.idx import read_idx


def idx_bytes(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def images():
    return np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_reads_back_what_was_written(tmp_path, images, name):
    path = tmp_path / name
    content = idx_bytes(images)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    np.testing.assert_array_equal(read_idx(path, num_axes=3), images)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda b: b[:-1], "declares 24 bytes, it holds only 23"),
        (lambda b: b + b"x", "declares 24 bytes, it holds more"),
        (lambda b: b[:9], "ends within its header, after 9 bytes"),
        (lambda b: b"", "starts with "),
        (lambda b: b"\x00\x00\x0d\x03" + b[4:], "starts with 00 00 0d 03, not with 00 00 08 03"),
        (lambda b: b[:4] + struct.pack(">I", 2**32 - 1) + b[8:], "outside 1.."),
        (lambda b: b[:4] + struct.pack(">I", 0) + b[8:], "declares 0 bytes"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, images, change, says):
    path = tmp_path / "images"
    path.write_bytes(change(idx_bytes(images)))
    with pytest.raises(InputError) as caught:
        read_idx(path, num_axes=3)
    assert str(path) in caught.value.message
    assert says in caught.value.message
    assert caught.value.key == "data.directory"


@pytest.mark.parametrize("change", [lambda b: b[:-9], lambda b: b"not gzip", lambda b: b[:12] + b"\x00" * 20 + b[32:]])
def test_a_broken_gzip_file_is_an_input_error(tmp_path, images, change):
    path = tmp_path / "images.gz"
    path.write_bytes(change(gzip.compress(idx_bytes(images))))
    with pytest.raises(InputError, match=r"images\.gz: can't be read"):
        read_idx(path, num_axes=3)


def test_labels_are_not_taken_for_images(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(idx_bytes(np.zeros(5, dtype=np.uint8)))
    with pytest.raises(InputError, match="not with 00 00 08 03"):
        read_idx(path, num_axes=3)
