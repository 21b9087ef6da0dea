"""An ONNX file as an embedder, run by ONNX Runtime. Knows sessions, providers and bindings; no model by name.

A GPU provider that cannot be had is an error here: ONNX Runtime alone would fall back to the CPU
without a word. Tensors go in and come out by address (IO binding) where the session runs on their device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from guard.embedders.base import EmbedderSpec, Thresholds, unit_rows
from guard.embedders.files import sha256_of
from guard.embedders.preprocess import Preprocessing
from guard.errors import CheckError, ConfigError, MissingExtraError
from guard.extras import both_installed

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

    from guard.pixels import ImageBatch
    from guard.types import Descriptors

__all__ = ["METADATA_NAME", "METADATA_PREPROCESSING", "METADATA_SHA256", "PROVIDERS", "OrtEmbedder"]

METADATA_NAME = "memguard_name"
METADATA_PREPROCESSING = "memguard_preprocessing"
METADATA_SHA256 = "memguard_weights_sha256"
"""Keys in the file's own metadata. The last one lets a file share the identity of the weights it was made from."""

PROVIDERS: dict[str, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),  # CUDA for what TensorRT cannot run
}
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OrtEmbedder:
    """Descriptors from an ONNX file with one image input (n, 3, size, size) and an output (n, dim)."""

    def __init__(
        self,
        path: str | Path,
        *,
        preprocessing: Preprocessing | str | None = None,
        provider: Literal["cpu", "cuda", "tensorrt"] | None = None,
        device: str | None = None,
        name: str | None = None,
        output: str | None = None,
        max_batch: int = 32,
        threads: int = 0,
        provider_options: Mapping[str, Any] | None = None,
        thresholds: Thresholds | None = None,
    ) -> None:
        """Open the file and run it once, so that nothing is left to fail at the first picture.

        preprocessing: a record, its canonical text, or None to take it from the file's metadata.
        provider, device: "cuda:1" alone means provider "cuda" there; neither means the CPU.
        max_batch: rows of one run; more are cut into several. threads: of one run; 0 leaves it to the runtime.
        Raises ConfigError for a file, provider, input or output that does not fit; the text says which.
        """
        self._path = Path(path)
        self._provider, self._device_id = _placed(provider, device)
        if max_batch < 1:
            raise ConfigError(f"max_batch is {max_batch}; it must be at least 1")
        self._max_batch = max_batch
        self._session = self._open(threads, dict(provider_options or {}))
        metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self._preprocessing = self._chosen_preprocessing(preprocessing, metadata)
        self._input, self._dtype = self._checked_input()
        self._output = self._checked_output(output)
        self._spec = EmbedderSpec(
            name=name or metadata.get(METADATA_NAME) or self._path.stem,
            dim=self._probe(),
            input_size=self._preprocessing.size,
            preprocessing=str(self._preprocessing),
            weights_sha256=metadata.get(METADATA_SHA256) or sha256_of(self._path),
            thresholds=thresholds,
        )

    @property
    def spec(self) -> EmbedderSpec:
        return self._spec

    @property
    def provider(self) -> str:
        """Where it runs, for metrics: "ort-cpu", "ort-cuda", "ort-tensorrt"."""
        return f"ort-{self._provider}"

    def embed(self, batch: ImageBatch) -> Descriptors:
        """(n, dim): a tensor on the batch's device if the session runs there, otherwise an array."""
        if batch.tensor is not None and self._runs_on(batch.tensor):
            return self._embed_bound(batch.tensor)  # type: ignore[no-any-return]
        parts = [self._run(x) for x in self._inputs(batch)]
        return np.concatenate(parts) if parts else np.empty((0, self._spec.dim), np.float32)

    def _inputs(self, batch: ImageBatch) -> Iterator[Any]:
        for start in range(0, len(batch), self._max_batch):
            rows = slice(start, start + self._max_batch)
            if batch.tensor is not None:  # resized where it is, since the small picture is cheaper to copy
                yield self._preprocessing.tensor(batch.tensor[rows]).cpu().numpy()
            else:
                yield self._preprocessing.arrays(batch.as_arrays()[rows])

    def _run(self, x: Any) -> Descriptors:
        with _translated():
            raw = self._session.run([self._output], {self._input: x.astype(self._dtype, copy=False)})[0]
        return unit_rows(raw)

    def _runs_on(self, tensor: Tensor) -> bool:
        if tensor.device.type == "cpu":
            return self._provider == "cpu"
        return tensor.device.type == "cuda" and self._provider != "cpu" and tensor.device.index == self._device_id

    def _embed_bound(self, tensor: Tensor) -> Any:
        import torch

        wide = torch.float16 if self._dtype is np.float16 else torch.float32
        out = torch.empty((len(tensor), self._spec.dim), device=tensor.device, dtype=torch.float32)
        for start in range(0, len(tensor), self._max_batch):
            rows = slice(start, start + self._max_batch)
            x = self._preprocessing.tensor(tensor[rows]).to(wide)
            y = torch.empty((len(x), self._spec.dim), device=x.device, dtype=self._output_dtype(torch))
            if x.device.type == "cuda":
                torch.cuda.current_stream(x.device).synchronize()  # the runtime has a stream of its own
            with _translated():
                binding = self._session.io_binding()
                device = x.device.type, self._device_id if x.device.type == "cuda" else 0
                binding.bind_input(self._input, *device, self._dtype, tuple(x.shape), x.data_ptr())
                binding.bind_output(self._output, *device, self._out_type, tuple(y.shape), y.data_ptr())
                self._session.run_with_iobinding(binding)
                binding.synchronize_outputs()
            out[rows] = y.float()
        if not bool(torch.isfinite(out).all()):
            raise CheckError("the embedder returned NaN or infinity", stage="embed", reason="not_finite")
        norms = out.norm(dim=1, keepdim=True)
        if not bool((norms > 0).all()):
            raise CheckError("the embedder returned a row of zeros", stage="embed", reason="zero_norm")
        return out / norms

    def _output_dtype(self, torch: ModuleType) -> Any:
        return torch.float16 if self._out_type is np.float16 else torch.float32

    # -- what is checked when the file is opened ------------------------------------------------

    def _open(self, threads: int, provider_options: dict[str, Any]) -> Any:
        ort = _onnxruntime()
        if self._provider not in PROVIDERS:
            raise ConfigError(f"provider {self._provider!r} is unknown; known: {', '.join(PROVIDERS)}")
        if not self._path.is_file():
            raise ConfigError(f"no ONNX file at {self._path}")
        wanted = PROVIDERS[self._provider]
        if wanted[0] not in ort.get_available_providers():
            raise ConfigError(self._missing_provider(f"it offers {', '.join(ort.get_available_providers())}"))
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Between two runs the cores are for others: decoders, an event loop, the pipeline.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3  # errors; they come as exceptions too
        own = [{"device_id": self._device_id}] if self._provider != "cpu" else [{}]
        own[0].update(provider_options)
        if len(wanted) > 1:
            own.append({"device_id": self._device_id})
        try:
            session = ort.InferenceSession(str(self._path), options, providers=list(zip(wanted, own, strict=True)))
        except Exception as exc:
            raise ConfigError(f"ONNX Runtime cannot open {self._path.name} on {self._provider!r}: {exc}") from exc
        if session.get_providers()[0] != wanted[0]:
            raise ConfigError(self._missing_provider(f"the session fell back to {session.get_providers()[0]}"))
        session.disable_fallback()  # or a provider that fails in the middle of a run is swapped for the CPU, on stdout
        return session

    def _missing_provider(self, found: str) -> str:
        cure = both_installed("onnxruntime", "onnxruntime-gpu") or "install the extra 'gpu' and matching CUDA libraries"
        return (
            f"provider {self._provider!r} was asked for, and this ONNX Runtime cannot run it here ({found}); "
            f"{cure}, or ask for provider 'cpu'"
        )

    def _chosen_preprocessing(self, given: Preprocessing | str | None, metadata: dict[str, str]) -> Preprocessing:
        given = given or metadata.get(METADATA_PREPROCESSING)
        if given is None:
            raise ConfigError(
                f"{self._path.name} does not say how pictures are prepared for it; give preprocessing=, "
                f"such as '{Preprocessing(288)}', or write it into the file's metadata as {METADATA_PREPROCESSING}"
            )
        return Preprocessing.parse(given) if isinstance(given, str) else given

    def _checked_input(self) -> tuple[str, Any]:
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ConfigError(f"{self._path.name} has {len(inputs)} inputs; an embedder needs exactly one, the picture")
        found, size = inputs[0], self._preprocessing.size
        if found.type not in TYPES:
            raise ConfigError(f"input {found.name!r} of {self._path.name} is {found.type}; needed: float or float16")
        shape = list(found.shape)
        if len(shape) != 4 or not all(_fits(d, s) for d, s in zip(shape[1:], (3, size, size), strict=True)):
            raise ConfigError(
                f"input {found.name!r} of {self._path.name} has shape {shape}; needed: (n, 3, {size}, {size})"
            )
        if isinstance(shape[0], int):
            if shape[0] != 1:
                raise ConfigError(
                    f"the batch of {self._path.name} is fixed at {shape[0]}; export it with a dynamic batch"
                )
            self._max_batch = 1
        return found.name, TYPES[found.type]

    def _checked_output(self, name: str | None) -> str:
        outputs = {o.name: o for o in self._session.get_outputs()}
        name = name or next(iter(outputs))
        if name not in outputs:
            raise ConfigError(f"{self._path.name} has no output {name!r}; it has {', '.join(outputs)}")
        if outputs[name].type not in TYPES:
            raise ConfigError(f"output {name!r} of {self._path.name} is {outputs[name].type}; needed: float or float16")
        self._out_type = TYPES[outputs[name].type]
        return name

    def _probe(self) -> int:
        size = self._preprocessing.size
        picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
        x = self._preprocessing.arrays([picture]).astype(self._dtype)
        try:
            raw = self._session.run([self._output], {self._input: x})[0]
        except Exception as exc:
            raise ConfigError(f"{self._path.name} cannot run on (1, 3, {size}, {size}): {exc}") from exc
        if raw.ndim != 2 or raw.shape[0] != 1:
            raise ConfigError(f"output {self._output!r} of {self._path.name} has shape {raw.shape}; needed: (n, dim)")
        return int(raw.shape[1])


class _translated:  # noqa: N801 - reads as a statement
    """What the runtime raises becomes CheckError(stage="embed")."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, tb: object) -> None:
        if isinstance(exc, Exception) and not isinstance(exc, CheckError):
            raise CheckError(f"ONNX Runtime failed: {exc}", stage="embed", reason=type(exc).__name__) from exc


def _placed(provider: str | None, device: str | None) -> tuple[str, int]:
    kind, _, number = (device or "").partition(":")
    if kind not in ("", "cpu", "cuda") or (number and not number.isdigit()):
        raise ConfigError(f"device {device!r} is unknown; known: cpu, cuda, cuda:1 …")
    if provider is None:
        provider = kind or "cpu"
    elif kind and (kind == "cpu") != (provider == "cpu"):
        raise ConfigError(f"provider {provider!r} does not run on device {device!r}")
    return provider, int(number or 0)


def _fits(found: int | str | None, wanted: int) -> bool:
    return not isinstance(found, int) or found == wanted  # a name or None is a dynamic side


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as exc:
        raise MissingExtraError("an ONNX embedder", extra="cpu") from exc
    module: ModuleType = onnxruntime
    return module
