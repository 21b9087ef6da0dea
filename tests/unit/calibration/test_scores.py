"""Clean pictures and references looked up, against the plain answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard.calibration.clean import score_clean
from guard.calibration.references import leave_one_out
from guard.calibration.scored import design_effect
from guard.errors import ConfigError
from guard.indexes.builder import build_index
from guard.indexes.store import open_index
from guard.indexes.transforming import transform_index
from tests.support.references import jpeg, photo_folder
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()
N = 40


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 40 pictures, the first of which stands there three times: as it is, again, and darker."""
    root = tmp_path_factory.mktemp("scores")
    photos = photo_folder(root / "photos", N)
    (photos / "again.jpg").write_bytes(jpeg(0))
    darker = Image.eval(picture(0), lambda level: round(0.9 * level))
    darker.save(photos / "darker.png")
    build_index(photos, root / "plain.index", TOY)
    build_index(photos, root / "regions.index", TOY, regions=True)
    build_index(photos, root / "whitened.index", TOY, hashes=False)
    transform_index(root / "whitened.index", whiten=True)
    return root


@pytest.mark.parametrize("name", ["plain", "whitened", "regions"])
def test_leave_one_out_is_the_best_of_the_others(root: Path, name: str) -> None:
    with open_index(root / f"{name}.index") as index:
        scored = leave_one_out(index)
        records = index.records(range(N + 2))
        first = {"0000.jpg", "again.jpg", "darker.png"}
        group = [0 if r.uri in first else 1 + i for i, r in enumerate(records)]
        folder = root / "photos"
        rows = TOY.embed(_batch([folder / r.uri for r in records]))
        similarity = index.similarity(rows, range(N + 2))
        expected = [
            max(similarity[q, r] for r in range(N + 2) if group[r] != group[q])
            for q in range(N + 2)
            if records[q].uri not in first - {"0000.jpg"}
        ]
        assert scored.left_out == {"duplicate": 2}
        np.testing.assert_allclose(scored.similarities[:, 0], expected, atol=1e-5)
        assert (np.diff(scored.similarities, axis=1) <= 0).all()


def test_a_lower_bar_takes_more_for_duplicates(root: Path) -> None:
    with open_index(root / "plain.index") as index:
        most = leave_one_out(index).similarities[:, 0].max()
        lowered = leave_one_out(index, duplicate=float(most) - 1e-3)
        assert lowered.similarities[:, 0].max() < most
        assert lowered.left_out["duplicate"] > 2


