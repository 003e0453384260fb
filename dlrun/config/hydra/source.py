"""The YAML files of a schema as a config source for Hydra."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from dlrun.config.schema import yamls
from dlrun.config.schema.comments import file_state
from dlrun.config.schema.schema import GROUPS, PRIMARY, Option, Schema
from dlrun.errors import ConfigError, Problem


class SchemaSource(ConfigSource):
    """A config source that shows Hydra groups, options and `defaults` lists, but no values: see `values`."""

    def __init__(self, schema: Schema, usual: dict[str, str | None]) -> None:
        self.schema, self.usual = schema, usual
        self.provider, self.path = "dlrun", ", ".join(str(d) for d in schema.dirs)
        self._texts: dict[str, tuple[dict[str, Any], str | None]] = {}

    def __deepcopy__(self, memo: object) -> SchemaSource:
        """Return itself: Hydra's repository copies its sources, and a copied schema would miss files added later."""
        return self

    @staticmethod
    def scheme() -> str:
        """The scheme of the source's address, which Hydra asks for but does not use here."""
        return "dlrun"

    def option(self, config_path: str) -> Option | None:
        """The option that a path such as `optimizer/sgd` or `dlrun_primary` names."""
        name = config_path.removesuffix(".yaml")
        if name == PRIMARY:
            return self.schema.primary_option
        group, _, rest = name.partition("/")
        return self.schema.options(group).get(rest) if group in GROUPS else None

    def values(self, config_path: str) -> dict[str, Any]:
        """The values of a file without its `defaults`. They are cached: copy before changing."""
        return {key: value for key, value in self._read(config_path)[0].items() if key != "defaults"}

    def load_config(self, config_path: str) -> ConfigResult:
        """The `defaults` list and the package of a file, which is all that Hydra needs to order the files."""
        values, package = self._read(config_path)
        defaults = values.get("defaults", [])
        if config_path == PRIMARY:
            defaults = [self._usual(item) for item in defaults]
        config = OmegaConf.create({"defaults": defaults} if defaults else {})
        return ConfigResult(provider=self.provider, path=self.path, config=config, header={"package": package})

    def _usual(self, item: object) -> Any:
        """An entry of the primary config's defaults list, with the option of the user's settings instead of ours."""
        if not isinstance(item, dict):
            return item
        return {group: self.usual.get(group, option) for group, option in item.items()}

    def _read(self, config_path: str) -> tuple[dict[str, Any], str | None]:
        """The values and the `@package` of a file."""
        if config_path not in self._texts:
            option = self.option(config_path)
            assert option is not None, config_path
            self._texts[config_path] = _read_option(option)
        return self._texts[config_path]

    def is_group(self, config_path: str) -> bool:
        """Whether this is one of dlrun's groups."""
        return config_path in GROUPS

    def is_config(self, config_path: str) -> bool:
        """Whether there is such an option."""
        return self.option(config_path) is not None

    def available(self) -> bool:
        """Always true."""
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The options of a group."""
        return list(self.schema.options(config_path)) if config_path in GROUPS else []


def _read_option(option: Option) -> tuple[dict[str, Any], str | None]:
    """The values and the `@package` of an option: for a component without a YAML file, those of its signature.

    The package of an experiment that names none is `_global_`.
    """
    if option.path is None:
        return {key.key: yamls.loads(key.default, option.source) for key in option.keys.values()}, None
    values, package = _read_file(option.path, file_state(option.path), option.source)
    return values, package or ("_global_" if option.group == "experiment" else None)


@lru_cache(maxsize=1024)
def _read_file(path: Path, _state: tuple[int, int], source: str) -> tuple[dict[str, Any], str | None]:
    """Read the values and the `@package` line of a file."""
    text = yamls.read_user_file(path)
    values = yamls.loads(text, str(path))
    values = {} if values is None else values
    check_file(values, source)
    try:
        return values, ConfigSource._get_header_dict(text)["package"]
    except ValueError as error:
        raise ConfigError(Problem(source, f"its @package line cannot be read: {error}.")) from None


def check_file(values: object, source: str) -> None:
    """Raise `ConfigError` unless a file is a mapping with text keys whose `defaults` is a list of options."""
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(Problem(source, "must be `key: value` lines, with words as keys."))
    defaults = values.get("defaults", [])
    good = isinstance(defaults, list) and all(
        isinstance(item, str)
        or (isinstance(item, dict) and len(item) == 1 and isinstance(next(iter(item.values())), (str, type(None))))
        for item in defaults
    )
    if not good:
        raise ConfigError(Problem(source, "`defaults` must be a list of options, such as `- override /model: gru`."))


class Repository(ConfigRepository):
    """Hydra's repository, with dlrun's source as the only one."""

    def __init__(self, source: SchemaSource) -> None:
        self.sources = [source]


def repository(source: SchemaSource) -> CachingConfigRepository:
    """A cached repository for Hydra's defaults-list code."""
    return CachingConfigRepository(Repository(source))
