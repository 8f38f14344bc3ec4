"""The JSON schema of config files, with which an editor completes and checks them.

Begin a config file with `# yaml-language-server: $schema=` and the path or the address of the schema.
"""

from __future__ import annotations

import json
from typing import Any

from netslim_kfp.pipelines.run_config import OLD_NAMES, RunConfig

__all__ = ["config_schema"]


def config_schema() -> str:
    """The schema as JSON text, with every spelling that a file may use and old names marked as deprecated."""
    schema = RunConfig.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "netslim run"
    schema["description"] = "Options of `netslim run --config`, one `option: value` line each."
    properties: dict[str, Any] = schema["properties"]
    for name, values in list(properties.items()):
        del values["title"]  # pydantic's, which repeats the name
        if "_" in name:
            properties[name.replace("_", "-")] = {"$ref": f"#/properties/{name}"}
    for old, new in OLD_NAMES.items():
        for spelling in {old, old.replace("_", "-")}:
            properties[spelling] = {"$ref": f"#/properties/{new}", "deprecated": True}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
