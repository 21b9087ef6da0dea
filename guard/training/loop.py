"""A training run from its first step to its weights. Knows the order of things; each thing is in a file of its own.

    bank -> feed -> network -> rows of all processes -> loss -> gradients of all processes -> optimiser -> EMA

Every process holds the same network and takes the same steps; the first one keeps the files.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guard.training.bank import build_bank, drawing
from guard.training.checkpoint import Curve, load_checkpoint, save_checkpoint
from guard.training.config import TrainingConfig
from guard.training.device.feed import Batch, DeviceFeed, on_device
from guard.training.feed import Feed
from guard.training.held_out import HeldOut
from guard.training.network import DescriptorNet, begin_from
from guard.training.objective import Loss, descriptor_loss
from guard.training.schedule import Moment, moment
from guard.training.team import Team, run_team

__all__ = ["Run", "bank_path", "train"]

LOG_EVERY = 10  # steps
FIRST_SHARE = 16  # of a bank is drawn before the first step, if the rest is drawn meanwhile
BFLOAT_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # as Linux names them; the last one on 64-bit Arm


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Exactly one of minutes and steps is its budget, which the schedule follows."""

    out: Path
    config: TrainingConfig
    seed: int = 0
    minutes: float | None = None
    """Of training, the making of the bank not counted; over all sessions of the run."""
    steps: int | None = None
    stop_after: int | None = None
    """Leave after this step, with a checkpoint, as a killed run would; for tests and for short sessions."""
    init: dict[str, Tensor] | None = None
    """Weights to begin from."""
    device: str = "cpu"
    processes: int = 1
    workers: int = 0
    """That make views, for each process; 0: it makes its own."""
    drawers: int = 0
    """Processes that go on drawing the bank while the run trains on what there is; 0: it is drawn before."""
    bank: Path | None = None
    """Where the bank lies; None: in `out`."""
    checkpoint_s: float = 120.0
    held_out_s: float = 900.0
    quiet: bool = True

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("a run needs a budget: either minutes or steps")
        if self.config.device_batches and self.processes > 1:
            raise ValueError("batches that the device makes are for runs of one process")


def bank_path(run: Run) -> Path:
    c = run.config
    return (run.bank or run.out) / f"bank_{run.seed}_{c.programs}_{c.picture_size}.npy"


