"""torchvision's own reading code, on the real MNIST and on small files of the same formats."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from numpy.typing import NDArray

from netslim import data
from netslim.data import torchvision_sets
from netslim.errors import DataError

Made = dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]
Make = Callable[..., Made]


def assert_holds(directory: Path, made: Made) -> None:
    dataset = data.open_dataset(directory)
    for name, (images, labels) in made.items():
        split = dataset.split(name)
        assert np.array_equal(split.images, images if images.ndim == 4 else images[..., None])
        assert np.array_equal(split.labels, labels)


def test_mnist_itself(mnist: Path, tmp_path: Path) -> None:
    """The real files where they are at hand, checksums on; else generated ones."""
    info = data.prepare("mnist", tmp_path / "out", root=mnist)
    assert info.classes == tuple("0123456789")
    assert (info.image_size, info.channels, info.augment) == ((28, 28), 1, "none")
    if info.sizes == {"train": 60_000, "test": 10_000}:
        assert info.mean == pytest.approx([0.1307], abs=1e-4)  # as everyone knows them
        assert info.std == pytest.approx([0.3081], abs=1e-4)
        labels = data.open_dataset(tmp_path / "out").split("test").labels
        assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    else:
        assert info.sizes == {"train": 40, "test": 20}


@pytest.mark.parametrize("inside", ["MNIST/raw", "raw", "."])
def test_idx_files_are_found_in_the_usual_places_of_a_root_that_is_only_read(
    idx_files: Make, tmp_path: Path, inside: str
) -> None:
    made = idx_files(tmp_path / "root" / "x" / inside)
    before = sorted((tmp_path / "root").rglob("*"))
    info = data.prepare("mnist", tmp_path / "out", root=tmp_path / "root" / "x")
    assert_holds(tmp_path / "out", made)
    assert info.title == "MNIST"
    assert sorted((tmp_path / "root").rglob("*")) == before


def test_fashion_mnist(idx_files: Make, tmp_path: Path) -> None:
    made = idx_files(tmp_path / "root" / "FashionMNIST" / "raw")
    info = data.prepare("fashion-mnist", tmp_path / "out", root=tmp_path / "root")
    assert_holds(tmp_path / "out", made)
    assert (info.title, info.classes[0], len(info.classes)) == ("Fashion-MNIST", "T-shirt/top", 10)


@pytest.mark.parametrize(
    ("cls", "name", "classes"), [("CIFAR10", "cifar10", 10), ("CIFAR100", "cifar100", 100)]
)
def test_cifar(cifar_files: Make, tmp_path: Path, cls: str, name: str, classes: int) -> None:
    made = cifar_files(tmp_path / "root", cls)
    info = data.prepare(name, tmp_path / "out", root=tmp_path / "root")
    assert_holds(tmp_path / "out", made)
    assert info.classes == tuple(f"class {k}" for k in range(classes))
    assert (info.image_size, info.channels, info.augment) == ((32, 32), 3, "pad4flip")


def test_cifar_from_its_archive(cifar_files: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cifar_files(tmp_path / "made", "CIFAR10")
    cls = torchvision.datasets.CIFAR10
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / cls.filename, "w:gz") as archive:
        archive.add(tmp_path / "made" / cls.base_folder, cls.base_folder)
    with pytest.raises(
        DataError, match=rf"{cls.filename}: truncated or altered: its MD5 is not the published c58f"
    ):
        data.prepare("cifar10", tmp_path / "out", root=root)
    monkeypatch.setattr(cls, "tgz_md5", _md5(root / cls.filename))
    data.prepare("cifar10", tmp_path / "out", root=root)
    assert_holds(tmp_path / "out", made)
    assert [file.name for file in root.iterdir()] == [cls.filename]


def test_svhn_trains_on_train_and_extra(svhn_files: Make, tmp_path: Path) -> None:
    made = svhn_files(tmp_path / "root")
    train = tuple(np.concatenate(pair) for pair in zip(made["train"], made["extra"], strict=True))
    info = data.prepare("svhn", tmp_path / "out", root=tmp_path / "root")
    assert_holds(tmp_path / "out", {"train": train, "test": made["test"]})  # type: ignore[dict-item]
    assert info.sizes == {"train": 80, "test": 20}
    assert (info.title, info.classes) == ("SVHN (train + extra)", tuple("0123456789"))


def test_all_604388_images_of_svhn_are_train_plus_extra() -> None:
    published = {"train": 73_257, "extra": 531_131}
    assert sum(published.values()) == 604_388
    assert torchvision.datasets.SVHN.split_list.keys() == {*published, "test"}


def _md5(file: Path) -> str:
    import hashlib

    return hashlib.md5(file.read_bytes()).hexdigest()


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: shutil.rmtree(root), r"data root = .*no such folder. It should hold MNIST"),
        (
            lambda root: (root / "t10k-labels-idx1-ubyte.gz").unlink(),
            r"the original file t10k-labels-idx1-ubyte.gz is missing. Put it there, or ask for the download",
        ),
        (
            lambda root: _truncate(root / "train-images-idx3-ubyte.gz"),
            r"train-images-idx3-ubyte.gz: truncated or altered: its MD5 .* Remove it and fetch it again",
        ),
    ],
)
def test_a_wrong_root_is_refused_with_its_remedy(
    idx_files: Make, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    idx_files(tmp_path / "root")
    spoil(tmp_path / "root")
    with pytest.raises(DataError, match=message):
        data.prepare("mnist", tmp_path / "out", root=tmp_path / "root")
    assert not (tmp_path / "out").exists()


def test_a_batch_that_is_not_the_published_one_is_never_unpickled(
    cifar_files: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar_files(tmp_path / "root", "CIFAR10")
    bad = tmp_path / "root" / torchvision.datasets.CIFAR10.base_folder / "data_batch_3"
    bad.write_bytes(b"cbuiltins\nexec\n(S'raise SystemExit(\"unpickled\")'\ntR.")  # would end this test run
    with pytest.raises(DataError, match=r"data_batch_3: truncated or altered"):
        data.prepare("cifar10", tmp_path / "out", root=tmp_path / "root")


def test_a_wrong_root_of_cifar_names_the_archive_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"data_batch_1 is missing. Put the archive cifar-10-python.tar.gz there"
    ):
        data.prepare("cifar10", tmp_path / "out", root=tmp_path)


def test_a_missing_part_of_svhn_is_named(svhn_files: Make, tmp_path: Path) -> None:
    svhn_files(tmp_path / "root")
    (tmp_path / "root" / "extra_32x32.mat").unlink()
    with pytest.raises(DataError, match=r"extra_32x32.mat is missing"):
        data.prepare("svhn", tmp_path / "out", root=tmp_path / "root")


def test_labels_beyond_the_classes_are_refused(
    cifar_files: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torchvision.datasets.CIFAR10, "_load_meta", lambda self: setattr(self, "classes", ["a"] * 9)
    )
    cifar_files(tmp_path / "root", "CIFAR10")
    with pytest.raises(DataError, match=r"CIFAR-10, train: labels from 0 to 9 for 9 classes"):
        data.prepare("cifar10", tmp_path / "out", root=tmp_path / "root")


class TestDownload:
    """From a publisher that is a folder served over HTTP by the test."""

    @pytest.fixture
    def publisher(
        self, idx_files: Make, served: Callable[[Path], str], tmp_path: Path, monkeypatch: Any
    ) -> Made:
        made = idx_files(tmp_path / "published")
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [served(tmp_path / "published") + "/"])
        return made

    def test_into_the_root(self, publisher: Made, tmp_path: Path) -> None:
        for _ in range(2):  # the second time nothing is missing
            data.prepare("mnist", tmp_path / "out", root=tmp_path / "new" / "root", download=True)
            assert_holds(tmp_path / "out", publisher)
        kept = tmp_path / "new" / "root" / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
        assert kept.read_bytes() == (tmp_path / "published" / kept.name).read_bytes()

    def test_without_a_root_nothing_is_kept(self, publisher: Made, tmp_path: Path) -> None:
        data.prepare("mnist", tmp_path / "out", download=True)
        assert_holds(tmp_path / "out", publisher)

    def test_a_truncated_transfer_is_refused(self, publisher: Made, tmp_path: Path) -> None:
        _truncate(tmp_path / "published" / "t10k-images-idx3-ubyte.gz")
        with pytest.raises(
            DataError,
            match=r"the download failed .*Error downloading t10k-images-idx3-ubyte.gz.*Check the network",
        ):
            data.prepare("mnist", tmp_path / "out", root=tmp_path / "root", download=True)

    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch: Any) -> list[float]:
        """The pauses before further tries; the test does not wait for them."""
        made: list[float] = []
        monkeypatch.setattr(torchvision_sets.time, "sleep", made.append)
        return made

    def test_a_publisher_who_is_away_for_a_moment(
        self, publisher: Made, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mirrors = torchvision.datasets.MNIST.mirrors
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
        back = lambda _: monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", mirrors)  # noqa: E731
        monkeypatch.setattr(torchvision_sets.time, "sleep", back)
        data.prepare("mnist", tmp_path / "out", root=tmp_path / "root", download=True)
        assert_holds(tmp_path / "out", publisher)
        assert "netslim: the download failed (" in capsys.readouterr().err

    def test_a_full_disk_is_not_tried_again(
        self, publisher: Made, tmp_path: Path, monkeypatch: Any, pauses: list[float]
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torchvision.datasets.MNIST, "download", full)
        with pytest.raises(DataError, match="No space left"):
            data.prepare("mnist", tmp_path / "out", root=tmp_path / "root", download=True)
        assert pauses == []

    def test_a_publisher_who_is_away(
        self, publisher: Made, tmp_path: Path, monkeypatch: Any, pauses: list[float]
    ) -> None:
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
        with pytest.raises(DataError, match=r"the download failed .*put the files there by hand"):
            data.prepare("mnist", tmp_path / "out", root=tmp_path / "root", download=True)
        assert pauses == [5.0, 20.0]
