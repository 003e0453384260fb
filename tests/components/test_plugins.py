"""Users' own components: found, imported, checked and explained like the built-in ones."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlrun.components import plugins
from dlrun.components.registry import MODELS, TABLES
from dlrun.components.signature import contract_of, find_contract
from dlrun.config import compose as composing
from dlrun.config.compose import compose, open_draft, read_draft
from dlrun.config.config import Config
from dlrun.config.expand import expand
from dlrun.config.explain import explain
from dlrun.config.schema.pages import list_page
from dlrun.errors import ConfigError, DlrunError

NET = '''\
from __future__ import annotations

from typing import Literal

import dlrun


@dlrun.register.model("my_net")
def my_net(spec, width: int, *, rate: float = 0.5, sizes: tuple[int, ...] = (3, 4),
           kind: Literal["a", "b"] = "a", note: str | None = None):
    """A net of my own.

    With a long story.
    """
    return width
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; whatever plug-ins register is forgotten afterwards."""
    before = {kind: dict(table.plugins) for kind, table in TABLES.items()}
    modules = set(sys.modules)
    monkeypatch.setattr(plugins, "_LOADED", {})
    monkeypatch.setattr(plugins, "_NAMED", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(NET)
    yield tmp_path
    for kind, table in TABLES.items():
        table.plugins = before[kind]
    for name in set(sys.modules) - modules:
        if "plugin" in name or name.startswith("mine"):
            del sys.modules[name]


WORDS = ["plugins=[mine.py]", "model=my_net", "model.width=3"]


def test_a_component_without_a_yaml_has_the_options_of_its_signature(folder: Path) -> None:
    config = compose(WORDS)
    assert config.section("model") == {
        "name": "my_net",
        "width": 3,
        "rate": 0.5,
        "sizes": [3, 4],
        "kind": "a",
        "note": None,
    }
    assert config.plugins == ("mine.py",)
    assert MODELS.get("my_net")(None, 3) == 3
    (record,) = plugins.loaded()
    assert record.name == "mine.py"
    assert Path(record.path) == folder / "mine.py"
    assert record.sha256 == hashlib.sha256(NET.encode()).hexdigest()


def test_it_is_checked_like_the_built_in_ones(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["plugins=[mine.py]", "model=my_net", "model.rate=x", "model.kind=c", "model.widht=1"])
    found = {problem.key: str(problem) for problem in caught.value.problems}
    assert "needs a value" in found["model.width"]
    assert "must be float" in found["model.rate"]
    assert "must be a | b" in found["model.kind"]
    assert "Did you mean model.width?" in found["model.widht"]


def test_it_is_listed_and_explained(folder: Path) -> None:
    schema = open_draft(["plugins=[mine.py]"]).schema
    assert "my_net" in list_page("models", schema)
    assert "A net of my own." in list_page("models", schema)
    assert "With a long story" not in list_page("models", schema)
    draft = read_draft(["model=my_net"], schema)
    assert "model.rate=0.5" in explain("model=my_net", draft)
    assert "float" in explain("model.rate", draft)


def test_it_can_be_swept_and_read_back(folder: Path) -> None:
    found = expand([*WORDS, "model.rate=0.1,0.2"])
    assert [job.config.model.rate for job in found.jobs if job.config] == [0.1, 0.2]
    path = folder / "config.yaml"
    path.write_text(compose(WORDS).to_yaml())
    assert Config.from_yaml(path) == compose(WORDS)


def test_a_yaml_of_the_user_for_a_component_of_his(folder: Path) -> None:
    (folder / "conf/model").mkdir(parents=True)
    (folder / "conf/dlrun.yaml").write_text("plugins: [mine.py]\nmodel: wide\n")
    (folder / "conf/model/wide.yaml").write_text("name: my_net\nwidth: 99\n")
    config = compose()
    assert (config.model.name, config.model.width, config.model.rate) == ("my_net", 99, 0.5)
    with pytest.raises(ConfigError, match=r"model\.rate: must be float"):
        compose(["model.rate=x"])


def test_all_ways_to_name_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compose(WORDS[1:], plugin_files=["mine.py"]).model.width == 3
    assert compose(["plugins=[./mine.py]", *WORDS[1:]]).model.width == 3
    assert compose(["plugins+=[./mine.py]", *WORDS[1:]]).model.width == 3
    assert len(plugins.loaded()) == 1
    assert compose(["plugins=[mine]", *WORDS[1:]]).plugins == ("mine",)
    assert [record.name for record in plugins.loaded()] == ["mine.py", "mine"]
    point = SimpleNamespace(
        value="mine_too", module="mine_too", load=lambda: MODELS.register("from_point")(lambda spec: 0)
    )
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == "dlrun.plugins" else [])
    composing._entry_points.cache_clear()
    assert compose(["model=from_point"]).model.name == "from_point"
    composing._entry_points.cache_clear()


