"""The wheel is complete: it runs from any folder, with its configuration and its names, and with nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the unpacked wheel and nothing else of ours."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def dlrun(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command of the wheel, started in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    start = [sys.executable, "-m", "dlrun", *words]
    return subprocess.run(start, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_carries_every_configuration_and_no_test(site: Path) -> None:
    ours = {str(path.relative_to(ROOT / "conf")) for path in (ROOT / "conf").rglob("*.yaml")}
    theirs = {str(path.relative_to(site / "dlrun" / "conf")) for path in (site / "dlrun" / "conf").rglob("*.yaml")}
    assert ours == theirs
    assert (site / "dlrun" / "data" / "corpus" / "names.csv").is_file()
    assert (site / "dlrun" / "py.typed").is_file()
    report = ROOT / "dlrun" / "report"
    for path in [*(report / "templates").iterdir(), *report.glob("page.*")]:
        assert (site / path.relative_to(ROOT)).is_file(), "pages are made of it"
    assert not (site / "tests").exists()


@pytest.mark.slow
def test_it_trains_from_another_folder(site: Path, tmp_path: Path) -> None:
    result = dlrun(site, tmp_path, "trainer=smoke", "device=cpu", "model=gru", "dataset=names", "run.dir=here")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "here" / "summary.json").is_file()


def test_it_names_its_own_files(site: Path, tmp_path: Path) -> None:
    where = dlrun(site, tmp_path, "explain", "optimizer.lr").stdout
    assert "conf/optimizer/adam.yaml" in where


def test_the_conf_of_another_hydra_program_changes_nothing(site: Path, tmp_path: Path) -> None:
    plain = dlrun(site, tmp_path, "--cfg", "job").stdout
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "config.yaml").write_text("defaults: [model: huge]\nlr: 7\n")
    (tmp_path / "conf" / "model" / "mlp.yaml").write_text("name: not_ours\n")
    assert dlrun(site, tmp_path, "--cfg", "job").stdout == plain


def test_a_conf_of_the_users_own_adds_options_and_overrides_ours(site: Path, tmp_path: Path) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "dlrun.yaml").write_text("optimizer:\n  lr: 0.25\n")
    (tmp_path / "conf" / "model" / "wide.yaml").write_text("defaults: [mlp, _self_]\nhidden: [512]\n")
    printed = dlrun(site, tmp_path, "--cfg", "job", "model=wide").stdout
    assert "lr: 0.25" in printed
    assert "hidden: [512]" in printed
