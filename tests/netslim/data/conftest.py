"""Small datasets in the original formats, made by the tests, and the real MNIST where it is at hand."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
import warnings
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

MNIST_FILES = [f"{s}-{k}-ubyte.gz" for s in ("train", "t10k") for k in ("images-idx3", "labels-idx1")]

Make = Callable[[Path], dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]]


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def idx(values: NDArray[np.uint8]) -> bytes:
    """LeCun's format: a magic number, the sizes, the bytes."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def drawn(
    count: int, shape: tuple[int, ...], classes: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return random.integers(256, size=(count, *shape), dtype=np.uint8), np.arange(count) % classes


@pytest.fixture
def idx_files(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes tiny MNIST files, and lets torchvision take their checksums for the published ones."""
    import torchvision.datasets

    def make(folder: Path) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        folder.mkdir(parents=True)
        made = {"train": drawn(40, (28, 28), 10, 0), "t10k": drawn(20, (28, 28), 10, 1)}
        for part, (images, labels) in made.items():
            (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
            (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels.astype(np.uint8))))
        resources = [(file, md5(folder / file)) for file in MNIST_FILES]
        monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
        monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", resources)
        return {"train": made["train"], "test": made["t10k"]}

    return make


@pytest.fixture
def mnist(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of the four original MNIST files; else of generated ones, and said aloud."""
    beside = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("NETSLIM_TEST_DATA", beside)) / "mnist"
    if all((folder / file).is_file() for file in MNIST_FILES):
        return folder
    warnings.warn(f"NO REAL MNIST IN {folder} (set NETSLIM_TEST_DATA): testing generated files", stacklevel=1)
    request.getfixturevalue("idx_files")(tmp_path / "generated")
    return tmp_path / "generated"


@pytest.fixture
def served() -> Iterator[Callable[[Path], str]]:
    """Serves folders over HTTP, and gives their addresses."""
    servers = []

    def serve(folder: Path) -> str:
        class Quiet(SimpleHTTPRequestHandler):
            def __init__(self, *request: Any) -> None:
                super().__init__(*request, directory=str(folder))

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def cifar_files(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Path, str], dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]]:
    """Writes tiny CIFAR batches for torchvision's class `name`, pickled as the original ones are."""
    import torchvision.datasets

    def make(root: Path, name: str) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        cls = getattr(torchvision.datasets, name)
        folder = root / cls.base_folder
        folder.mkdir(parents=True)
        classes, key = (10, "labels") if name == "CIFAR10" else (100, "fine_labels")
        made: dict[str, list[tuple[NDArray[np.uint8], NDArray[np.int64]]]] = {"train": [], "test": []}
        lists: dict[str, list[list[str]]] = {"train": [], "test": []}
        for part, files in (("train", cls.train_list), ("test", cls.test_list)):
            for number, (file, _) in enumerate(files):
                images, labels = drawn(100, (3, 32, 32), classes, number + 10 * (part == "test"))
                content = {"data": images.reshape(100, -1), key: labels.tolist()}
                (folder / file).write_bytes(pickle.dumps(content, protocol=2))
                lists[part].append([file, md5(folder / file)])
                made[part].append((images.transpose(0, 2, 3, 1), labels))
        meta = folder / cls.meta["filename"]
        meta.write_bytes(pickle.dumps({cls.meta["key"]: [f"class {k}" for k in range(classes)]}, protocol=2))
        monkeypatch.setattr(cls, "train_list", lists["train"])
        monkeypatch.setattr(cls, "test_list", lists["test"])
        monkeypatch.setattr(cls, "meta", cls.meta | {"md5": md5(meta)})
        return {
            part: (np.concatenate([i for i, _ in batches]), np.concatenate([k for _, k in batches]))
            for part, batches in made.items()
        }

    return make


@pytest.fixture
def svhn_files(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes tiny SVHN matrices: images last axis first, and the digit 0 labelled 10."""
    import scipy.io
    import torchvision.datasets

    def make(root: Path) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        root.mkdir(parents=True)
        cls, made, table = torchvision.datasets.SVHN, {}, {}
        for seed, (part, count) in enumerate({"train": 30, "test": 20, "extra": 50}.items()):
            images, labels = drawn(count, (32, 32, 3), 10, seed)
            url, file, _ = cls.split_list[part]
            y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
            scipy.io.savemat(root / file, {"X": images.transpose(1, 2, 3, 0), "y": y})
            made[part], table[part] = (images, labels), [url, file, md5(root / file)]
        monkeypatch.setattr(cls, "split_list", table)
        return made

    return make


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes root/{train,test}/{class}/{number}.png from a size per split."""

    def make(
        sizes: dict[str, tuple[int, int]] | None = None, *, mode: str = "RGB", per_class: int = 3
    ) -> Path:
        root = tmp_path / "pets"
        random = np.random.default_rng(0)
        for part, (height, width) in (sizes or {"train": (6, 9), "test": (6, 9)}).items():
            for label in ("cat", "dog"):
                place = root / part / label
                place.mkdir(parents=True)
                for number in range(per_class):
                    pixels = random.integers(256, size=(height, width, 3), dtype=np.uint8)
                    Image.fromarray(pixels).convert(mode).save(place / f"{number}.png")
        return root

    return make
