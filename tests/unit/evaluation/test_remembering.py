"""Guards that share an embedder: each batch is embedded once, and decided on as by a guard of its own."""

from __future__ import annotations

import numpy as np

from guard import Guard
from guard.config import GuardConfig
from guard.evaluation.remembering import Remembering
from guard.pixels import ImageBatch
from guard.types import Descriptors
from tests.support.toys import MemoryIndex, ToyEmbedder, picture


class Counting(ToyEmbedder):
    batches = 0

    def embed(self, batch: ImageBatch) -> Descriptors:
        self.batches += 1
        return super().embed(batch)


def test_guards_in_turn_embed_a_batch_once() -> None:
    index = MemoryIndex(ToyEmbedder(), {str(i): picture(i) for i in range(3)})
    counting = Counting()
    shared = Remembering(counting)
    guards = [Guard(index, shared, config=GuardConfig(verify=False)) for _ in range(3)]
    for seeds in ((0, 9), (1, 8)):
        some = [np.array(picture(seed)) for seed in seeds]
        alone = Guard(index, ToyEmbedder(), config=GuardConfig(verify=False)).check(some)
        for guard in guards:
            assert [v.nearest for v in guard.check(some)] == [v.nearest for v in alone]
    assert counting.batches == 2


def test_equal_pictures_of_another_batch_are_embedded_again() -> None:
    counting = Counting()
    shared = Remembering(counting)
    for _ in range(2):
        shared.embed(ImageBatch(arrays=(np.array(picture(0)),)))
    assert counting.batches == 2
