"""The whole path of an image, from pixels to a verdict, on one page.

Knows the order of the stages, their deadline and what happens when one fails; each stage itself lives in a file of its
own. Counts, logs and withholds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from guard.cases import cases_of
from guard.decision import Reasoning, decide
from guard.embedders.views import embed_views
from guard.errors import DeadlineError, GuardError
from guard.identical import hash_batch
from guard.intake import convert, readable
from guard.lookup import at_this_moment, look_up, nearest_input, own_inputs, searched
from guard.pixels import ImageBatch, settle
from guard.stages import Clock, failed, translated
from guard.types import Verdict
from guard.workers import run_within

if TYPE_CHECKING:
    from guard.config import GuardConfig
    from guard.embedders.base import Embedder
    from guard.events.recorder import EventRecorder
    from guard.indexes.base import Index
    from guard.rules import Rules
    from guard.verification.examiner import Examiner

__all__ = ["Checking"]


@dataclass(frozen=True, slots=True, eq=False)
class Checking:
    """What the stages of one call need."""

    index: Index
    embedder: Embedder
    examiner: Examiner
    config: GuardConfig
    """As it is in force for this call."""
    rules: Callable[[], Rules]
    """Of that configuration; where it cannot be resolved, the images get ERROR verdicts."""
    events: EventRecorder | None = None
    """Is given the descriptors, where it keeps them."""
    on_count: Callable[[int], None] | None = None
    """Is told how many references the index holds at this moment."""

    def verdicts(
        self, count: int, images: Any, inputs: Any, traced: list[Reasoning] | None = None
    ) -> tuple[list[Verdict], Clock]:
        """Run the stages; out of time or broken, every image gets an ERROR verdict.

        count: of the images, before anything is converted. images, inputs: as `Guard.check` takes them. traced: gets
        how each verdict came about.
        """
        clock, config = Clock(), self.config
        try:
            # Here and not on the check's thread: a thread's fresh memory makes each conversion dearer.
            with clock("pixels"):
                batch, broken = convert(images)
                own = readable(inputs) if inputs is not None and config.own_input != "ignore" else None
                settle(images)
            run = partial(self._check, clock, batch, own, traced)
            verdicts = run() if config.deadline_s is None else _in_time(run, config.deadline_s, clock)
            for position in sorted(broken):
                verdicts.insert(position, failed(broken[position], "pixels"))
        except GuardError as exc:
            verdicts = [failed(exc, clock.stage)] * count
        return verdicts, clock

    def _check(
        self, clock: Clock, batch: ImageBatch, own: ImageBatch | None, traced: list[Reasoning] | None = None
    ) -> list[Verdict]:
        n, config = len(batch), self.config
        if n == 0:
            return []
        rules = self.rules()
        with clock("search"):
            index = at_this_moment(self.index)
            if self.on_count is not None:
                self.on_count(len(index))
        with clock("embed"):
            try:
                query = embed_views(self.embedder, batch, config.views)
            except Exception:
                if n == 1:
                    raise
                # One picture that the runtime cannot take must not cost the others their verdict.
                return [self._alone(clock, one, own) for one in batch.singles()]
            inputs = self.embedder.embed(own) if own is not None and len(own) else None
            hashed = hash_batch(index, batch, own) if rules.asks_hashes else None
        with clock("search"):
            wanted = max(config.top_k, config.verify_candidates) if config.verify else config.top_k
            nearest = searched(index, query, wanted)
            found = look_up(index, query, hashed, wanted, rules, nearest)
            near = None if inputs is None else nearest_input(index, query, inputs, nearest)
            echoed = own_inputs(near, hashed, config.own_input, n)
        with clock("verify" if config.verify else "decide"):
            left_s = None if config.deadline_s is None else config.deadline_s - sum(clock.seconds.values())
            cases = cases_of(batch, found, echoed, query.usable, rules, self.examiner, config, left_s=left_s)
        with clock("decide"):
            reasoned = [
                decide(case, rules, partial(self.examiner.compare, one) if case.detail is None else None)
                for case, one in zip(cases, batch.singles(), strict=True)
            ]
            if traced is not None:
                traced += reasoned
            verdicts = [one.verdict for one in reasoned]
            return verdicts if self.events is None else self.events.with_descriptors(verdicts, query.vectors)

    def _alone(self, clock: Clock, one: ImageBatch, own: ImageBatch | None) -> Verdict:
        try:
            return self._check(clock, one, own)[0]
        except GuardError as exc:
            return failed(exc, clock.stage)
        except Exception as exc:
            return failed(translated(exc, clock.stage), clock.stage)


def _in_time(run: Callable[[], list[Verdict]], deadline_s: float, clock: Clock) -> list[Verdict]:
    """Run what the conversion of the pixels has left of the deadline."""
    try:
        return run_within(max(0.0, deadline_s - clock.seconds["pixels"]), run)
    except TimeoutError:
        raise DeadlineError(stage=clock.stage, deadline_s=deadline_s) from None
