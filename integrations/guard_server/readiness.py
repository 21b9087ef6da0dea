"""What must hold before this process should be asked. Each condition is `ok` or a sentence; knows no HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard_server.service import Service

if TYPE_CHECKING:
    from guard.guard import Guard

__all__ = ["readiness"]


def readiness(service: Service) -> dict[str, str]:
    guard = service.guard
    checks = {"index": "ok" if guard.index.manifest.count else "the index is empty", "provider": _provider(guard)}
    canary = service.watch.canary
    return checks if canary is None else {**checks, "canary": canary}


def _provider(guard: Guard) -> str:
    """ONNX Runtime refuses to fall back when it is opened; an embedder of another kind might not."""
    wanted = (guard.config.device or "").partition(":")[0]
    used = getattr(guard.embedder, "provider", "cpu")
    on_gpu = any(word in used for word in ("cuda", "tensorrt", "rocm", "mps"))
    if wanted and (wanted != "cpu") != on_gpu:
        return f"device {wanted} is configured, and the embedder runs on {used}"
    return "ok"
