"""A changed setting is read: steps read it when their pod starts, and the tracking server is restarted."""

from __future__ import annotations

import pytest

from tests.helpers.rendered import OVERLAYS, ROOT, Object, containers, of_kind, render, settings

pytestmark = pytest.mark.cluster

IN_FILES = [
    (overlay, name, value)
    for overlay in OVERLAYS
    for name, value in settings(ROOT / "overlays" / overlay / "settings.env").items()
]


def template(objects: tuple[Object, ...]) -> Object:
    """The pod template of the tracking server. Kubernetes starts new pods when it changes, and only then."""
    found: Object = of_kind(objects, "Deployment")["netslim-tracking"]["spec"]["template"]
    return found


def read_by_the_server(objects: tuple[Object, ...], setting: str) -> list[str]:
    """The values that the containers of the tracking server get of a setting."""
    maps = of_kind(objects, "ConfigMap")
    references = [
        variable["valueFrom"]["configMapKeyRef"]
        for container in containers(template(objects))
        for variable in container["env"]
        if "configMapKeyRef" in variable.get("valueFrom", {})
    ]
    return [maps[ref["name"]]["data"][ref["key"]] for ref in references if ref["key"] == setting]


@pytest.mark.parametrize(("overlay", "name", "value"), IN_FILES)
def test_a_changed_setting_restarts_the_tracking_server(overlay: str, name: str, value: str) -> None:
    root = f"overlays/{overlay}"
    before, after = render(root), render(root, setting=(name, "changed"))
    assert read_by_the_server(before, name) == [value] * 2
    assert read_by_the_server(after, name) == ["changed"] * 2
    assert template(after) != template(before)


@pytest.mark.parametrize(("overlay", "name", "value"), IN_FILES)
def test_the_same_setting_restarts_nothing(overlay: str, name: str, value: str) -> None:
    root = f"overlays/{overlay}"
    assert render(root, setting=(name, value)) == render(root)


@pytest.mark.parametrize(("overlay", "name", "value"), IN_FILES)
def test_steps_read_a_changed_setting_under_the_name_they_were_compiled_with(
    overlay: str, name: str, value: str
) -> None:
    root = f"overlays/{overlay}"
    for objects, expected in ((render(root), value), (render(root, setting=(name, "changed")), "changed")):
        assert of_kind(objects, "ConfigMap")["netslim"]["data"][name] == expected
