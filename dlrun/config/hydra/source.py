"""The schema as a source of files for Hydra: where an option's YAML is, what it says, and what its `defaults` name."""

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
    """Hydra asks it for groups, options and `defaults` lists; the values it never sees (`values` has them)."""

    def __init__(self, schema: Schema, usual: dict[str, str | None]) -> None:
        self.schema, self.usual = schema, usual
        self.provider, self.path = "dlrun", ", ".join(str(d) for d in schema.dirs)
        self._texts: dict[str, tuple[dict[str, Any], str | None]] = {}

    def __deepcopy__(self, memo: object) -> SchemaSource:
        """Itself: Hydra's repository copies its sources, and a copied schema would not see files that are added."""
        return self

    @staticmethod
    def scheme() -> str:
        """Sources are named by a scheme, like addresses; this one stands for no address."""
        return "dlrun"

    def option(self, config_path: str) -> Option | None:
        """The option that a path such as `optimizer/sgd` or `dlrun_primary` names."""
        name = config_path.removesuffix(".yaml")
        if name == PRIMARY:
            return self.schema.primary_option
        group, _, rest = name.partition("/")
        return self.schema.options(group).get(rest) if group in GROUPS else None

    def values(self, config_path: str) -> dict[str, Any]:
        """What the file says, without its `defaults`; do not change it."""
        return {key: value for key, value in self._read(config_path)[0].items() if key != "defaults"}

    def load_config(self, config_path: str) -> ConfigResult:
        """Only the `defaults` list and the package: that is all Hydra needs to find the files."""
        values, package = self._read(config_path)
        defaults = values.get("defaults", [])
        if config_path == PRIMARY:
            defaults = [self._usual(item) for item in defaults]
        config = OmegaConf.create({"defaults": defaults} if defaults else {})
        return ConfigResult(provider=self.provider, path=self.path, config=config, header={"package": package})

    def _usual(self, item: object) -> Any:
        """An entry of the primary config's defaults list, with the option that the user's settings put there."""
        if not isinstance(item, dict):
            return item
        return {group: self.usual.get(group, option) for group, option in item.items()}

    def _read(self, config_path: str) -> tuple[dict[str, Any], str | None]:
        """The file's values and its `@package` (an experiment without one is about everything)."""
        if config_path not in self._texts:
            option = self.option(config_path)
            assert option is not None, config_path
            self._texts[config_path] = _read_option(option)
        return self._texts[config_path]

    def is_group(self, config_path: str) -> bool:
        """Is it one of our groups?"""
        return config_path in GROUPS

    def is_config(self, config_path: str) -> bool:
        """Is there such an option?"""
        return self.option(config_path) is not None

    def available(self) -> bool:
        """It always is."""
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The options of a group."""
        return list(self.schema.options(config_path)) if config_path in GROUPS else []


def _read_option(option: Option) -> tuple[dict[str, Any], str | None]:
    """Values and `@package`; a component without a file has those of its signature."""
    if option.path is None:
        return {key.key: yamls.loads(key.default, option.source) for key in option.keys.values()}, None
    values, package = _read_file(option.path, file_state(option.path), option.source)
    return values, package or ("_global_" if option.group == "experiment" else None)


@lru_cache(maxsize=1024)
def _read_file(path: Path, _state: tuple[int, int], source: str) -> tuple[dict[str, Any], str | None]:
    """A file's values and its `@package` line; both are only ever copied."""
    text = yamls.read_text(path)
    values = yamls.loads(text, str(path))
    values = {} if values is None else values
    check_file(values, source)
    try:
        return values, ConfigSource._get_header_dict(text)["package"]
    except ValueError as error:
        raise ConfigError(Problem(source, f"its @package line cannot be read: {error}.")) from None


def check_file(values: object, source: str) -> None:
    """Refuse a file that is not a mapping with text keys, or whose `defaults` is not a list of options."""
    if not isinstance(values, dict) or not _text_keys(values):
        raise ConfigError(Problem(source, "must be `key: value` lines, with words as keys."))
    defaults = values.get("defaults", [])
    good = isinstance(defaults, list) and all(
        isinstance(item, str)
        or (isinstance(item, dict) and len(item) == 1 and isinstance(next(iter(item.values())), (str, type(None))))
        for item in defaults
    )
    if not good:
        raise ConfigError(Problem(source, "`defaults` must be a list of options, such as `- override /model: gru`."))


def _text_keys(values: dict[Any, Any]) -> bool:
    """Are the keys of the sections words? (Below a first level, a value may be any dict.)"""
    return all(isinstance(key, str) for key in values)


class Repository(ConfigRepository):
    """Hydra's repository with our one source in it."""

    def __init__(self, source: SchemaSource) -> None:
        self.sources = [source]


def repository(source: SchemaSource) -> CachingConfigRepository:
    """What Hydra's defaults-list code reads from; it remembers what it has read."""
    return CachingConfigRepository(Repository(source))
