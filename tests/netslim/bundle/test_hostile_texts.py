"""A hostile bundle fails, and none of its texts reaches the terminal or a browser as a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from netslim.bundle import verify as verify_module
from netslim.bundle.content_checks import check_contents
from netslim.bundle.layout import CHECKSUMS, read_json, write_checksums
from netslim.bundle.model_card import model_card
from netslim.bundle.model_checks import check_models, check_samples
from netslim.bundle.texts import markdown_text
from netslim.cli.verify import verify
from netslim.errors import BundleError, first_line
from netslim.results.run_results import RunResults
from tests.helpers.infos import info as dataset_info
from tests.helpers.results import pass_result

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e" + "x" * 2000
CHECKS = {"models": check_models, "contents": check_contents, "samples": check_samples}


@pytest.fixture(autouse=True)
def checks_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks without their process, which costs seconds for each of many bundles."""

    def check(folder: Path, check: str) -> str:
        try:
            return CHECKS[check](folder)
        except BundleError:
            raise
        except Exception as error:
            raise BundleError(f"{check}: {type(error).__name__}: {first_line(error)}") from error

    monkeypatch.setattr(verify_module, "check_in_sandbox", check)


def in_json(name: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        change(value)
        (folder / name).write_text(json.dumps(value))
        write_checksums(folder)

    return act


def in_text(name: str, text: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        (folder / name).write_text((folder / name).read_text() + text)
        write_checksums(folder)

    return act


def in_model(change: Callable[[onnx.ModelProto], object]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        proto = onnx.load(folder / "model.onnx", load_external_data=False)
        change(proto)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
        write_checksums(folder)

    return act


def samples(folder: Path) -> None:
    header = json.dumps({HOSTILE: {"dtype": HOSTILE, "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "samples.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    write_checksums(folder)


def list_line(folder: Path) -> None:
    with (folder / CHECKSUMS).open("a") as stream:
        stream.write(f"{'0' * 64}  {HOSTILE}\n".encode("ascii", "backslashreplace").decode())
        stream.write(f"{'0' * 64}  \x1b[2J\n")


def metadata(proto: onnx.ModelProto) -> None:
    for entry in proto.metadata_props:
        if entry.key == "macs":
            entry.value = HOSTILE


FIELDS: dict[str, Callable[[Path], object]] = {
    "the name of a file": lambda folder: (folder / "\x1b[2J\u202e").write_text("x"),
    "SHA256SUMS": list_line,
    "README.md": in_text("README.md", HOSTILE),
    "README.md: a script": in_text("README.md", "<script>alert(1)</script>"),
    "README.md: an image": in_text("README.md", "text <img src=x onerror=alert(1)>"),
    "README.md: a comment": in_text("README.md", "<!-- hidden -->"),
    "labels.txt": in_text("labels.txt", HOSTILE),
    "metrics.json: a size": in_json("metrics.json", lambda v: v["model"].update(params=HOSTILE)),
    "metrics.json: a setting": in_json("metrics.json", lambda v: v["settings"].update(x=HOSTILE)),
    "metrics.json: a key": in_json("metrics.json", lambda v: v.update({HOSTILE: 1})),
    "metrics.json: a version": in_json("metrics.json", lambda v: v["versions"].update(torch="1\n2")),
    "latency.json": in_json("latency.json", lambda v: v.update(cpu=HOSTILE)),
    "signature.json": in_json("signature.json", lambda v: v["preprocessing"].update(order=HOSTILE)),
    "slimming.json": in_json("slimming.json", lambda v: v["channels"].update({HOSTILE: {}})),
    "slimming.json: a layer": in_json("slimming.json", lambda v: v["plan"]["layers"].update({HOSTILE: {}})),
    "samples.safetensors": samples,
    "model.onnx: metadata": in_model(metadata),
    "model.onnx: a key": in_model(lambda p: p.metadata_props.add(key=HOSTILE, value="")),
    "model.onnx: an operator": in_model(lambda p: setattr(p.graph.node[0], "op_type", HOSTILE)),
    "model.onnx: a domain": in_model(lambda p: setattr(p.graph.node[0], "domain", HOSTILE)),
    "model.onnx: a node": in_model(lambda p: setattr(p.graph.node[0], "name", HOSTILE)),
    "model.onnx: a weight": in_model(lambda p: setattr(p.graph.initializer[0], "name", HOSTILE)),
    "model.onnx: an input": in_model(lambda p: setattr(p.graph.input[0], "name", HOSTILE)),
    "model.onnx: the producer": in_model(lambda p: setattr(p, "producer_name", HOSTILE)),
    "model.onnx: a description": in_model(lambda p: setattr(p.graph, "doc_string", HOSTILE)),
}


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_a_bundle_reaches_the_terminal(field: str, bundle: Path) -> None:
    FIELDS[field](bundle)
    result = CliRunner().invoke(verify, [str(bundle)])
    assert isinstance(result.exception, BundleError), result.output
    for shown in (result.output, str(result.exception)):
        assert all(character == "\n" or character.isprintable() for character in shown)
        assert len(shown) < 800


def test_a_number_that_becomes_infinite_is_refused(bundle: Path) -> None:
    for number in ("1e999", "-1e999", "NaN", "Infinity"):
        (bundle / "metrics.json").write_text(f'{{"error": {number}}}')
        with pytest.raises(ValueError, match=f"{number} is not a finite JSON number"):
            read_json(bundle, "metrics.json")


def elsewhere() -> onnx.TensorProto:
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def training(proto: onnx.ModelProto) -> None:
    proto.training_info.add().initialization.initializer.append(elsewhere())


def empty_graph(proto: onnx.ModelProto) -> None:
    """In the graph of an attribute that has no nodes."""
    graph = onnx.GraphProto(name="no nodes")
    graph.initializer.append(elsewhere())
    proto.graph.node[0].attribute.append(helper.make_attribute("hidden", graph))


def sparse(proto: onnx.ModelProto) -> None:
    proto.graph.sparse_initializer.add().indices.CopyFrom(elsewhere())


@pytest.mark.parametrize("hide", [training, empty_graph, sparse])
def test_external_data_is_found_wherever_it_is(hide: Callable[[onnx.ModelProto], None], bundle: Path) -> None:
    in_model(hide)(bundle)
    with pytest.raises(BundleError, match=r"in another file|instructions for a training"):
        check_models(bundle)


def test_names_are_safe_in_the_configuration_of_a_server(bundle: Path) -> None:
    """Triton's configuration contains them as they are."""
    injected = 'x" }] parameters { key: "y'
    in_model(lambda proto: setattr(proto.graph.input[0], "name", injected))(bundle)
    in_json("signature.json", lambda value: value["inputs"][0].update(name=injected))(bundle)
    with pytest.raises(BundleError, match="is not a name of letters"):
        check_contents(bundle)


def test_a_title_is_text_in_the_model_card() -> None:
    title = "Cats & <img src=x onerror=alert(1)> [here](http://example.com) `code` | \x1b[2J\n# heading"
    info = dataset_info(title=title, sizes={"train": 3, "test": 2})
    card = model_card(RunResults((pass_result(1, test=9.0),), {"architecture": "<b>vgg</b>"}), info, {})
    first = card.splitlines()[0]
    assert first.startswith("# &lt;b&gt;vgg&lt;/b&gt; on Cats &amp; &lt;img src=x onerror=alert(1)&gt; ")
    assert r"\[here\](http://example.com) \`code\` \| \\x1b\[2J # heading" in first
    assert "<" not in card.replace("<=", "")
    assert markdown_text("CIFAR-10 (JPEG copy), vgg_19*") == "CIFAR-10 (JPEG copy), vgg_19*"
