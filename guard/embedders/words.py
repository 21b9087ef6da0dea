"""Words -> descriptors beside those of pictures, by the text tower of a CLIP. Knows tokens and two runtimes; no index.

One text at a time and unpadded, so that a descriptor does not depend on what else was asked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from guard.embedders.base import unit_rows
from guard.embedders.models import MODELS, fetched, model_folder
from guard.errors import CheckError, ConfigError, MissingExtraError

if TYPE_CHECKING:
    from guard.types import Descriptors

__all__ = ["OrtWords", "TransformersWords", "WordEmbedder", "load_words"]

CONTEXT = 77  # tokens of every published CLIP, those of begin and end included; fewer where its tokenizer says so
TOKENIZER = "tokenizer.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_END = "<|endoftext|>"


class WordEmbedder(Protocol):
    @property
    def dim(self) -> int: ...

    @property
    def weights_sha256(self) -> str:
        """Of the file that holds both towers, as the picture embedder's spec has it; "" if this tower has its own."""
        ...

    def embed_words(self, words: str) -> Descriptors:
        """Return (1, dim) of unit norm, to be compared with pictures of the same CLIP. Text beyond the model's
        context is cut. Raises CheckError(stage="embed") if the runtime fails."""
        ...


def load_words(name: str) -> WordEmbedder:
    """Load a text tower; nothing is downloaded.

    name: a CLIP of the model list ("clip-vit-base-patch32", fetched before), "onnx:/path/text_model.onnx" with a
    tokenizer.json beside it or one folder up, or a folder with config.json, tokenizer and weights.
    Raises ConfigError if it is none of these, MissingExtraError without the packages that run it.
    """
    kind, _, path = name.partition(":")
    if kind == "onnx" and path:
        return OrtWords(path)
    if name in MODELS:
        if MODELS[name].loader != "transformers" or not name.startswith("clip"):
            raise ConfigError(f"{name!r} has no text tower; words need a CLIP, e.g. clip-vit-base-patch32")
        if not fetched(name):
            raise ConfigError(f"the files of {name!r} are not all in {model_folder(name)}; fetch them: "
                              f"{MODELS[name].fetch_command}")  # fmt: skip
        return TransformersWords(model_folder(name))
    if Path(name).is_dir():
        return TransformersWords(name)
    known = ", ".join(n for n, card in MODELS.items() if card.loader == "transformers" and n.startswith("clip"))
    raise ConfigError(f"no text tower {name!r}; known: {known}, onnx:FILE, or a model's folder")


class TransformersWords:
    """The text tower of a CLIP folder, run by transformers on the CPU."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        weights = next((folder / file for file in WEIGHT_FILES if (folder / file).is_file()), None)
        if weights is None or not (folder / "config.json").is_file():
            raise ConfigError(
                f"{folder} is not a model folder: it needs config.json and one of {', '.join(WEIGHT_FILES)}"
            )
        try:
            import transformers
        except ImportError as exc:
            raise MissingExtraError("a CLIP text tower", extra="diffusers") from exc
        from guard.embedders.files import sha256_of

        said = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()  # it would list the picture tower's weights as unexpected
        try:
            model: Any = transformers.CLIPTextModelWithProjection.from_pretrained(folder, local_files_only=True)
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as exc:
            raise ConfigError(f"transformers cannot load the text tower of {folder.name}: {exc}") from exc
        finally:
            transformers.logging.set_verbosity(said)
        self._model = model.eval()
        self._context = int(model.config.max_position_embeddings)
        self.dim = int(model.config.projection_dim)
        self.weights_sha256 = sha256_of(weights)

    def embed_words(self, words: str) -> Descriptors:
        """See WordEmbedder."""
        import torch

        tokens = self._tokenizer([words], truncation=True, max_length=self._context, return_tensors="pt")
        try:
            with torch.inference_mode():
                rows = self._model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).text_embeds
        except Exception as exc:  # the seam: torch raises RuntimeError, IndexError, ...
            raise CheckError(f"the text tower failed: {exc}", stage="embed", reason=type(exc).__name__) from exc
        return unit_rows(rows.float().numpy())


class OrtWords:
    """A text tower as an ONNX file: input_ids (1, tokens) int64, attention_mask if it asks for one -> (1, dim)."""

    weights_sha256 = ""

    def __init__(self, path: str | Path, *, tokenizer: str | Path | None = None) -> None:
        """tokenizer: its tokenizer.json; None looks beside the file and one folder up.

        Raises ConfigError for inputs or outputs that are no text tower's.
        """
        path = Path(path)
        self._tokenizer, context = _tokenizer(path, tokenizer)
        try:
            import onnxruntime as ort
        except ImportError as exc:
            raise MissingExtraError("an ONNX text tower", extra="cpu") from exc
        try:
            self._session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as exc:  # onnxruntime has a class for each cause and no common base
            raise ConfigError(f"{path} cannot be opened as ONNX: {exc}") from exc
        inputs = {i.name: i for i in self._session.get_inputs()}
        if "input_ids" not in inputs or set(inputs) - {"input_ids", "attention_mask"}:
            raise ConfigError(f"{path.name} has inputs {sorted(inputs)}; a text tower has input_ids and attention_mask")
        length = inputs["input_ids"].shape[1]
        self._length = length if isinstance(length, int) else None
        self._tokenizer.enable_truncation(self._length or context)
        self._masked = "attention_mask" in inputs
        outputs = {o.name: o for o in self._session.get_outputs()}
        flat = [name for name, output in outputs.items() if len(output.shape) == 2]
        if not flat:
            raise ConfigError(f"{path.name} has no output (n, dim); it has {sorted(outputs)}")
        self._output = "text_embeds" if "text_embeds" in flat else flat[0]
        self.dim = int(self.embed_words("a").shape[1])

    def embed_words(self, words: str) -> Descriptors:
        """See WordEmbedder."""
        ids = self._tokenizer.encode(words).ids
        mask = [1] * len(ids)
        if self._length is not None:
            missing = self._length - len(ids)
            ids, mask = ids + [self._tokenizer.token_to_id(_END) or 0] * missing, mask + [0] * missing
        feed = {"input_ids": np.array([ids], np.int64)}
        if self._masked:
            feed["attention_mask"] = np.array([mask], np.int64)
        try:
            rows = self._session.run([self._output], feed)[0]
        except Exception as exc:
            raise CheckError(f"the text tower failed: {exc}", stage="embed", reason=type(exc).__name__) from exc
        return unit_rows(np.asarray(rows))


def _tokenizer(model: Path, named: str | Path | None) -> tuple[Any, int]:
    """The tokenizer, and how many tokens its model takes."""
    try:
        from tokenizers import Tokenizer
    except ImportError as exc:
        raise MissingExtraError("a CLIP text tower", extra="diffusers") from exc
    places = [Path(named)] if named else [model.parent / TOKENIZER, model.parent.parent / TOKENIZER]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ConfigError(f"{model.name} needs its tokenizer: put {TOKENIZER} beside it ({places[0]})")
    try:
        tokenizer = Tokenizer.from_file(str(found))
    except Exception as exc:  # a plain Exception, by the binding
        raise ConfigError(f"{found} cannot be read as a tokenizer: {exc}") from exc
    tokenizer.no_padding()
    return tokenizer, _context(found.with_name("tokenizer_config.json"))


def _context(config: Path) -> int:
    try:
        stated = json.loads(config.read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError, AttributeError):
        return CONTEXT
    return min(CONTEXT, int(stated)) if isinstance(stated, int | float) and stated >= 3 else CONTEXT
