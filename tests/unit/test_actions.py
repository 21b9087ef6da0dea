"""What a withheld image is replaced by, in each form that a host returns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from guard import Action, BlockedError, ConfigError, Decision, InputError, Report, Status, Verdict
from guard.actions import apply, placeholder
from tests.support.toys import picture

ACTIONS = {"replace": Action.REPLACED, "blur": Action.BLURRED}


def report(*actions: Action) -> Report:
    decisions = [Decision.BLOCK if a is not Action.RELEASED else Decision.ALLOW for a in actions]
    return Report(tuple(Verdict(Status.SUCCESS, d, action=a) for d, a in zip(decisions, actions, strict=True)))


def stack(n: int = 3) -> np.ndarray:
    return np.stack([np.asarray(picture(i), np.float32) / 255 for i in range(n)])


FORMS = {
    "np": stack(2),
    "bytes": (stack(2) * 255).astype(np.uint8),
    "pt": torch.from_numpy(stack(2)).permute(0, 3, 1, 2),
    "half": torch.from_numpy(stack(2)).permute(0, 3, 1, 2).half(),
}


def test_nothing_withheld_gives_back_the_same_object() -> None:
    images = [picture(0), picture(1)]
    assert apply(images, report(Action.RELEASED, Action.RELEASED), "replace") is images


@pytest.mark.parametrize("on_block", ["replace", "blur"])
def test_a_list_keeps_length_order_size_and_mode(on_block: str) -> None:
    images = [picture(0, 80, 64), picture(1).convert("L"), picture(2)]
    out = apply(images, report(Action.RELEASED, ACTIONS[on_block], Action.RELEASED), on_block)
    assert out[0] is images[0]
    assert out[2] is images[2]
    assert (out[1].size, out[1].mode) == (images[1].size, images[1].mode)
    assert np.abs(np.asarray(out[1], float) - np.asarray(images[1], float)).mean() > 5


@pytest.mark.parametrize("on_block", ["replace", "blur"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_an_array_keeps_shape_and_dtype_and_is_copied(on_block: str, dtype: type) -> None:
    images = (stack() * (255 if dtype is np.uint8 else 1)).astype(dtype)
    before = images.copy()
    out = apply(images, report(Action.RELEASED, Action.RELEASED, ACTIONS[on_block]), on_block)
    assert (out.shape, out.dtype) == (images.shape, images.dtype)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(out[:2], before[:2])
    assert np.abs(out[2].astype(float) - before[2].astype(float)).mean() > (5 if dtype is np.uint8 else 0.02)


def test_bytes_in_a_tensor_become_the_notice_that_an_array_becomes() -> None:
    array = (stack(2) * 255).astype(np.uint8)
    for action, on_block in ((Action.REPLACED, "replace"), (Action.BLURRED, "blur")):
        as_array = apply(array, report(action, Action.RELEASED), on_block)
        as_tensor = apply(torch.from_numpy(array).permute(0, 3, 1, 2), report(action, Action.RELEASED), on_block)
        np.testing.assert_array_equal(as_tensor.permute(0, 2, 3, 1).numpy(), as_array)
        assert as_array[0].std() > 1  # and not black


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_keeps_dtype_and_device(dtype: torch.dtype) -> None:
    images = torch.from_numpy(stack()).permute(0, 3, 1, 2).to(dtype)
    out = apply(images, report(Action.REPLACED, Action.RELEASED, Action.BLURRED), "replace")
    assert (out.shape, out.dtype, out.device) == (images.shape, images.dtype, images.device)
    assert torch.equal(out[1], images[1])
    assert not torch.equal(out[0], images[0])
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha_arrays_are_blurred_too(channels: int) -> None:
    images = np.random.default_rng(0).random((1, 64, 64, channels), np.float32)
    out = apply(images, report(Action.BLURRED), "blur")
    assert out.shape == images.shape
    assert out.std() < images.std()


def test_every_frame_of_a_withheld_video_goes() -> None:
    clips = [[picture(i) for i in range(3)], [picture(i + 3) for i in range(3)]]
    out = apply(clips, report(Action.RELEASED, Action.REPLACED), "replace")
    assert out[0] is clips[0]
    assert [frame.tobytes() for frame in out[1]] == [placeholder(64, 64).tobytes()] * 3
    array = np.zeros((2, 3, 32, 32, 3), np.float32)
    assert apply(array, report(Action.RELEASED, Action.REPLACED), "replace")[1].max() > 0


@pytest.mark.parametrize("on_block", ["replace", "blur"])
@pytest.mark.parametrize("form", ["pil", "grey", *FORMS])
def test_one_picture_alone(form: str, on_block: str) -> None:
    image = {"pil": picture(0), "grey": stack(1)[0, ..., 0]}[form] if form in ("pil", "grey") else FORMS[form][0]
    out = apply(image, report(ACTIONS[on_block]), on_block)
    assert type(out) is type(image)
    assert (out.size == image.size) if form == "pil" else (out.shape, out.dtype) == (image.shape, image.dtype)
    assert apply(image, report(Action.RELEASED), on_block) is image
    with pytest.raises(BlockedError) as blocked:
        apply(image, report(Action.RAISED), "raise")
    assert blocked.value.allowed == []


def test_what_has_no_form_cannot_be_replaced() -> None:
    with pytest.raises(InputError, match="a str cannot be replaced"):
        apply(["a path"], report(Action.REPLACED), "replace")


def test_drop_puts_none_in_a_list_and_nowhere_else() -> None:
    assert apply([picture(0), picture(1)], report(Action.DROPPED, Action.RELEASED), "drop")[0] is None
    with pytest.raises(ConfigError, match="drop"):
        apply(stack(1), report(Action.DROPPED), "drop")


def test_a_callable_gets_the_image_and_its_verdict() -> None:
    seen = []

    def stamp(image: Image.Image, verdict: Verdict) -> Image.Image:
        seen.append(verdict.decision)
        return Image.new("RGB", image.size)

    out = apply([picture(0)], report(Action.REPLACED), stamp)
    assert seen == [Decision.BLOCK]
    assert not np.asarray(out[0]).any()


@pytest.mark.parametrize("form", FORMS)
def test_a_callable_may_give_back_a_pil_image_for_an_array_or_tensor(form: str) -> None:
    images = FORMS[form]
    out = apply(
        images, report(Action.REPLACED, Action.RELEASED), lambda _image, _verdict: Image.new("RGB", (64, 64), "white")
    )
    assert (type(out), out.dtype, out.shape) == (type(images), images.dtype, images.shape)
    assert float(out[0].min()) == (255 if form == "bytes" else 1)
    assert (out[1] == images[1]).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_callable_that_writes_to_what_it_gets_does_not_write_to_the_pipelines_output(form: str) -> None:
    images = FORMS[form]
    before = images.copy() if isinstance(images, np.ndarray) else images.clone()

    def wipe(image, verdict):
        image[:] = 0
        return image

    out = apply(images, report(Action.REPLACED, Action.RELEASED), wipe)
    assert not out[0].any()
    assert (images == before).all()


@pytest.mark.parametrize("form", ["pil", *FORMS])
@pytest.mark.parametrize("made", [None, 0.5, np.zeros((32, 32, 3), np.float32), Image.new("RGB", (8, 8)), [0]])
def test_a_callable_that_gives_back_another_form_is_a_wrong_setting(form: str, made: object) -> None:
    images = [picture(0), picture(1)] if form == "pil" else FORMS[form]
    if form == "pil" and isinstance(made, Image.Image):
        return  # a list may hold pictures of any size
    with pytest.raises(ConfigError, match="on_block: the callable was given"):
        apply(images, report(Action.REPLACED, Action.RELEASED), lambda _image, _verdict: made)


def test_blur_leaves_nothing_to_recover() -> None:
    """Two pictures with the same coarse colours blur to nearly the same."""
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)
    out = apply([Image.fromarray(fine)], report(Action.BLURRED), "blur")[0]
    assert np.asarray(out, float).std() < 3


@pytest.mark.parametrize("size", [(16, 16), (64, 48), (96, 400), (1024, 768)])
def test_a_placeholder_has_any_size(size: tuple[int, int]) -> None:
    assert placeholder(*size).size == size