def train(run: Run) -> dict[str, Any]:
    """Begin or resume the run in `run.out`, and return its last checkpoint (averaged weights under "ema")."""
    run.out.mkdir(parents=True, exist_ok=True)
    c = run.config
    shown = None if run.quiet else _print_progress
    makers = max(run.processes, run.workers + run.drawers)
    drawn: dict[str, Any] = {"size": c.picture_size, "seed": run.seed}
    until = max(c.pairs, c.programs // FIRST_SHARE) if run.drawers else None
    build_bank(bank_path(run), programs=c.programs, processes=makers, until=until, progress=shown, **drawn)
    if c.held_out_programs:
        HeldOut(run.bank or run.out, c, makers)  # draws its pictures with all processes
    numbers = sum(v.numel() for v in DescriptorNet(c.network).state_dict().values()) + 2 * c.pairs * c.network.dim
    with drawing(bank_path(run), processes=run.drawers, **drawn) if run.drawers else nullcontext():
        run_team(run.processes, numbers, _work, run)
    state = load_checkpoint(run.out)
    assert state is not None
    return state


def _print_progress(done: int, total: int) -> None:
    if done % 400 < 8 or done == total:
        print(f"bank: {done} of {total} programs", flush=True)


def _work(team: Team, run: Run) -> None:
    torch.backends.cudnn.benchmark = True  # a run has a handful of shapes
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // team.size) if run.device == "cpu" else 1)
    _Trainer(team, run).run()


class _Trainer:
    def __init__(self, team: Team, run: Run) -> None:
        self.team, self.config, self.options = team, run.config, run
        self.device = torch.device(run.device)
        torch.manual_seed(run.seed)
        self.network = DescriptorNet(run.config.network)
        if run.init is not None:
            begin_from(self.network, run.init)
        self.network.to(self.device)
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        vectors = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": run.config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=run.config.learning_rate, betas=(0.9, 0.98))
        self.step, self.views = 0, 0
        self.elapsed_s = self._before_s = self._started = self._progress = 0.0
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.half = _has_bfloat16(self.device)
        self._resume()

    def run(self) -> None:
        first = self.team.rank == 0
        run, c = self.options, self.config
        curve = Curve(run.out, self.step) if first else None
        held_out = HeldOut(run.bank or run.out, c, 1) if first and c.held_out_programs else None
        self._started, self._before_s = time.monotonic(), self.elapsed_s
        saved = checked = self._started
        losses: list[Loss] = []
        since, seen = self._started, self.views
        for batch in self._batches():
            self._progress = self.team.told(self._own_progress())
            if self._progress >= 1 or self.step == run.stop_after:
                break
            now = self._moment(self.step)
            losses.append(self._one_step(batch, now))
            if not first or curve is None:
                continue
            at = time.monotonic()
            if self.step % LOG_EVERY == 0:
                curve.write(self._line(losses, now, (self.views - seen) / max(at - since, 1e-6)))
                losses, since, seen = [], at, self.views
            if at - saved > run.checkpoint_s:
                self._save()
                saved = at
            if held_out is not None and at - checked > run.held_out_s:
                curve.write({"step": self.step, "views": self.views, **self._held_out(held_out)})
                checked = since = time.monotonic()
        if first and curve is not None:
            if held_out is not None and self._progress >= 1:
                curve.write({"step": self.step, "views": self.views, **self._held_out(held_out)})
            self._save()

    def _batches(self) -> Iterator[Batch]:
        """One that processors made, then those that the device makes, and so on."""
        c, run, every = self.config, self.options, self.config.device_batches + 1
        path, team = bank_path(run), self.team
        feed = Feed(c, path, run.seed, team.rank, team.size, run.workers)
        own = DeviceFeed(c, path, run.seed, self.device) if c.device_batches else None
        for part in feed.parts(self.step, self._moment, every):
            yield on_device(part, c, run.seed, team.size, self.device)
            for step in range(part.step + 1, part.step + every):
                assert own is not None
                yield own.batch(step, self._moment(step))

    def _own_progress(self) -> float:
        run = self.options
        self.elapsed_s = self._before_s + time.monotonic() - self._started
        if run.steps is not None:
            return self.step / run.steps
        assert run.minutes is not None
        return self.elapsed_s / (60 * run.minutes)

    def _moment(self, step: int) -> Moment:
        run = self.options
        progress = step / run.steps if run.steps is not None else self._progress
        return moment(self.config, progress, step, continued=run.init is not None)

    def _one_step(self, batch: Batch, now: Moment) -> Loss:
        c, team = self.config, self.team
        for group in self.optimizer.param_groups:
            group["lr"] = now.learning_rate
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            mine = self.network.through(batch.x, batch.windows)
        # parts may differ by a row or two when the pairs do not divide by the ranks: padded for the exchange
        counts = [2 * (c.pairs * (r + 1) // team.size - c.pairs * r // team.size) for r in range(team.size)]
        padded = torch.zeros(max(counts), mine.shape[1], device=mine.device)
        padded[: len(mine)] = mine.detach()
        everyone = list(team.gather(padded))
        rows = [mine if rank == team.rank else z[: counts[rank]] for rank, z in enumerate(everyone)]
        loss = descriptor_loss(torch.cat(rows), batch.shows, temperature=c.temperature, koleo=c.koleo)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        self._exchange()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), c.clip_norm)
        self.optimizer.step()
        self.step += 1
        self.views += 2 * c.pairs
        self._average()
        return replace(loss, total=loss.total.detach())

    def _exchange(self) -> None:
        """Gradients are summed (each process has those of the whole loss through its own rows), statistics averaged."""
        if self.team.size == 1:
            return
        grads = [p.grad for p in self.network.parameters() if p.grad is not None]
        statistics = [b for b in self.network.buffers() if b.is_floating_point()]
        flat = torch.cat([t.reshape(-1) for t in itertools.chain(grads, statistics)])
        everyone = self.team.gather(flat)
        summed, averaged = everyone.sum(0), everyone.mean(0)
        start = 0
        for tensors, source in ((grads, summed), (statistics, averaged)):
            for tensor in tensors:
                tensor.copy_(source[start : start + tensor.numel()].view_as(tensor))
                start += tensor.numel()

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.config.ema, self.step / (self.step + 20))
        for key, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.ema[key].lerp_(value, 1 - keep)
            else:
                self.ema[key].copy_(value)

    def _line(self, losses: list[Loss], now: Moment, rate: float) -> dict[str, float | int | str]:
        def mean(name: str) -> float:
            return float(torch.stack([getattr(loss, name) for loss in losses]).mean())

        return {
            "step": self.step - 1,
            "views": self.views,
            "progress": self._progress,
            "loss": mean("total"),
            **{name: mean(name) for name in ("contrast", "entropy", "accuracy", "positive", "nearest")},
            "learning_rate": now.learning_rate,
            "size": now.size,
            "strength": now.strength,
            "views_per_s": rate,
        }

    def _held_out(self, held_out: HeldOut) -> dict[str, float]:
        averaged = DescriptorNet(self.config.network).to(self.device)
        averaged.load_state_dict(self.ema)
        return held_out.measure(averaged, self.device)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "views": self.views,
            "progress": self._progress,
            "seed": self.options.seed,
            "config": self.config.model_dump_json(),
            "network": self.network.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
        }
        save_checkpoint(self.options.out, state)

    def _resume(self) -> None:
        state = load_checkpoint(self.options.out)
        if state is None:
            return
        if state["config"] != self.config.model_dump_json() or state["seed"] != self.options.seed:
            raise ValueError(f"{self.options.out} holds a run of another configuration or seed: choose another folder")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema = {key: value.to(self.device) for key, value in state["ema"].items()}
        self.step, self.elapsed_s, self.views = state["step"], state["elapsed_s"], state["views"]
        self._progress = state["progress"]


def _has_bfloat16(device: torch.device) -> bool:
    """Whether it is fast there, not only possible."""
    if device.type != "cpu":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    try:
        words = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        return False
    return any(flag in words for flag in BFLOAT_FLAGS)
