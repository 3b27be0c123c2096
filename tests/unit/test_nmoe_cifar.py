import numpy as np
import pytest
from cifar_files import NUM_TEST, NUM_TRAIN, contents, packed, shrink, write_folder

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.datasets import Cifar10, Cifar100, Cifar100Coarse
from nmoe_sim.nmoe.feature_skew import NoFeatureSkew
from nmoe_sim.nmoe.partition import Iid
from nmoe_sim.rng import RandomStreams

KINDS = [Cifar10, Cifar100, Cifar100Coarse]


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    shrink(monkeypatch, *KINDS)
    monkeypatch.delenv("NMOE_SIM_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("nmoe_sim.nmoe.datasets.files._SYSTEM_FOLDER", tmp_path / "system")


def spec(kind, folder, **settings):
    return kind(partition=Iid(), feature_skew=NoFeatureSkew(), directory=str(folder), **settings)


def write_archive(kind, folder, content=None):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / kind.remote.files[0].name
    path.write_bytes(packed(kind) if content is None else content)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["folder", "archive"])
def test_planes_and_labels_are_where_the_page_says(tmp_path, kind, form):
    if form == "folder":
        write_folder(kind, tmp_path / kind.folder)
    else:
        write_archive(kind, tmp_path)
    data = spec(kind, tmp_path).load(RandomStreams(0))
    assert data.train_x.shape == (NUM_TRAIN, 3, 32, 32)
    assert data.test_x.shape == (NUM_TEST, 3, 32, 32)
    # byte by byte from the page: labels, 1024 red, 1024 green, 1024 blue, each row by row
    start, skip = 0, {Cifar10: 1}.get(kind, 2)
    content = b"".join(contents(kind)[name] for name in kind.train_files)
    for image, label in zip(data.train_x[:40], data.train_y[:40], strict=True):
        labels, start = content[start : start + skip], start + skip
        assert label == labels[0 if kind is Cifar100Coarse else -1]
        for channel, row, column in ((0, 0, 0), (0, 31, 31), (1, 2, 30), (2, 17, 5)):
            assert image[channel, row, column] * 255 == pytest.approx(
                content[start + 1024 * channel + 32 * row + column]
            )
        start += 3072
    assert set(data.test_y.tolist()) == set(range(kind.num_classes))


@pytest.mark.parametrize("kind", KINDS)
def test_archive_and_folder_are_the_same_and_nothing_is_unpacked(tmp_path, kind):
    write_folder(kind, tmp_path / "a")
    archive = write_archive(kind, tmp_path / "b")
    one, other = (spec(kind, tmp_path / name) for name in "ab")
    assert one.load(RandomStreams(0)).digest == other.load(RandomStreams(0)).digest
    assert other.find() == (archive,)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert list((tmp_path / "b").iterdir()) == [archive]


def test_thinned_out_samples_are_those_of_the_whole(tmp_path):
    write_archive(Cifar10, tmp_path)
    whole = spec(Cifar10, tmp_path).load(RandomStreams(0))
    few = spec(Cifar10, tmp_path, max_train=7).load(RandomStreams(0))
    assert few.train_x.dtype == np.float32
    rows = {image.tobytes() for image in whole.train_x}
    assert all(image.tobytes() in rows for image in few.train_x)


BROKEN = {
    "short": (lambda raw: raw[:-1], "{size} bytes, not the 92,190 of 30 records of 3,073"),
    "a record short": (lambda raw: raw[:-3073], "{size} bytes, not the 92,190 of 30 records of 3,073"),
    "empty": (lambda raw: b"", "0 bytes, not the 92,190"),
    "long": (lambda raw: raw + b"x", "{size} bytes, not the 92,190"),
    "label": (lambda raw: raw[: 2 * 3073] + b"\x0a" + raw[2 * 3073 + 1 :], "label 10 of record 2 is outside 0..9"),
}


@pytest.mark.parametrize("form", ["folder", "archive"])
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_named_with_what_is_wrong_and_what_to_do(tmp_path, form, what):
    change, saying = BROKEN[what]
    broken = change(contents(Cifar10)["data_batch_3.bin"])
    if form == "folder":
        path = write_folder(Cifar10, tmp_path) / "data_batch_3.bin"
        path.write_bytes(broken)
    else:
        path = write_archive(Cifar10, tmp_path, packed(Cifar10, data_batch_3=broken))
    with pytest.raises(InputError) as caught:
        spec(Cifar10, tmp_path).load(RandomStreams(0))
    message = caught.value.message
    assert str(path) in message
    assert "data_batch_3.bin" in message
    assert saying.format(size=f"{len(broken):,}") in message
    assert message.endswith("; remove it and run 'nmoe-sim data fetch cifar10'")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9])
def test_an_archive_that_was_cut_is_named_with_both_sizes(tmp_path, share):
    whole = packed(Cifar10)
    path = write_archive(Cifar10, tmp_path, whole[: int(share * len(whole))])
    with pytest.raises(InputError) as caught:
        spec(Cifar10, tmp_path).load(RandomStreams(0))
    assert str(path) in caught.value.message
    assert f"it has {path.stat().st_size:,} bytes, the published one 170,052,171" in caught.value.message
    assert "nmoe-sim data fetch cifar10" in caught.value.message


def test_an_archive_of_another_data_set_is_refused(tmp_path):
    write_archive(Cifar10, tmp_path, packed(Cifar100))
    with pytest.raises(InputError, match=r"holds no cifar-10-batches-bin/data_batch_1\.bin"):
        spec(Cifar10, tmp_path).load(RandomStreams(0))


def test_without_files_the_python_version_is_ruled_out(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02.")
    with pytest.raises(InputError, match="Python version is pickled and isn't read") as caught:
        spec(Cifar10, tmp_path).find()
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in caught.value.message
    assert caught.value.key == "data.directory"


def test_folders_are_searched_in_order(tmp_path, monkeypatch):
    def found(directory=None):
        return Cifar10.locate(directory)[0]

    assert Cifar10.locate() is None
    system = write_archive(Cifar10, tmp_path / "system" / "cifar10")
    assert found() == system
    user = write_folder(Cifar10, tmp_path / "xdg" / "nmoe-sim" / "cifar-10-batches-bin")
    assert found().parent == user
    monkeypatch.setenv("NMOE_SIM_DATA_DIR", str(tmp_path / "env"))
    assert found().parent == user
    environment = write_archive(Cifar10, tmp_path / "env")
    assert found() == environment
    assert Cifar10.locate(tmp_path / "setting") is None
