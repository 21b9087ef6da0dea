"""The cards of the model list: facts that their publishers state, with sources. Knows nothing but these facts.

No publisher states a sha256 of these files where we could read it (2026-11), so every checksum is "":
pinned when the file is first fetched, enforced afterwards. Thresholds are set only where a source states one.
"""

from __future__ import annotations

from dataclasses import dataclass

from guard.embedders.base import Thresholds
from guard.embedders.preprocess import CLIP_MEAN, CLIP_STD, Preprocessing

__all__ = ["CARDS", "ModelCard", "ModelFile"]


@dataclass(frozen=True, slots=True)
class ModelFile:
    name: str
    url: str = ""
    sha256: str = ""
    """As published; "" to pin the first download."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model: what a user must know before using it, and what a loader needs."""

    name: str
    title: str
    licence: str
    dim: int
    preprocessing: Preprocessing
    loader: str
    """"torchscript", "transformers", "onnx", "shipped", or the name of a registered architecture for a state dict."""
    files: tuple[ModelFile, ...]
    """The weights last; none: they come with the package."""
    source: str
    thresholds: Thresholds | None = None
    """None: nobody published one; set them in the policy, best by calibration."""
    bring: str = ""
    """How a person gets the file, where no program can; "" if it can be downloaded."""
    notes: str = ""

    @property
    def fetch_command(self) -> str:
        return f"memguard models fetch {self.name}"


SOMEPALLI = "Somepalli et al. 2023 (arXiv:2212.03860): SSCD similarity of 0.5 and more counts as replication"
SSCD_THRESHOLDS = Thresholds(
    flag=0.5,
    block=0.75,
    source=f"flag: {SOMEPALLI}. block: SSCD's README: above 0.75 (sscd_disc_mixup), DISC pairs are copies with "
    "90 % precision. Neither was measured on this index: calibrate",
)


def _sscd(name: str, trained: str, dim: int = 512, thresholds: Thresholds | None = None) -> ModelCard:
    file = f"{name}.torchscript.pt"
    return ModelCard(
        name=name,
        title=f"SSCD, {trained}",
        licence="MIT (code and weights)",
        dim=dim,
        preprocessing=Preprocessing(320),
        loader="torchscript",
        files=(ModelFile(file, f"https://dl.fbaipublicfiles.com/sscd-copy-detection/{file}"),),
        source="Pizzi et al. 2022 (arXiv:2202.10261), github.com/facebookresearch/sscd-copy-detection",
        thresholds=thresholds,
        notes="TorchScript: opening it runs a program. The README's 'skew_320' preprocessing; its authors' other "
        "advice (small edge 288, no cut) gives every picture its own size and cannot be batched.",
    )


def _dinov2(size: str, dim: int, revision: str) -> ModelCard:
    base = f"https://huggingface.co/facebook/dinov2-{size}/resolve/{revision}"
    return ModelCard(
        name=f"dinov2-{size}",
        title=f"DINOv2 {size}, class token",
        licence="Apache-2.0",
        dim=dim,
        preprocessing=Preprocessing(224, "shorter_side", 256, "bicubic"),
        loader="transformers",
        files=(
            ModelFile("config.json", f"{base}/config.json"),
            ModelFile("model.safetensors", f"{base}/model.safetensors"),
        ),
        source="Oquab et al. 2023 (arXiv:2304.07193)",
        notes="A general descriptor: near in meaning is near in similarity, so that it finds more than copies. "
        "Its preprocessing cuts the borders off.",
    )


def _clip(size: str, dim: int, weights: str) -> ModelCard:
    base = f"https://huggingface.co/openai/clip-vit-{size}/resolve/main"
    return ModelCard(
        name=f"clip-vit-{size}",
        title=f"CLIP ViT {size}, image embedding",
        licence="MIT (code; none is stated for the weights)",
        dim=dim,
        preprocessing=Preprocessing(224, "shorter_side", None, "bicubic", CLIP_MEAN, CLIP_STD),
        loader="transformers",
        files=tuple(
            ModelFile(file, f"{base}/{file}")
            for file in ("config.json", "tokenizer.json", "tokenizer_config.json", weights)
        ),
        source="Radford et al. 2021 (arXiv:2103.00020)",
        notes="A descriptor of meaning: for search by words, not for telling copies from look-alikes. "
        "Its model card calls every deployed use out of scope.",
    )


CARDS: tuple[ModelCard, ...] = (
    _sscd("sscd_disc_mixup", "ResNet-50 on DISC, advanced + mixup; its authors' default", thresholds=SSCD_THRESHOLDS),
    _sscd("sscd_disc_large", "ResNeXt-101 on DISC, advanced + mixup; the most accurate", dim=1024),
    _sscd("sscd_disc_advanced", "ResNet-50 on DISC, advanced"),
    _sscd("sscd_disc_blur", "ResNet-50 on DISC, strong blur"),
    _sscd("sscd_imagenet_mixup", "ResNet-50 on ImageNet, advanced + mixup"),
    _sscd("sscd_imagenet_advanced", "ResNet-50 on ImageNet, advanced"),
    _sscd("sscd_imagenet_blur", "ResNet-50 on ImageNet, strong blur"),
    ModelCard(
        name="copynce_vits",
        title="CopyNCE descriptor, ViT-S",
        licence="Apache-2.0 (code and weights)",
        dim=512,
        preprocessing=Preprocessing(224, "squash", None, "bicubic"),
        loader="copynce_vit",
        files=(ModelFile("descriptor_vits_224.pth.tar"),),
        source="Lu et al., ICCV 2025 (arXiv:2602.17484), github.com/eddielyc/CopyNCE",
        bring="download descriptor_vits_224.pth.tar from the Google Drive link in its README (table 'Models')",
        notes="Its authors call fine-tuning highly necessary before real use: as published it may miss plain copies. "
        "A training checkpoint, read as plain numbers (weights_only). The network is written anew after its "
        "reference code and was not run with the published checkpoint; weights that do not fit are refused by name.",
    ),
    _dinov2("small", 384, "ed25f3a31f01632728cabb09d1542f84ab7b0056"),
    _dinov2("base", 768, "c73891fc3a90e8fe9ffead361cec7058e0319f03"),
    _dinov2("large", 1024, "main"),
    _clip("base-patch32", 512, "pytorch_model.bin"),
    _clip("large-patch14", 768, "model.safetensors"),
    ModelCard(
        name="isc_ft_v107",
        title="ISC21 descriptor track, first place (EfficientNetV2-M)",
        licence="MIT",
        dim=256,
        preprocessing=Preprocessing(512, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        loader="onnx",
        files=(ModelFile("isc_ft_v107.onnx"),),
        source="Yokoo 2021 (arXiv:2112.04323), github.com/lyakaap/ISC21-Descriptor-Track-1st",
        bring="export it to ONNX (input (n, 3, 512, 512), output (n, 256)) with the authors' package",
        notes="Its architecture lives in timm, which this project does without: only an ONNX file can be used. "
        "Size, mean and std are those of the network's usual setup; the checkpoint's own args.input_size stands.",
    ),
)
