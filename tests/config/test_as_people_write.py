"""Values and files as people write them: texts that are numbers, None, lists that grow, folders that are not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrun import cli
from dlrun.config.compose import compose, open_draft
from dlrun.config.explain import explain
from dlrun.errors import ConfigError

MINE = "# dlrun optimizer=mine\n# Mine.\ndefaults: [sgd, _self_]\nlr: 0.5  # learning rate (float > 0)\n"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_text_is_read_as_the_contract_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LR", "0.25")
    monkeypatch.setenv("TASK", "7")
    config = compose(["optimizer.lr=${oc.env:LR}", "seed=${oc.env:TASK,0}", "model.hidden='[8, 8]'"])
    assert (config.optimizer.lr, config.seed, config.model.hidden) == (0.25, 7, (8, 8))
    assert compose(["model.hidden=['32',64]"]).model.hidden == (32, 64)
    assert compose(["seed=${oc.env:NO_SUCH_TASK,3}", "optimizer.lr='1e-2'", "run.name='7'"]).flat() == {
        **compose(["seed=3", "optimizer.lr=0.01"]).flat(), "run.name": "7"
    }  # fmt: skip
    with pytest.raises(ConfigError, match="must be float > 0, not 'fast'"):
        compose(["optimizer.lr=fast"])


def test_none_is_null_where_there_is_one() -> None:
    assert compose(["trainer.clip_norm=None", "run.name=None"]).flat() == compose().flat()
    with pytest.raises(ConfigError, match=r"optimizer\.lr: must be float > 0, not 'None'. Write null\."):
        compose(["optimizer.lr=None"])


def test_a_list_grows() -> None:
    assert compose(["model.hidden=[8]", "model.hidden+=[4, 2]"]).model.hidden == (8, 4, 2)
    with pytest.raises(ConfigError, match="adds a list"):
        compose(["model.hidden+=3"])
    with pytest.raises(ConfigError, match="no list that can be added to"):
        compose(["optimizer.lr+=[3]"])


@pytest.mark.parametrize("words", ["optimizer.lr = 0.1", "optimizer.lr= 0.1", "optimizer.lr =0.1"])
def test_spaces_around_the_sign(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words.split()) == 2
    assert "Write optimizer.lr=0.1" in capsys.readouterr().err


def test_a_conf_that_is_not_read_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    Path("conf/optimizer").mkdir(parents=True)
    Path("conf/optimizer/mine.yaml").write_text(MINE)
    assert cli.main(["--cfg", "job"]) == 0
    assert "note: ./conf is not read: put a dlrun.yaml into it" in capsys.readouterr().err
    Path("conf/dlrun.yaml").touch()
    assert cli.main(["--cfg", "job", "optimizer=mine"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("folder", ["empty", "~nosuchuser"])
def test_a_config_dir_of_no_use_is_refused(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert cli.main(["--config-dir", folder, "--cfg", "job"]) == 2
    assert f"--config-dir: {folder} " in capsys.readouterr().err


def test_our_files_look_different_from_the_users() -> None:
    Path("conf/optimizer").mkdir(parents=True)
    Path("conf/optimizer/mine.yaml").write_text(MINE)
    Path("conf/dlrun.yaml").touch()
    text = explain("optimizer.lr", open_draft(["optimizer=mine"]))
    assert "dlrun:conf/optimizer/sgd.yaml" in text
    assert " conf/optimizer/mine.yaml" in text


def test_an_experiment_by_its_path(tmp_path: Path) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/mine.yaml").write_text("optimizer: {lr: 0.125}\ntrainer: {epochs: 3}\n")
    config = compose(["experiment=elsewhere/mine.yaml", "trainer.epochs=4"])
    assert (config.optimizer.lr, config.trainer.epochs) == (0.125, 4)
    Path("elsewhere/config.yaml").write_text(config.to_yaml())
    with pytest.raises(ConfigError, match=r"dlrun rerun elsewhere/config\.yaml"):
        compose(["experiment=elsewhere/config.yaml"])