def test_a_file_is_imported_once_until_it_changes(folder: Path) -> None:
    source = folder / "count.py"
    source.write_text("import builtins\nbuiltins.counted = getattr(builtins, 'counted', 0) + 1\n")
    import builtins

    try:
        for _ in range(3):
            compose(["plugins=[count.py]"])
        assert builtins.counted == 1  # type: ignore[attr-defined]
        source.write_text(source.read_text() + "# changed\n")
        compose(["plugins=[count.py]"])
        assert builtins.counted == 2  # type: ignore[attr-defined]
    finally:
        del builtins.counted  # type: ignore[attr-defined]


def test_an_exception_inside_names_the_file_and_shows_its_own_traceback(folder: Path) -> None:
    (folder / "broken.py").write_text("def helper():\n    return 1 / 0\n\n\nhelper()\n")
    with pytest.raises(DlrunError) as caught:
        compose(["plugins=[broken.py]"])
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert "broken.py" in text
    assert "return 1 / 0" in text
    assert "ZeroDivisionError" in text
    assert "importlib" not in text
    assert "dlrun/components/plugins.py" not in text
    (folder / "broken.py").write_text("def (:\n")
    with pytest.raises(DlrunError, match="SyntaxError"):
        compose(["plugins=[broken.py]"])
    (folder / "broken.py").write_text("import no_such_thing\n")
    with pytest.raises(DlrunError, match="no_such_thing"):
        compose(["plugins=[broken.py]"])


def test_a_name_that_is_taken_is_refused(folder: Path) -> None:
    (folder / "taken.py").write_text('import dlrun\n@dlrun.register.model("mlp")\ndef mlp(spec): ...\n')
    with pytest.raises(ConfigError, match="'mlp' is registered already"):
        compose(["plugins=[taken.py]"])


def test_experiments_and_runs_import_nothing(folder: Path) -> None:
    (folder / "conf/experiment").mkdir(parents=True)
    (folder / "conf/experiment/own.yaml").write_text("plugins: [mine.py]\n")
    with pytest.raises(ConfigError, match="named by an experiment"):
        compose(["experiment=own"], config_dir=folder / "conf")
    (folder / "config.yaml").write_text(compose().to_yaml().replace("plugins: []", "plugins: [mine.py]"))
    Config.from_yaml(folder / "config.yaml")
    assert plugins.loaded() == []


def test_contracts_of_annotations() -> None:
    assert str(contract_of(int | None)) == "int or null"
    assert str(contract_of(list[float])) == "list[float]"
    assert str(contract_of(tuple[int, int])) == "list[int]"
    assert str(contract_of(dict[str, int])) == "dict"
    assert str(contract_of(Path)) == "path"
    assert str(contract_of(object)) == "any"


def test_contracts_of_built_in_signatures() -> None:
    found = find_contract("model", "mlp")
    assert "spec" not in found
    assert found["hidden"][0] == [512]