def test_references_that_are_all_one_picture_are_no_strangers(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(40):  # more than are looked at first
        (tmp_path / "photos" / f"{i}.jpg").write_bytes(jpeg(0))
    (tmp_path / "photos" / "other.jpg").write_bytes(jpeg(1))
    build_index(tmp_path / "photos", tmp_path / "x.index", TOY)
    with open_index(tmp_path / "x.index") as index:
        scored = leave_one_out(index)
        assert scored.left_out == {"duplicate": 39}
        assert scored.similarities.shape == (2, 16)
        assert scored.similarities[0, 0] == pytest.approx(scored.similarities[1, 0])
        assert scored.design_effect == 1  # of a tenth, one query


def test_a_seeded_choice_of_the_references_asks(root: Path) -> None:
    with open_index(root / "plain.index") as index:
        some, again, others = (leave_one_out(index, limit=10, seed=seed) for seed in (1, 1, 2))
        assert len(some.similarities) <= 10
        assert np.array_equal(some.similarities, again.similarities)
        assert not np.array_equal(some.similarities, others.similarities)


def test_crops_are_looked_up_where_the_index_holds_them(root: Path) -> None:
    with open_index(root / "regions.index") as regions, open_index(root / "plain.index") as plain:
        crops, whole = leave_one_out(regions, query_views="crops"), leave_one_out(regions)
        assert (crops.similarities[:, 0] >= whole.similarities[:, 0] - 1e-6).all()
        assert (crops.similarities[:, 0] > whole.similarities[:, 0] + 1e-3).any()
        with pytest.raises(ConfigError, match="query_views = 'crops'"):
            leave_one_out(plain, query_views="crops")
        with pytest.raises(ConfigError, match="'turns'"):
            leave_one_out(regions, query_views="turns")
        with pytest.raises(ConfigError, match="'levels'"):
            leave_one_out(plain, query_views="levels")
        levels, every = (leave_one_out(regions, query_views=kind) for kind in ("levels", "crops+levels"))
        assert (levels.similarities[:, 0] >= whole.similarities[:, 0] - 1e-6).all()
        assert (levels.similarities[:, 0] > whole.similarities[:, 0] + 1e-3).any()
        best = np.maximum(levels.similarities[:, 0], crops.similarities[:, 0])
        np.testing.assert_allclose(every.similarities[:, 0], best, atol=1e-6)


def test_packed_bits_are_refused(tmp_path: Path) -> None:
    from guard.embedders.pdq import PdqEmbedder

    build_index(photo_folder(tmp_path / "photos", 3), tmp_path / "x.index", PdqEmbedder())
    with (
        open_index(tmp_path / "x.index") as index,
        pytest.raises(ConfigError, match=r"give clean pictures \(--clean\)"),
    ):
        leave_one_out(index)


def test_clean_pictures_are_looked_up_as_a_check_does(root: Path, tmp_path: Path) -> None:
    from guard import Guard, Policy

    for seed in range(100, 120):
        picture(seed).save(tmp_path / f"{seed}.png")
    (tmp_path / "copy.jpg").write_bytes(jpeg(3))  # the bytes of a reference
    darker = Image.eval(picture(5), lambda level: round(0.9 * level))
    darker.save(tmp_path / "darker.png")  # identical by PDQ
    (tmp_path / "damaged.png").write_bytes((tmp_path / "100.png").read_bytes()[:60])
    guard = Guard.open(root / "plain.index", embedder=TOY, policy=Policy(flag=1.0, block=1.0), query_views="turns")
    assert not isinstance(guard.index, str)
    with open_index(root / "plain.index") as index:
        scored = score_clean(index, tmp_path, TOY, query_views="turns")
    assert scored.left_out == {"reference": 1}
    assert [skip.uri for skip in scored.skips] == ["damaged.png"]
    assert [u for u, same in zip(scored.uris, scored.identical, strict=True) if same] == ["darker.png"]
    report = guard.check([Image.open(tmp_path / uri) for uri in scored.uris])
    nearest = [max(match.similarity for match in verdict.matches) for verdict in report]
    np.testing.assert_allclose(scored.similarities[:, 0], nearest, atol=1e-5)
    sample = scored.sample()
    assert (sample.n, sample.identical) == (21, 1)


def test_hashes_that_do_not_count_are_not_looked_up(root: Path, tmp_path: Path) -> None:
    Image.eval(picture(5), lambda level: round(0.9 * level)).save(tmp_path / "darker.png")
    with open_index(root / "plain.index") as index:
        assert not score_clean(index, tmp_path, TOY, hashes=False).identical.any()


def test_descriptors_are_no_clean_pictures(root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.eye(2, TOY.spec.dim, dtype=np.float32))
    with open_index(root / "plain.index") as index, pytest.raises(ConfigError, match="needed as pictures"):
        score_clean(index, tmp_path / "rows.npy", TOY)


def test_pairs_that_find_each_other_count_once() -> None:
    queries = np.arange(20)
    mutual = queries ^ 1
    assert design_effect(queries, mutual, np.repeat(np.arange(10, 0, -1), 2).astype(np.float32)) == 2
    assert design_effect(queries, np.full(20, 99), np.ones(20, np.float32)) == 1


def _batch(paths: list[Path]):  # type: ignore[no-untyped-def]
    from guard.decode import decode
    from guard.pixels import ImageBatch

    return ImageBatch(arrays=tuple(decode(path).rgb for path in paths))
