"""The model list: its facts, the cache, and every loader on weights of the same architecture made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from guard.embedders.copynce import copynce_vit
from guard.embedders.fetch import PINS
from guard.embedders.files import cache_dir
from guard.embedders.model_cards import CARDS, ModelCard, ModelFile
from guard.embedders.models import MODELS, fetch_model, fetched, load_model, model_card, model_folder, register_model
from guard.embedders.preprocess import Preprocessing
from guard.embedders.registry import EMBEDDERS, load_embedder
from guard.errors import ConfigError
from guard.pixels import to_batch
from tests.support.range_server import Site, serve
from tests.support.tiny_models import SSCD_LIKE_DIM, SscdLike, onnx_file, script_file
from tests.support.toys import picture

LISTED = [card.name for card in CARDS]


@pytest.mark.parametrize("card", CARDS, ids=LISTED)
def test_a_card_is_whole(card: ModelCard) -> None:
    assert card.title
    assert card.licence
    assert card.source
    assert card.dim > 0
    assert card.files
    assert bool(card.bring) == (not all(file.url for file in card.files))
    assert all(file.url.startswith("https://") for file in card.files if file.url)
    assert len({file.name for file in card.files}) == len(card.files)
    if card.thresholds:
        assert card.thresholds.flag <= card.thresholds.block
        assert len(card.thresholds.source) > 40


def test_the_list_has_what_was_promised() -> None:
    sscd = {f"sscd_{data}_{kind}" for data in ("disc", "imagenet") for kind in ("blur", "advanced", "mixup")}
    dinov2 = {f"dinov2-{size}" for size in ("small", "base", "large")}
    others = {"sscd_disc_large", "copynce_vits", "clip-vit-base-patch32", "clip-vit-large-patch14", "isc_ft_v107"}
    assert set(LISTED) == sscd | dinov2 | others
    assert not set(MODELS) & set(EMBEDDERS)


def test_names_are_unique_and_the_view_is_read_only() -> None:
    with pytest.raises(ConfigError, match="on the list already"):
        register_model(CARDS[0])
    with pytest.raises(ConfigError, match=r"unknown model 'x'.*sscd_disc_mixup"):
        model_card("x")
    view: Any = MODELS
    with pytest.raises(TypeError):
        view["x"] = CARDS[0]


def test_where_the_cache_is(tmp_path: Path) -> None:
    assert cache_dir({"MEMGUARD_CACHE": str(tmp_path)}) == tmp_path
    assert cache_dir({}).name == "memorization-guard"
    assert model_folder("dinov2-small", tmp_path) == tmp_path / "models" / "dinov2-small"


@pytest.mark.parametrize("name", LISTED)
def test_what_was_not_fetched_is_not_loaded_and_the_command_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"memguard models fetch {name}"):
        load_embedder(name, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sscd(tmp_path: Path) -> None:
    mine = script_file(tmp_path / "mine.pt", SscdLike(), 320)
    fetch_model("sscd_disc_mixup", cache=tmp_path, source=mine)
    embedder = load_embedder("sscd_disc_mixup", cache=tmp_path)
    spec = embedder.spec
    assert (spec.name, spec.dim, spec.input_size) == ("sscd_disc_mixup", SSCD_LIKE_DIM, 320)
    assert spec.thresholds is not None
    assert (spec.thresholds.flag, spec.thresholds.block) == (0.5, 0.75)
    array = np.array(picture(1, 400, 320))
    x = Preprocessing(320).arrays([array])
    with torch.inference_mode():
        wanted = SscdLike()(torch.from_numpy(x))  # the network that the file was traced from
    np.testing.assert_allclose(embedder.embed(to_batch(array)), wanted.numpy(), atol=1e-5)


def test_other_weights_under_a_listed_name_are_refused(tmp_path: Path) -> None:
    fetch_model("sscd_disc_large", cache=tmp_path, source=script_file(tmp_path / "mine.pt", SscdLike(), 320))
    with pytest.raises(ConfigError, match="has 512 dimensions, 1024 were expected"):
        load_embedder("sscd_disc_large", cache=tmp_path)


def test_a_changed_file_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    folder = fetch_model("sscd_disc_blur", cache=tmp_path, source=script_file(tmp_path / "mine.pt", SscdLike(), 320))
    (folder / "sscd_disc_blur.torchscript.pt").write_bytes(b"another program")
    with pytest.raises(ConfigError, match="damaged or another file"):
        load_model("sscd_disc_blur", cache=tmp_path)
    (folder / PINS).unlink()
    with pytest.raises(ConfigError, match=r"no checksum.*--from"):
        load_model("sscd_disc_blur", cache=tmp_path)


def test_copynce(tmp_path: Path) -> None:
    """A checkpoint of the published shape: full size, under "model", with the prefix of parallel training."""
    torch.manual_seed(0)
    net = copynce_vit()
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(21.9e6, rel=0.01)
    state = {f"module.{key}": value.half() for key, value in net.state_dict().items()}
    torch.save({"model": state, "epoch": 30}, tmp_path / "descriptor.pth.tar")
    with pytest.raises(ConfigError, match="Google Drive"):
        fetch_model("copynce_vits", cache=tmp_path)
    fetch_model("copynce_vits", cache=tmp_path, source=tmp_path / "descriptor.pth.tar")
    embedder = load_embedder("copynce_vits", cache=tmp_path)
    array = np.array(picture(1, 300, 200))
    with torch.inference_mode():
        wanted = net.eval()(torch.from_numpy(Preprocessing(224, interpolation="bicubic").arrays([array])))
    assert float((embedder.embed(to_batch(array)) * wanted.numpy()).sum()) > 0.999  # the file is in half precision


def tiny_dinov2() -> Any:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    small: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 6, "mlp_ratio": 1}
    return Dinov2Model(Dinov2Config(hidden_size=384, image_size=224, patch_size=14, **small)).eval()


def tiny_clip() -> Any:
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    torch.manual_seed(0)
    small: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = CLIPTextConfig(vocab_size=50, projection_dim=512, **small)
    vision = CLIPVisionConfig(projection_dim=512, image_size=224, patch_size=32, **small)
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=512)).eval()


def test_dinov2_served_fetched_and_loaded(tmp_path: Path) -> None:
    """The whole way of a model of two files, from a server on this machine to a descriptor."""
    model = tiny_dinov2()
    model.save_pretrained(tmp_path / "published")
    names = ("config.json", "model.safetensors")
    with serve(Site({f"/{n}": (tmp_path / "published" / n).read_bytes() for n in names})) as site:
        files = tuple(ModelFile(n, f"{site.url}/{n}") for n in names)
        listed = model_card("dinov2-small")
        register_model(ModelCard("tests-dinov2", "t", "l", 384, listed.preprocessing, listed.loader, files, "s"))
        assert not fetched("tests-dinov2", tmp_path)
        fetch_model("tests-dinov2", cache=tmp_path)
    assert fetched("tests-dinov2", tmp_path)
    with pytest.raises(ConfigError, match="has 2 files"):
        fetch_model("tests-dinov2", cache=tmp_path, source=tmp_path)
    embedder = load_embedder("tests-dinov2", cache=tmp_path)
    array = np.array(picture(1, 300, 260))
    with torch.inference_mode():
        x = torch.from_numpy(listed.preprocessing.arrays([array]))
        wanted = torch.nn.functional.normalize(model(pixel_values=x).pooler_output)
    np.testing.assert_allclose(embedder.embed(to_batch(array)), wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors"])
def test_clip(tmp_path: Path, file: str) -> None:
    from guard.embedders.torch_loaders import from_transformers

    model = tiny_clip()
    folder = tmp_path / "clip"
    model.save_pretrained(folder)
    if file == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / file)
    way = model_card("clip-vit-base-patch32").preprocessing
    embedder = from_transformers(folder, preprocessing=way)
    array = np.array(picture(1, 300, 260))
    with torch.inference_mode():
        out = model.get_image_features(pixel_values=torch.from_numpy(way.arrays([array])))
        wanted = torch.nn.functional.normalize(getattr(out, "pooler_output", out))
    np.testing.assert_allclose(embedder.embed(to_batch(array)), wanted.numpy(), atol=1e-5)


def test_isc_takes_the_onnx_file_that_the_user_brings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--from FILE"):
        fetch_model("isc_ft_v107", cache=tmp_path)
    fetch_model("isc_ft_v107", cache=tmp_path, source=onnx_file(tmp_path / "mine.onnx"))
    with pytest.raises(ConfigError, match="512, 512"):  # found and opened as ONNX; this one is for 32 px
        load_embedder("isc_ft_v107", cache=tmp_path)
