"""Latents that a pipeline hands out -> the pictures that they stand for. Knows stock pipelines' VAEs; no guard.

Only pipelines whose decoding was read in their source (diffusers 0.42) are decoded: a wrong scale or
order would give a picture that matches nothing, and so a check that says "allow" without having looked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from guard_diffusers.outputs import beside, is_tensor, put_beside
from guard_diffusers.tensors import package_of, processor_of

if TYPE_CHECKING:
    from torch import Tensor

    from guard_diffusers.arguments import CallArguments

__all__ = ["decode", "why_not", "without_latents", "zeroed"]

_PLAIN = frozenset(
    {
        *("aura_flow", "cogview3", "cogview4", "controlnet", "controlnet_hunyuandit", "controlnet_sd3"),
        *("hunyuandit", "kolors", "latent_consistency_models", "lumina", "lumina2", "pag", "pixart_alpha"),
        *("sana", "stable_diffusion", "stable_diffusion_3", "stable_diffusion_xl", "t2i_adapter"),
    }
)
"""(n, c, h, w); latents * std / scaling_factor + mean, or latents / scaling_factor + shift_factor."""
_PACKED = frozenset({"chroma", "flux"})
"""(n, h * w / 4, 4 * c), rows of 2 x 2 patches, then as above."""
_OWN_METHOD = frozenset({"animatediff", "cogvideo"})
"""Clips; the pipeline's `decode_latents` does all of it."""


def why_not(pipe: Any, latents: Any, call: CallArguments) -> str | None:
    """Why the latents of this call cannot be turned into the pictures that they stand for; None if they can."""
    end = call.get("denoising_end")
    if end is not None and end < 1:
        return f"they are unfinished (denoising_end = {end:g}); protect the pipeline that finishes them"
    package = package_of(type(pipe))
    vae = getattr(pipe, "vae", None)
    if vae is None or processor_of(pipe) is None or package not in _PLAIN | _PACKED | _OWN_METHOD:
        return f"how {type(pipe).__name__} decodes its latents is not known here"
    channels = vae.config.latent_channels
    if package in _PLAIN and (latents.ndim != 4 or latents.shape[1] != channels):
        return f"latents of shape {tuple(latents.shape)} do not fit a VAE of {channels} channels"
    if package in _PACKED:
        if "Kontext" in type(pipe).__name__:  # chooses another size than the caller's
            return f"the size of the pictures of {type(pipe).__name__} is not known"
        height, width = _size(pipe, call)
        patch = 2 * pipe.vae_scale_factor
        if latents.ndim != 3 or latents.shape[1] != (height // patch) * (width // patch):
            return f"latents of shape {tuple(latents.shape)} do not fit {width} x {height} px"
    return None


def decode(pipe: Any, latents: Tensor, call: CallArguments) -> Tensor:
    """Decode what `why_not` accepts: (n, 3, h, w), or (n, frames, 3, h, w) for clips, in [0, 1], on the VAE's device.

    The VAE and its offloading are left as the pipeline leaves them.
    """
    import torch

    package = package_of(type(pipe))
    processor = processor_of(pipe)
    with torch.no_grad(), _upcast(pipe.vae) as vae:
        latents = latents.to(vae.dtype)
        if package in _OWN_METHOD:
            pictures = processor.postprocess_video(pipe.decode_latents(latents), output_type="pt")
        else:
            if package in _PACKED:
                latents = pipe._unpack_latents(latents, *_size(pipe, call), pipe.vae_scale_factor)
            latents = _unscaled(latents, vae.config)
            image = vae.decode(latents.to(_device_for(vae, latents)), return_dict=False)[0]
            pictures = processor.postprocess(image, output_type="pt")
    pipe.maybe_free_model_hooks()
    return pictures  # type: ignore[no-any-return]


def zeroed(latents: Tensor, positions: Sequence[int]) -> Tensor:
    """A copy in which these are zeros, or the same tensor if there are none. A drawn notice has no latent."""
    if not positions:
        return latents
    latents = latents.clone()
    for i in positions:
        latents[i] = 0
    return latents


def without_latents(out: Any, withheld: Sequence[int], count: int) -> Any:
    """The output, with what stands beside withheld pictures in it zeroed: a VAE would bring them back from latents.

    out: an output object (written to) or a tuple (a new one), whose other items may be tensors of four dimensions
    and more. count: of the pictures; where the number of latents differs, all of them go.
    """
    for place, item in beside(out) if withheld else ():
        if is_tensor(item) and item.ndim >= 4:
            out = put_beside(out, place, zeroed(item, withheld if len(item) == count else range(len(item))))
    return out


def _unscaled(latents: Tensor, config: Any) -> Tensor:
    mean: Any = getattr(config, "latents_mean", None)
    std: Any = getattr(config, "latents_std", None)
    if mean is not None and std is not None:
        offset = latents.new_tensor(mean).view(1, -1, 1, 1)
        return latents * latents.new_tensor(std).view(1, -1, 1, 1) / float(config.scaling_factor) + offset
    return latents / float(config.scaling_factor) + float(getattr(config, "shift_factor", None) or 0.0)


def _size(pipe: Any, call: CallArguments) -> tuple[int, int]:
    """Height and width in px, as the pipeline chooses them where the caller gave none."""
    default = getattr(pipe, "default_sample_size", 0) * pipe.vae_scale_factor
    return call.get("height") or default, call.get("width") or default


@contextmanager
def _upcast(vae: Any) -> Iterator[Any]:
    """SDXL's VAE overflows in float16: float32 while it decodes, as its pipelines do."""
    import torch

    if not (vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False)):
        yield vae
        return
    vae.to(dtype=torch.float32)
    try:
        yield vae
    finally:
        vae.to(dtype=torch.float16)


def _device_for(vae: Any, latents: Tensor) -> Any:
    """Where the VAE wants its input, also while it is offloaded."""
    try:
        from diffusers.utils.torch_utils import get_module_execution_device
    except ImportError:  # before diffusers 0.42 the pipelines decoded where the latents were
        return latents.device
    return get_module_execution_device(vae)
