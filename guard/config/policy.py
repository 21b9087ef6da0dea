"""The table `policy` of the settings, and the Policy that it stands for. Knows what may be said; decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from guard.calibration.target import PREFIX, FalsePositiveRate
from guard.policy import IDENTICAL, CollectionPolicy, Identical, Policy
from guard.types import Decision

__all__ = ["CollectionConfig", "PolicyConfig", "said_by"]


def _rate_or(value: Any, similarity: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, FalsePositiveRate):
        return value
    if isinstance(value, str) and value.strip().lower().startswith(PREFIX[:-1]):
        return FalsePositiveRate.parse(value)
    try:
        return similarity(value)
    except ValidationError as exc:
        if not exc.errors()[0]["type"].startswith(("float_parsing", "float_type")):
            raise  # a number, but no similarity: pydantic names the bound
        raise PydanticCustomError("threshold", "give a similarity from -1 to 1, or a rate as fpr:1e-5") from None


def _spelt(value: Any) -> Any:
    return str(value) if isinstance(value, FalsePositiveRate) else value


if TYPE_CHECKING:
    Threshold = float | FalsePositiveRate
else:  # no union: pydantic would complain of each of its members
    Threshold = Annotated[float, Field(ge=-1, le=1), WrapValidator(_rate_or), PlainSerializer(_spelt, return_type=Any)]


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


def said_by(policy: Policy) -> dict[str, Any]:
    """What a policy sets, as a file would say it."""
    parts = ("flag", "block", "identical", "at_most")
    said: dict[str, Any] = {name: getattr(policy, name) for name in parts[:3] if getattr(policy, name) is not None}
    own = {
        collection: {name: getattr(one, name) for name in parts if getattr(one, name) is not None}
        for collection, one in policy.collections.items()
    }
    return {**said, "collections": own} if own else said
