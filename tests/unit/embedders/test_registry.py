"""Names to embedders, and what is not loaded on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guard.embedders.architectures import ARCHITECTURES, build_architecture, register_architecture
from guard.embedders.ort import OrtEmbedder
from guard.embedders.pdq import PdqEmbedder
from guard.embedders.registry import EMBEDDERS, embedder_class, load_embedder, load_index_embedder, register_embedder
from guard.embedders.torch import TorchEmbedder
from guard.errors import ConfigError
from tests.support.tiny_models import onnx_file, preparation, script_file


def test_pdq_by_name() -> None:
    assert isinstance(load_embedder("pdq", device="cuda"), PdqEmbedder)
    assert embedder_class("pdq") is PdqEmbedder


def test_files_by_prefix(tmp_path: Path) -> None:
    onnx = onnx_file(tmp_path / "a.onnx", preprocessing=str(preparation))
    script = script_file(tmp_path / "a.pt")
    assert isinstance(load_embedder(f"onnx:{onnx}", threads=1), OrtEmbedder)
    assert isinstance(load_embedder(f"torchscript:{script}", preprocessing=str(preparation)), TorchEmbedder)
    told = script_file(tmp_path / "b.pt", preprocessing=str(preparation))
    assert load_embedder(f"torchscript:{told}").spec.preprocessing == str(preparation)
    with pytest.raises(ConfigError, match=r"a\.pt does not say how pictures are prepared.*memguard_preprocessing"):
        load_embedder(f"torchscript:{script}")


def test_the_embedder_of_an_index_is_asked_for_where_it_was_a_file(tmp_path: Path) -> None:
    assert isinstance(load_index_embedder("pdq"), PdqEmbedder)
    assert isinstance(load_index_embedder("anything", "pdq"), PdqEmbedder)
    with pytest.raises(ConfigError, match=r"'mine'.*onnx:FILE"):
        load_index_embedder("mine")


@pytest.mark.parametrize("name", ["pdqq", "onnx", "onnx:", "../pdq"])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(ConfigError, match=r"pdq.*sscd_disc_mixup.*onnx:PATH"):
        load_embedder(name)


def test_an_unknown_option_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="colour"):
        load_embedder("pdq", colour="red")
    with pytest.raises(ConfigError, match="colour"):
        load_embedder(f"onnx:{onnx_file(tmp_path / 'a.onnx')}", colour="red")


def test_duplicates_are_refused_and_the_views_are_read_only() -> None:
    with pytest.raises(ConfigError, match="registered already"):
        register_embedder("pdq", "elsewhere:Pdq")
    with pytest.raises(ConfigError, match="registered already"):
        register_architecture("copynce_vit", "elsewhere:vit")
    for view in (EMBEDDERS, ARCHITECTURES):
        mutable: Any = view
        with pytest.raises(TypeError):
            mutable["x"] = "y"


def test_architectures_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ConfigError, match="copynce_vit"):
        build_architecture("resnet9000")
    with pytest.raises(ConfigError, match="wings"):
        build_architecture("copynce_vit", wings=2)


def test_nothing_heavy_is_imported_for_pdq() -> None:
    code = (
        "import guard, guard.embedders.registry as r, guard.embedders.models, guard.embedders.base, sys;"
        "heavy = {'torch', 'onnxruntime', 'transformers', 'faiss'};"
        "early = sys.modules.keys() & {*heavy, 'PIL', 'pdqhash'};"
        "import numpy as np; from guard.pixels import to_batch;"
        "r.load_embedder('pdq').embed(to_batch(np.zeros((64, 64, 3), np.uint8)));"
        "print(sorted(early), sorted(sys.modules.keys() & heavy))"
    )
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[] []"
