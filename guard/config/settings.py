"""The settings of the guard, their defaults and what each means. Knows no file, no environment and no host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from guard.config.policy import PolicyConfig
from guard.embedders.views import AskedViews, ViewKind
from guard.errors import ConfigError
from guard.events.config import EventsConfig
from guard.types import Mode
from guard.verification.examiner import CANDIDATES

__all__ = ["OPENING", "GuardConfig", "OnBlock", "SkipReason"]

OPENING = frozenset(
    {
        "device",
        "embedder",
        "events",
        "index_backend",
        "index_device",
        "index_key",
        "index_key_file",
        "index_memory",
        "originals",
    }
)
"""What no call of an open guard can change."""

OnBlock = Literal["replace", "blur", "drop", "raise"]
SkipReason = Literal["latent", "step_callback", "form"]


def _left_open_or(value: Any, plain: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, str) and value.strip().lower() == "auto":
        return "auto"
    try:
        return plain(value)
    except ValidationError:
        raise PydanticCustomError("left_open", "give true, false or auto") from None


def _as_it_is(value: Any) -> Any:
    return value


if TYPE_CHECKING:
    from guard.indexes.sealing import SealingKey

    Verify = bool | Literal["auto"]
else:  # no union: pydantic would complain of each of its members
    Verify = Annotated[bool, WrapValidator(_left_open_or), PlainSerializer(_as_it_is, return_type=Any)]


class GuardConfig(BaseModel):
    """All settings. Frozen; unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = Field(Mode.ENFORCE, description="enforce: act on a block; flag: report only; shadow: count only.")
    on_block: OnBlock | Callable[..., Any] = Field(
        "replace",
        description="What a block does to the picture: replace, blur, drop, raise, or (keyword only) a callable "
        "(image, verdict) -> image of the same form.",
    )
    on_error: Literal["open", "closed"] = Field(
        "closed",
        description="When the check itself fails: open releases the image, closed withholds it as a block would.",
    )
    deadline_s: float | None = Field(
        5.0, gt=0, description="Seconds that a check may add to a call; unset (none): no bound."
    )
    top_k: int = Field(5, ge=1, le=1000, description="Candidates asked of the index for each view of an image.")
    query_views: AskedViews = Field(
        "auto",
        description="How each image is looked up: one (as it is), windows (and in 14 parts, for copies that fill a "
        "part of it, embedded in one more pass), crops (the same parts, embedded one by one), turns (and in three "
        "quarter turns), levels (and with equalised channels, for copies in other levels, where the index has such "
        "rows), and crops with turns or levels or windows with levels, joined by +. auto: as the calibration was for "
        "policies with rates, else windows if the embedder has them, with levels if the index has, else one.",
    )
    verify: Verify = Field(
        "auto",
        description="Compare pixels with those of the candidates (thumbnails, or originals) before deciding; needs "
        "OpenCV. auto: where that can be done, of every candidate if it is quick, else of those that count anyway.",
    )
    verify_candidates: int = Field(
        CANDIDATES, ge=1, le=100, description="How many of an image's nearest references are looked at."
    )
    verify_margin: float = Field(
        2.0,
        ge=0,
        le=2,
        description="How far below policy.flag a candidate's similarity may lie to be compared; 2: as far as can be; "
        "0: pixels only confirm or refute what counts anyway.",
    )
    verify_budget_ms: float = Field(
        150.0,
        gt=0,
        description="Milliseconds that comparing may take for each image, and together at most half of what "
        "deadline_s has left; out of time, the similarity decides.",
    )
    originals: bool = Field(
        True,
        description="Compare pixels with a reference's own file where the index holds no thumbnail of it: in the "
        "folders that the index was built from, if it is there and unchanged.",
    )
    policy: PolicyConfig = Field(PolicyConfig(), description="Thresholds.")
    calibration_max_age_days: int = Field(
        180, ge=1, description="Days after which the index's calibration counts as stale."
    )
    own_input: Literal["allow", "flag", "ignore"] = Field(
        "allow",
        description="An output that is at least as close to the caller's own input image as to a training image "
        "is an echo, not memorisation: allow it, flag it, or ignore the input and decide as without.",
    )
    allow_unchecked: frozenset[SkipReason] = Field(
        frozenset(),
        description="Outputs that cannot be checked and are released all the same in mode enforce: "
        "latent, step_callback, form.",
    )
    frame_stride: int = Field(
        4, ge=1, description="Of a video, one frame in so many is checked; the last one always is."
    )
    embedder: str | None = Field(
        None,
        description="Embedder by name, or onnx:FILE or torchscript:FILE; unset: the one that the index names. "
        "It must be the one that the index was built with.",
    )
    index_backend: Literal["faiss", "torch"] = Field(
        "faiss", description="What searches the index: faiss, or torch for an exact product on index_device."
    )
    index_device: str | None = Field(
        None, description="Where the index is searched, e.g. cuda; with faiss this needs faiss-gpu; unset: the CPU."
    )
    index_memory: Literal["load", "map"] = Field(
        "load",
        description="load: the vectors in this process's own memory; map: in their file, mapped, so that processes "
        "share them and a second version costs nothing until it is searched (faiss on the CPU only).",
    )
    index_key_file: Path | None = Field(
        None,
        description="File with the key of sealed thumbnails: 32 bytes, or 64 hexadecimal digits.",
    )
    index_key: SecretStr | None = Field(None, description="That key itself, for the environment.")
    device: str | None = Field(None, description="Where the embedder runs, e.g. cpu or cuda:0; unset: its default.")
    log_decisions: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the allowed and skipped images of which a line goes to the logger guard.decisions; of "
        "all others one does. Unset (none): no lines at all.",
    )
    events: EventsConfig = Field(
        EventsConfig(), description="The decision log; none is kept unless events.path is set."
    )

    @property
    def views(self) -> ViewKind:
        """How each image is looked up. Of settings in force (guard.comparing); with "auto" that is not known here."""
        if self.query_views == "auto":
            raise ConfigError("query_views is auto: a guard knows what that is for its index")
        return self.query_views

    def sealing_key(self) -> SealingKey | None:
        """The key of sealed thumbnails; None if none is set. Raises ConfigError for what is no key."""
        if self.index_key is None and self.index_key_file is None:
            return None
        from guard.indexes.sealing import key_from, read_key

        if self.index_key is not None:
            return key_from(self.index_key.get_secret_value())
        return read_key(self.index_key_file or "")
