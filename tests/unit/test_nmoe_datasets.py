import gzip
import struct
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.datasets import Digits, FashionMnist
from nmoe_sim.nmoe.feature_skew import NoFeatureSkew
from nmoe_sim.nmoe.partition import Iid
from nmoe_sim.rng import RandomStreams

PLAIN = {"partition": Iid(), "feature_skew": NoFeatureSkew()}
STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_bytes(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_fashion_mnist(folder, *, gz=False, num_labels=None):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for stem in STEMS:
        n = 20 if stem.startswith("train") else 10
        is_images = "images" in stem
        values = rng.integers(256, size=(n, 28, 28)) if is_images else np.arange(num_labels or n) % 10
        content = idx_bytes(values.astype(np.uint8))
        (folder / (stem + ".gz" if gz else stem)).write_bytes(gzip.compress(content) if gz else content)
    return folder


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data set anywhere this test didn't put one."""
    monkeypatch.delenv("NMOE_SIM_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("nmoe_sim.nmoe.datasets.files._SYSTEM_FOLDER", tmp_path / "system")
    return tmp_path


def test_digits_have_the_declared_sizes_and_a_stratified_split():
    spec = Digits(**PLAIN)
    data = spec.load(RandomStreams(3))
    assert data.train_x.shape == (spec.num_train, *spec.input_shape)
    assert data.test_x.shape == (spec.num_test, *spec.input_shape)
    assert (data.train_x.dtype, data.train_y.dtype) == (np.float32, np.int64)
    assert (data.train_x.min(), data.train_x.max()) == (0.0, 1.0)
    train, test = np.bincount(data.train_y, minlength=10), np.bincount(data.test_y, minlength=10)
    assert np.abs(test - (train + test) * 450 / 1797).max() <= 1


def test_the_seed_and_nothing_else_decides_the_split():
    load = lambda seed, **kw: Digits(**PLAIN, **kw).load(RandomStreams(seed))  # noqa: E731
    assert load(0).digest == load(0).digest
    assert load(0).digest != load(1).digest
    thinned = load(0, max_train=100)
    assert len(thinned.train_y) == 100
    np.testing.assert_array_equal(thinned.test_x, load(0).test_x)
    rows = {row.tobytes() for row in load(0).train_x}
    assert all(row.tobytes() in rows for row in thinned.train_x)


def test_more_samples_than_there_are_is_refused():
    with pytest.raises(ValidationError, match="1348 samples of 1347"):
        Digits(**PLAIN, max_train=1348)


def test_validation_samples_are_training_samples_that_training_does_not_see():
    load = lambda **kw: Digits(**PLAIN, **kw).load(RandomStreams(3))  # noqa: E731
    rows = lambda x: set(map(bytes, x))  # noqa: E731
    whole, held_out = load(), load(evaluate_on="validation", max_test=200)
    assert len(held_out.test_y) == 200
    assert len(held_out.train_y) == len(whole.train_y) - 200
    train, validation, everything = (rows(x) for x in (held_out.train_x, held_out.test_x, whole.train_x))
    assert not train & validation
    assert train | validation == everything
    assert not validation & rows(whole.test_x)
    fewer = load(evaluate_on="validation", max_test=200, max_train=50)
    assert np.array_equal(fewer.test_x, held_out.test_x)
    assert rows(fewer.train_x) < train
    assert Digits(**PLAIN, evaluate_on="validation", max_test=200).num_train_kept() == len(held_out.train_y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "max_test is null; set it"),
        ({"max_test": 1400}, "takes 1400 of 1347 training samples"),
        ({"max_test": 300, "max_train": 1200}, "which leaves 1047 of 1200; lower max_test or max_train"),
    ],
)
def test_validation_samples_that_there_are_not_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Digits(**PLAIN, evaluate_on="validation", **settings)


def test_digits_need_no_file():
    assert Digits(**PLAIN).find() == ()


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("subfolder", [".", "fashion-mnist", "fashion_mnist"])
def test_fashion_mnist_is_found_and_read(nowhere, gz, subfolder):
    write_fashion_mnist(nowhere / "data" / subfolder, gz=gz)
    spec = FashionMnist(**PLAIN, directory=str(nowhere / "data"))
    assert all(path.is_file() for path in spec.find())
    data = spec.load(RandomStreams(0))
    assert data.train_x.shape == (20, 1, 28, 28)
    assert data.test_x.shape == (10, 1, 28, 28)
    first = np.random.default_rng(0).integers(256, size=(20, 28, 28))
    np.testing.assert_array_equal(np.rint(data.train_x[:, 0] * 255), first)
    np.testing.assert_array_equal(data.test_y, np.arange(10))


def test_folders_are_searched_in_order(nowhere, monkeypatch):
    spec = FashionMnist(**PLAIN)
    system = write_fashion_mnist(nowhere / "system")
    assert spec.find()[0].parent == system
    user = write_fashion_mnist(nowhere / "xdg" / "nmoe-sim")
    assert spec.find()[0].parent == user
    environment = write_fashion_mnist(nowhere / "env")
    monkeypatch.setenv("NMOE_SIM_DATA_DIR", str(environment))
    assert spec.find()[0].parent == environment
    setting = write_fashion_mnist(nowhere / "setting")
    assert FashionMnist(**PLAIN, directory=str(setting)).find()[0].parent == setting


def test_a_folder_with_three_files_does_not_count(nowhere):
    folder = write_fashion_mnist(nowhere / "data")
    (folder / STEMS[3]).unlink()
    with pytest.raises(InputError, match="apt-get install dataset-fashion-mnist") as caught:
        FashionMnist(**PLAIN, directory=str(folder)).find()
    assert caught.value.key == "data.directory"
    assert str(folder) in caught.value.message
    assert "https://github.com/zalandoresearch/fashion-mnist" in caught.value.message


def test_labels_that_do_not_fit_the_images_are_refused(nowhere):
    folder = write_fashion_mnist(nowhere / "data", num_labels=19)
    with pytest.raises(InputError, match="19 labels for 20 images"):
        FashionMnist(**PLAIN, directory=str(folder)).load(RandomStreams(0))


def test_asking_a_small_copy_for_more_than_it_holds_is_refused(nowhere):
    folder = write_fashion_mnist(nowhere / "data")
    with pytest.raises(InputError, match=r"data\.max_train: 21 samples of 20"):
        FashionMnist(**PLAIN, directory=str(folder), max_train=21).load(RandomStreams(0))


def test_specs_import_without_torch():
    modules = ["datasets", "feature_skew", "partition", "extractors", "experts", "gates", "augment", "optimizer"]
    code = "import sys\n" + "".join(f"import nmoe_sim.nmoe.{m}\n" for m in modules)
    code += "heavy = {'torch', 'sklearn', 'scipy.optimize', 'pandas'} & set(sys.modules)\n"
    code += "sys.exit(f'{heavy}' if heavy else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
