"""The network of CopyNCE's published descriptor: a ViT and a linear head. Knows layers; no weights.

Source: Lu et al., ICCV 2025 (arXiv:2602.17484); names and sizes of the layers follow the state dict of
its reference code (Apache-2.0, github.com/eddielyc/CopyNCE), so that its checkpoint fits. Written here
from that description; not run with the published checkpoint yet (it can only be fetched by hand).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CopyNceDescriptor", "copynce_vit"]

NORM_EPS = 1e-4  # as in the reference code, not the usual 1e-6


def copynce_vit(
    image_size: int = 224, patch_size: int = 16, width: int = 384, depth: int = 12, heads: int = 6, dim: int = 512
) -> nn.Module:
    """Return the ViT-S descriptor with its defaults; (n, 3, image_size, image_size) -> (n, dim), unit norm."""
    return CopyNceDescriptor(image_size, patch_size, width, depth, heads, dim)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(n, tokens, width))
        return projected


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class _Patches(nn.Module):
    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        grid: Tensor = self.proj(x)
        return grid.flatten(2).transpose(1, 2)


class _Encoder(nn.Module):
    def __init__(self, image_size: int, patch_size: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, (image_size // patch_size) ** 2 + 1, width) * 0.02)
        self.patch_embed = _Patches(width, patch_size)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return x[:, 0]  # the class token; this encoder has no last norm


class _LinearHead(nn.Module):
    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, dim, bias=False)
        self.bn = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.bn(self.fc1(x)), dim=1)


class CopyNceDescriptor(nn.Module):
    def __init__(self, image_size: int, patch_size: int, width: int, depth: int, heads: int, dim: int) -> None:
        super().__init__()
        self.encoder = _Encoder(image_size, patch_size, width, depth, heads)
        self.heads = nn.ModuleDict({"linear_head": _LinearHead(width, dim)})

    def forward(self, x: Tensor) -> Tensor:
        descriptor: Tensor = self.heads["linear_head"](self.encoder(x))
        return descriptor
