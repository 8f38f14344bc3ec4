"""A pipeline made from a table compiles to what one with a written signature compiles to."""

from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl
from kfp.dsl import pipeline_task

from netslim_kfp.pipelines.inputs import Inputs, pipeline


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def use(number: int, share: float, text: str, flag: bool, values: dict, items: list) -> None:
    print(number, share, text, flag, values, items)


@dsl.pipeline(name="written", description="The same.")
def written(
    items: list,
    number: int = 3,
    share: float = 0.5,
    text: str = "a",
    flag: bool = False,
    values: dict = {},  # noqa: B006
) -> None:
    use(number=number, share=share, text=text, flag=flag, values=values, items=items)


def of_a_table(inputs: Inputs) -> None:
    use(
        number=inputs.number,
        share=inputs.share,
        text=inputs.text,
        flag=inputs.flag,
        values=inputs.values,
        items=inputs.items,
    )


def compiled(function: Any, path: Path) -> str:
    compiler.Compiler().compile(function, str(path))
    return path.read_text()


def test_the_table_gives_names_types_and_defaults(tmp_path: Path) -> None:
    table = {"items": list, "number": 3, "share": 0.5, "text": "a", "flag": False, "values": {}}
    made = pipeline(of_a_table, name="written", description="The same.", inputs=table)
    assert compiled(made, tmp_path / "made.yaml") == compiled(written, tmp_path / "written.yaml")


def test_kfp_still_names_the_method_that_cannot_be_called() -> None:
    def limits_an_import(inputs: Inputs) -> None:
        dsl.importer(artifact_uri="s3://bucket/model", artifact_class=dsl.Model).set_cpu_limit("1")

    with pytest.raises(ValueError, match="set_cpu_limit can only be used on"):
        pipeline(limits_an_import, name="wrong", description="Fails.", inputs={})
    assert pipeline_task.inspect.__name__ == "inspect"
