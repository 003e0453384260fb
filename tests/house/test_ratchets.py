"""The figures of `measure.py` may only fall, and each of them sees what it is there to see."""

from __future__ import annotations

import json

import pytest

from tests.house.measure import ROOT, STORED, House, whole_package

LIMITS = json.loads(STORED.read_text(encoding="utf-8"))
FILES = {
    "__init__": "",
    "heavy": "import torch.nn\n",
    "light": "if True:\n    import json\n",
    "brings": "from tiny.heavy import x\n",
    "first": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tiny.second import a\n",
    "second": "def f():\n    from tiny import third\n",
    "third": "from tiny.first import b\n",
    "compiler": "import torch._dynamo\n",
    "late": (
        "import pandas\n\n\ndef f(a: Any, b: Any | None, *c: int) -> Any:\n    from tiny.light import x\n"
        "    from tiny.brings import y\n    import tiny.first\n    import os\n"
    ),
    "torch_user": "import torch\n\n\ndef f():\n    from tiny.brings import y\n    from tiny.compiler import z\n",
    "long_one": (
        '"""A file.\n\nOf words."""\n\n' + "# a comment\n" * 260
        + "def f():\n" + "    x = 1\n\n" * 20 + "    y = 2\n"
    ),
    "text": (
        'X = """\n\n# no docstring\n"""\n\n\n'
        'def f():\n    """Two\n\n    lines."""\n\n\nclass x:\n    y = f"""\n"""\n'
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def house() -> House:
    return whole_package()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A package that does all that it should not."""
    root = tmp_path_factory.mktemp("house")
    (root / "tiny").mkdir()
    for name, text in FILES.items():
        (root / "tiny" / f"{name}.py").write_text(text)
    return House(root, "tiny")


@pytest.mark.parametrize("figure", LIMITS)
def test_a_figure_may_only_fall(figure: str, house: House) -> None:
    now = house.figures[figure]
    assert now <= LIMITS[figure], [figure, *house.found.get(figure, [])]


def test_every_figure_has_its_limit(house: House) -> None:
    assert house.figures.keys() == LIMITS.keys()


def test_a_circle_is_seen_through_functions_and_types(tiny: House) -> None:
    assert tiny.circles() == ["tiny.first <-> tiny.second <-> tiny.third"]
    assert tiny.figures["files in circles"] == 3


def test_an_import_that_spares_nobody_a_heavy_package_is_seen(tiny: House) -> None:
    late = [f"{module.name} {sorted(ours)}" for module, _, ours in tiny.late_imports()]
    assert late == [
        "tiny.late ['tiny.light']",
        "tiny.late ['tiny.brings']",
        "tiny.late ['tiny.first']",
        "tiny.second ['tiny.third']",
        "tiny.torch_user ['tiny.brings']",
        "tiny.torch_user ['tiny.compiler']",
    ]
    assert tiny.needless_late_imports() == [
        "tiny.late:5 from tiny.light import x",
        "tiny.late:7 import tiny.first",
        "tiny.second:2 from tiny import third",
        "tiny.torch_user:5 from tiny.brings import y",
    ]


def test_untyped_parameters_and_length_are_seen(tiny: House) -> None:
    assert tiny.any_parameters() == ["tiny.late:f(a)"]
    assert tiny.long_files() == ["tiny.long_one 306"]
    assert tiny.long_functions() == ["tiny.long_one:f 41"]
    sizes = {name: module.lines_of_code for name, module in tiny.modules.items()}
    assert (sizes["tiny.long_one"], sizes["tiny.text"], sizes["tiny.light"]) == (22, 8, 2)
    assert tiny.shared_names() == ["f x5"]


def test_it_reads_the_whole_package(house: House) -> None:
    assert len(house.modules) == len(list((ROOT / "dlrun").rglob("*.py"))) > 100
