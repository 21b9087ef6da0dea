"""Every setting of the guard, from file, environment and keywords, as one checked value. Reads nothing at import.

Later sources win: defaults < TOML file < environment (`MEMGUARD_MODE`, `MEMGUARD_POLICY__FLAG`) < keywords.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from guard.calibration.target import PREFIX, FalsePositiveRate
from guard.embedders.views import AskedViews, ViewKind
from guard.environment import misspelt, names_in, settings_in
from guard.errors import ConfigError
from guard.events.config import EventsConfig
from guard.policy import IDENTICAL, CollectionPolicy, Identical, Policy
from guard.types import Decision, Mode
from guard.verification.examiner import CANDIDATES

__all__ = [
    "TABLES",
    "GuardConfig",
    "OnBlock",
    "PolicyConfig",
    "SkipReason",
    "load_config",
    "load_table",
    "override",
]

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
TABLES = frozenset({"server"})
"""Tables of the same file and environment that belong to an integration; it reads its own with `load_table`."""
M = TypeVar("M", bound=BaseModel)

OnBlock = Literal["replace", "blur", "drop", "raise"]
SkipReason = Literal["latent", "step_callback", "form"]


def _rate_or(value: Any, similarity: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, FalsePositiveRate):
        return value
    if isinstance(value, str) and value.strip().lower().startswith(PREFIX[:-1]):
        return FalsePositiveRate.parse(value)
    return similarity(value)


def _left_open_or(value: Any, plain: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, str) and value.strip().lower() == "auto":
        return "auto"
    try:
        return plain(value)
    except ValidationError:
        raise PydanticCustomError("left_open", "give true, false or auto") from None


def _spelt(value: Any) -> Any:
    return str(value) if isinstance(value, FalsePositiveRate) else value


if TYPE_CHECKING:
    from guard.indexes.sealing import SealingKey

    Threshold = float | FalsePositiveRate
    Verify = bool | Literal["auto"]
else:  # not unions: pydantic would complain of each of their members
    Threshold = Annotated[float, Field(ge=-1, le=1), WrapValidator(_rate_or), PlainSerializer(_spelt, return_type=Any)]
    Verify = Annotated[bool, WrapValidator(_left_open_or), PlainSerializer(_spelt, return_type=Any)]


class CollectionConfig(BaseModel):
    """What differs for one collection."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flag: Threshold | None = Field(None, description="As policy.flag, of matches with this collection.")
    block: Threshold | None = Field(None, description="As policy.block, of matches with this collection.")
    identical: Identical | None = Field(None, description="As policy.identical, of this collection.")
    at_most: Decision | None = Field(
        None, description="The most severe decision that this collection alone can bring about: allow, flag or block."
    )

    def build(self) -> CollectionPolicy:
        return CollectionPolicy(self.flag, self.block, self.identical, self.at_most)


class PolicyConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    flag: Threshold | None = Field(
        None,
        description="Similarity from which an image is flagged, inclusive, or the false-positive rate that it shall "
        "keep (fpr:1e-3, by the index's calibration); unset: the embedder's own.",
    )
    block: Threshold | None = Field(
        None,
        description="Similarity from which an image is blocked, inclusive, or a rate (fpr:1e-5); unset: the embedder's "
        "own.",
    )

    identical: Identical = Field(
        IDENTICAL,
        description="What it counts as when PDQ calls an image identical to a reference (at most 31 of 256 bits "
        "differ, in any flip or quarter turn), whatever the similarity: block, flag or ignore. "
        "Needs an index with hashes.",
    )
    collections: dict[str, CollectionConfig] = Field(
        default_factory=dict,
        description="What differs for single collections: policy.collections.NAME.flag, block, identical, at_most.",
    )

    @model_validator(mode="after")
    def _fits(self) -> PolicyConfig:
        self.build()
        return self

    def build(self) -> Policy:
        """Raises ConfigError for values that cannot stand together."""
        own = {name: one.build() for name, one in self.collections.items()}
        return Policy(flag=self.flag, block=self.block, identical=self.identical, collections=own)


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
        "quarter turns), turns+crops. auto: as the calibration was for policies with rates, else windows if the "
        "embedder has them, else one.",
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


