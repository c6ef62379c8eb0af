from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers.command_line import attire as run_attire
from helpers.hub import TOKEN, Hub, stub_hub

from attire.bundle import ModelBundle
from attire.errors import BundleError, HubError
from attire.hub import Address, pull, push

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    from huggingface_hub import constants

    home = tmp_path_factory.mktemp("hub")
    with stub_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        template = f"{running.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def test_what_is_pushed_is_pulled(hub: Hub, untrained: ModelBundle, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(untrained.path, tmp_path / "bundle"))
    (bundle / "engines").mkdir()
    (bundle / "engines" / "model.json").write_text("{}")
    for name in ("notes.txt", ".secret.json", "pickle.bin"):
        (bundle / name).write_text("private")
    address = push(bundle, "hf://ann/shirts")
    assert hub.private == {"ann/shirts": True}
    (commit,) = hub.repositories["ann/shirts"]
    assert address == f"hf://ann/shirts@{commit}"
    names = {"README.md", "bundle.json", "probe.safetensors", "weights.safetensors"}
    assert hub.latest("ann/shirts").keys() == names
    assert f"PUT /objects/{untrained.spec.sha256['weights.safetensors']}" in hub.requests

    pulled = pull("hf://ann/shirts", tmp_path / "pulled")
    assert pulled.digest == untrained.digest
    assert {file.name for file in (tmp_path / "pulled").iterdir()} == names
    assert pull(address, tmp_path / "again").digest == untrained.digest
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    with pytest.raises(HubError, match="pulled exists already"):
        pull("hf://ann/shirts", tmp_path / "pulled")
    push(bundle, "hf://ann/shirts", public=True)
    assert len(hub.repositories["ann/shirts"]) == 2
    assert hub.private == {"ann/shirts": True}


def test_the_card_has_what_the_hub_wants_to_know(hub: Hub, untrained: ModelBundle) -> None:
    push(untrained, "hf://ann/shirts", public=True)
    assert hub.private == {"ann/shirts": False}
    card = hub.latest("ann/shirts")["README.md"].decode()
    _, metadata, text = card.split("---\n", 2)
    facts = yaml.safe_load(metadata)
    assert facts["library_name"] == "attire"
    assert facts["pipeline_tag"] == "image-classification"
    assert facts["license"] == "other"
    assert "attire pull hf://ann/shirts --out" in text
    assert "## Intended use" in text


def test_what_is_no_bundle_or_damaged_is_not_put_in_place(hub: Hub, untrained: ModelBundle, tmp_path: Path) -> None:
    address = push(untrained, "hf://ann/shirts")
    hub.latest("ann/shirts")["weights.safetensors"] += b"x"
    with pytest.raises(BundleError, match="is not the file that was saved"):
        pull(address, tmp_path / "out")
    hub.repositories["ann/other"] = {"c" * 40: {"model.bin": b"pickle", "config.json": b"{}"}}
    with pytest.raises(HubError, match=r"hf://ann/other is not a bundle: it has no bundle.json"):
        pull("hf://ann/other", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("hub")
def test_refusals_say_what_to_do(untrained: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with pytest.raises(HubError, match=r"hf://ann/none does not exist, or is private .*hf auth login"):
        pull("hf://ann/none", tmp_path / "out")
    push(untrained, "hf://ann/shirts")
    with pytest.raises(HubError, match="has no revision 'v2'"):
        pull("hf://ann/shirts@v2", tmp_path / "out")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    for call in (lambda: push(untrained, "hf://ann/shirts"), lambda: pull("hf://ann/shirts", tmp_path / "out")):
        with pytest.raises(HubError, match=r"refuses access \(status 401\)\. Log in with `hf auth login`"):
            call()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        pull("hf://ann/shirts", tmp_path / "out")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for call in (lambda: push(untrained, "hf://ann/shirts"), lambda: pull("hf://ann/shirts", tmp_path / "out")):
        with pytest.raises(HubError, match=r"http://127.0.0.1:9 cannot be reached .* Check the network"):
            call()


def test_addresses() -> None:
    assert Address.parse("hf://ann/a.b-c@main") == ("ann/a.b-c", "main")
    for wrong in ("ann/shirts", "hf://ann", "hf://ann/a/b", "https://huggingface.co/ann/a", "hf://ann/a@"):
        with pytest.raises(HubError, match="is not an address on the hub"):
            Address.parse(wrong)


@pytest.mark.usefixtures("hub")
def test_the_commands(untrained: ModelBundle, tmp_path: Path) -> None:
    pushed = run_attire("push", untrained.path, "hf://ann/shirts")
    assert (pushed.status, pushed.err) == (0, pushed.err)
    address = pushed.out.split()[0]
    pulled = run_attire("pull", address, "--out", tmp_path / "out")
    assert pulled.status == 0, pulled.err
    assert str(tmp_path / "out") in pulled.out
    assert run_attire("push", untrained.path, f"{address}").status == 2
