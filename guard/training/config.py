"""The settings of a training run, checked. Knows numbers; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["CONFIGS", "NetworkConfig", "Phase", "TrainingConfig"]


class NetworkConfig(BaseModel):
    """Shape of the network; see guard/training/network.py."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[int, ...] = Field(default=(48, 96, 192, 384), description="channels, eight of each field")
    depths: tuple[int, ...] = Field(default=(2, 4, 3), description="residual blocks of each stage after the stem")
    pooled: tuple[int, int] = Field(default=(96, 256), description="fields of the last two stages that are averaged")
    dim: int = Field(default=256, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> NetworkConfig:
        if len(self.depths) != len(self.widths) - 1 or min(self.depths) < 1 or len(self.depths) < 2:
            raise ValueError("depths needs one entry >= 1 for each width after the first, two at least")
        if any(width % 8 for width in self.widths):
            raise ValueError("widths must be multiples of 8: a field has a channel for each of eight positions")
        return self


class Phase(BaseModel):
    """A stretch of the run at one input size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: float = Field(gt=0, le=1, description="share of the run at which it ends, exclusive")
    size: int = Field(ge=32, multiple_of=32, description="px")


class TrainingConfig(BaseModel):
    """Everything that shapes the weights besides the seed and the length of the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkConfig = NetworkConfig()
    export_size: int = Field(default=160, multiple_of=32, description="px; input of the exported network")
    windows_size: int = Field(default=256, multiple_of=32, description="px; of the exported network of windows")
    programs: int = Field(default=4500, gt=0, description="of the bank; four pictures each")
    picture_size: int = Field(default=224, ge=48, description="px; side of a bank picture")
    pairs: int = Field(default=256, ge=4, description="of views in a batch, over all processes")
    kin_share: float = Field(
        default=0.35, ge=0, le=1, description="of a batch that has kin of its program in the batch"
    )
    mix_share: float = Field(default=0.12, ge=0, le=1, description="of second views that are cut or mixed with another")
    window_share: float = Field(
        default=0.6, ge=0, le=1, description="of insets and collages that are averaged over about their own place"
    )
    phases: tuple[Phase, ...] = (Phase(until=0.5, size=96), Phase(until=0.82, size=128), Phase(until=1, size=160))
    learning_rate: float = Field(default=2e-3, gt=0)
    final_rate: float = Field(default=0.01, ge=0, le=1, description="share of the learning rate at the end")
    warm_up_steps: int = Field(default=100, ge=0)
    weight_decay: float = Field(default=0.02, ge=0)
    clip_norm: float = Field(default=5.0, gt=0)
    temperature: float = Field(default=0.05, gt=0)
    koleo: float = Field(default=5.0, ge=0, description="weight of the entropy term")
    strength_from: float = Field(default=0.35, ge=0, le=1, description="of the edits at the beginning")
    strength_to: float = Field(default=1.0, ge=0, le=1)
    strength_full_at: float = Field(default=0.35, ge=0, le=1, description="share of the run after which it stays")
    gentlest: float = Field(
        default=0.2, ge=0, le=1, description="each strong view has this share of the strength, or any larger one"
    )
    ema: float = Field(default=0.998, ge=0, lt=1)
    device_batches: int = Field(
        default=0, ge=0, description="that an accelerator makes for itself after each that processors made for it"
    )
    held_out_programs: int = Field(default=128, ge=0, description="0: no check during the run")

    @model_validator(mode="after")
    def _ordered(self) -> TrainingConfig:
        ends = [phase.until for phase in self.phases]
        if not ends or ends != sorted(set(ends)) or ends[-1] != 1:
            raise ValueError("phases must end one after another, the last at 1")
        return self


_GPU = TrainingConfig(
    programs=24_000,
    pairs=1536,
    kin_share=0.6,
    phases=(Phase(until=0.3, size=96), Phase(until=0.6, size=128), Phase(until=1, size=160)),
    learning_rate=3e-3,
    warm_up_steps=200,
    strength_from=0.4,
    strength_full_at=0.25,
    ema=0.999,
    device_batches=5,
)

CONFIGS: Mapping[str, TrainingConfig] = MappingProxyType(  # which ones the weights that ship had: docs/training.md
    {
        "default": TrainingConfig(),
        "gpu": _GPU,
        "continued": _GPU.model_copy(  # with --init: weights that know small pictures and full strength already
            update={
                "phases": (Phase(until=0.2, size=96), Phase(until=0.45, size=128), Phase(until=1, size=160)),
                "learning_rate": 2e-3,
                "strength_from": 0.8,
                "strength_full_at": 0.1,
                "device_batches": 7,
            }
        ),
        "small": TrainingConfig(  # for a test: seconds, not a useful descriptor
            network=NetworkConfig(widths=(8, 16, 24, 32), depths=(1, 1, 1), pooled=(8, 24), dim=32),
            export_size=64,
            windows_size=96,
            programs=24,
            picture_size=64,
            pairs=16,
            phases=(Phase(until=1, size=64),),
            warm_up_steps=5,
            strength_from=0.1,
            strength_to=0.1,
            ema=0.9,
            held_out_programs=8,
        ),
    }
)