def load_config(
    source: GuardConfig | str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    **keywords: Any,
) -> GuardConfig:
    """Merge a TOML file (or a finished config), the environment and keywords into one config.

    environ: usually os.environ; None reads no environment. Nested fields use a double underscore.
    Raises ConfigError that names the field and the source of a value that does not fit.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    if isinstance(source, GuardConfig):
        _merge(merged, origin, source.model_dump(exclude_unset=True), "config")
    elif source is not None:
        _merge(merged, origin, _without_tables(_read_toml(Path(source))), str(source))
    _merge(merged, origin, _without_tables(_in_environment(environ)), "environment")
    _merge(merged, origin, keywords, "keyword")
    return _validated(GuardConfig, merged, origin)


def load_table(
    name: str,
    model: type[M],
    source: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    **keywords: Any,
) -> M:
    """The settings of an integration: one of TABLES in the same file and environment (`MEMGUARD_SERVER__PORT`).

    Later sources win, and what does not fit is a ConfigError, as with load_config.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for values, where in ((_read_toml(Path(source)) if source else {}, str(source)),
                          (_in_environment(environ), "environment")):  # fmt: skip
        table = values.get(name, {})
        if not isinstance(table, Mapping):
            raise ConfigError(f"{name} is a table of settings and not a value (from {where})")
        _merge(merged, origin, table, where)
    _merge(merged, origin, keywords, "keyword")
    return _validated(model, merged, origin, table=f"{name}.")


def override(config: GuardConfig, options: Mapping[str, Any] | None) -> GuardConfig:
    """Apply the options of one call. Raises ConfigError as load_config does."""
    if not options:
        return config
    if not isinstance(options, Mapping):
        raise ConfigError(f"guard_options is a {type(options).__name__}; give a mapping such as {{'mode': 'flag'}}")
    late = sorted(OPENING.intersection(options))
    if late:
        raise ConfigError(f"{late[0]} (from guard_options) is read when the guard is opened; a call cannot change it")
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    _merge(merged, origin, config.model_dump(exclude_unset=True), "config")
    _merge(merged, origin, dict(options), "guard_options")
    return _validated(GuardConfig, merged, origin)


def _in_environment(environ: Mapping[str, str] | None) -> dict[str, Any]:
    return settings_in(environ or {}, [*names_in(GuardConfig), *TABLES])


def _without_tables(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in TABLES}


def _validated(model: type[M], merged: dict[str, Any], origin: Mapping[str, str], table: str = "") -> M:
    try:
        return model.model_validate(merged)
    except ValidationError as exc:
        lines: list[str] = []
        known: list[str] = []
        for error in exc.errors():
            if error["type"] == "callable_type":
                continue  # of on_block; the line about its words is there too
            path = [str(part) for part in error["loc"] if str(part) in merged or "[" not in str(part)]
            field = ".".join(path) or "(config)"
            where = next((origin[f] for f in (field, path[0] if path else "") if f in origin), "")
            said, hint = error["msg"].removeprefix("Value error, "), ""  # pydantic's words before a sentence of ours
            if error["type"] == "extra_forbidden":
                said, meant = "there is no such setting", misspelt("__".join(path), names_in(model))
                hint = f"; did you mean {table}{meant.replace('__', '.')}?" if meant else ""
                known += [] if meant else _beside(path, model)
            named = said if said.startswith(f"{table}{field}") else f"{table}{field}: {said}"
            lines.append(named + (f" (from {where})" if where else "") + hint)
        settings = ", ".join(f"{table}{name}" for name in sorted(set(known)))
        raise ConfigError("; ".join(dict.fromkeys(lines)) + (f". Settings: {settings}" if settings else "")) from None


def _beside(path: Sequence[str], model: type[BaseModel]) -> list[str]:
    """The settings that stand where an unknown one stands."""
    found = (name.split("__") for name in names_in(model))
    return [".".join(name) for name in found if name[:-1] == [*path[:-1]]]


def _merge(
    into: dict[str, Any], origin: dict[str, str], values: Mapping[str, Any], source: str, path: str = ""
) -> None:
    for key, value in values.items():
        dotted = f"{path}{key}"
        if isinstance(value, Policy):
            value = _given(value)
        elif isinstance(value, BaseModel):
            value = value.model_dump(exclude_unset=True)
        if isinstance(value, Mapping):
            child = into.setdefault(key, {})
            if not isinstance(child, dict):
                child = into[key] = {}
            _merge(child, origin, value, source, f"{dotted}.")
        else:
            into[key] = value
        origin[dotted] = source


def _given(policy: Policy) -> dict[str, Any]:
    """What a policy sets, as a file would say it."""
    parts = ("flag", "block", "identical", "at_most")
    said: dict[str, Any] = {name: getattr(policy, name) for name in parts[:3] if getattr(policy, name) is not None}
    own = {
        collection: {name: getattr(one, name) for name in parts if getattr(one, name) is not None}
        for collection, one in policy.collections.items()
    }
    return {**said, "collections": own} if own else said


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"no such configuration file: {path}") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read as TOML: {exc}") from exc
