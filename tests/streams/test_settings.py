"""Settings with rules beyond a type."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from streams.cli.main import cli
from streams.setting_types import Group
from streams.settings import Settings
from streams.training_settings import TrainingSettings
from streams.unknown_variables import UnknownSettings


def test_each_method_has_its_own_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREATIVES_TRAINING__DREAMBOOTH__LEARNING_RATE", "0.00001")
    monkeypatch.setenv("CREATIVES_TRAINING__DREAMBOOTH__TRAIN_TEXT_ENCODER", "true")
    monkeypatch.setenv("CREATIVES_TRAINING__DREAMBOOTH_LORA__RANK", "8")
    monkeypatch.setenv("CREATIVES_TRAINING__TEXTUAL_INVERSION__SNR_GAMMA", "0")
    training = Settings().training
    given = training.method_settings("dreambooth").model_dump(exclude_none=True)
    assert given == {"learning_rate": 0.00001, "train_text_encoder": True}
    assert training.method_settings("dreambooth_lora").model_dump(exclude_none=True) == {"rank": 8}
    assert training.method_settings("textual_inversion").model_dump(exclude_none=True) == {"snr_gamma": 0.0}


def test_a_setting_of_another_method_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREATIVES_TRAINING__TEXTUAL_INVERSION__RANK", "8")
    with pytest.raises(UnknownSettings, match="RANK"):
        Settings()


def test_only_decisive_settings_change_the_request() -> None:
    plain = TrainingSettings()
    decisive = [
        {"min_fidelity": 0.5},
        {"max_prior": 0.5},
        {"max_photo_bytes": 1000},
        {"allowed_hosts": ("photos.example",)},
        {"dreambooth": {"steps": 10}},
    ]
    texts = [TrainingSettings.model_validate(change).decisive("dreambooth") for change in decisive]
    assert len({plain.decisive("dreambooth"), *texts}) == 1 + len(decisive)
    for change in (
        {"checkpoint_every": 7},
        {"concurrency": 9},
        {"photo_timeout": 1},
        {"workdir": "/x"},
        {"textual_inversion": {"vectors": 2}},
    ):
        assert TrainingSettings.model_validate(change).decisive("dreambooth") == plain.decisive("dreambooth")


def test_a_dino_threshold_needs_a_dino() -> None:
    result = CliRunner().invoke(cli, ["topics"], env={"CREATIVES_TRAINING__MIN_FIDELITY_DINO": "0.5"})
    assert result.exit_code == 2
    assert "CREATIVES_TRAINING__MIN_FIDELITY_DINO needs CREATIVES_STUDIO__DINO" in result.output
    assert "CREATIVES_:" not in result.output
    Settings.model_validate({"training": {"min_fidelity_dino": 0.5}, "studio": {"dino": "/models/dino"}})
    assert Settings.model_validate({"studio": {"dino": "/models/dino"}}).studio.plan().dino == "/models/dino"


def test_every_setting_has_a_description() -> None:
    def missing(model: type, prefix: str = "") -> list[str]:
        found: list[str] = []
        for name, field in model.model_fields.items():  # type: ignore[attr-defined]
            if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
                found += missing(field.annotation, f"{prefix}{name}.")
            elif not field.description:
                found.append(prefix + name)
        return found

    assert missing(Settings) == []
