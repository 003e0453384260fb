"""What the YAML files of a schema lack."""

from __future__ import annotations

from dlrun.config.schema.schema import COMPONENTS, GROUPS, Schema


def without_contract(schema: Schema) -> list[str]:
    """The keys whose comment states no contract, and the bases that do not exist."""
    found = []
    for group in GROUPS:
        for option in schema.options(group).values() if group != "experiment" else ():
            found += [f"{option.source}: {base}" for base in option.bases if base not in schema.options(group)]
            keys = schema.full(option).keys.values()
            plain = [key for key in keys if key.contract is None and not (key.key == "name" and group in COMPONENTS)]
            found += [f"{option.source}: {key.key}" for key in plain]
    return found
