from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from accelerate.hooks import CpuOffload
from safetensors.torch import load_file

from ccsr.config import VARIANTS, ColorAlignment, SamplingConfig, TilingConfig
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.images.picture import Picture, PictureError, Size, picture_from_array
from ccsr.inference import stages
from ccsr.inference.estimate_cache import digest
from ccsr.inference.events import Progress, Restored
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.seeds import seeds_at_once
from ccsr.inference.sizes import target_size, working_size
from ccsr.inference.stages import PREVIEWS, is_previewed, preview_shrink
from tests.tiny import save_tiny_model, tiny_pipeline

FAST = SamplingConfig(num_steps=6)
KINDS = [("compact", False), ("compact-lr", True), ("dc", False), ("kl", False), ("kl", True)]


def noise_picture(height: int, width: int, channels: int = 3, seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    return picture_from_array(rng.integers(0, 256, (height, width, channels), dtype=np.uint8))


@pytest.fixture(scope="module")
def pipeline() -> CCSRPipeline:
    return tiny_pipeline()


@pytest.mark.parametrize(("vae", "attention"), KINDS)
def test_any_combination_of_networks_upscales(vae: str, attention: bool) -> None:
    (result,) = tiny_pipeline(vae, attention).upscale(noise_picture(20, 24), FAST)
    assert result.size == (80, 96)
    assert result.rgb.std() > 0


@pytest.mark.parametrize(("vae", "attention"), KINDS)
def test_saved_pipeline_gives_the_same_pixels(vae: str, attention: bool, tmp_path: Path) -> None:
    picture = noise_picture(16, 16)
    made = tiny_pipeline(vae, attention)
    made.save_pretrained(tmp_path)
    again = CCSRPipeline.from_pretrained(str(tmp_path))
    expected, found = (p.upscale(picture, FAST)[0].rgb for p in (made, again))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_variants_load_their_own_files(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    for variant in VARIANTS:
        loaded = CCSRPipeline.from_pretrained(folder, sr_variant=variant)
        assert loaded.config["variant"] == variant
        networks = "v1" if variant == "v1" else ""
        decoder = "" if variant == "ccsr" else "v2"
        for name, subfolder in (("unet", networks), ("controlnet", networks), ("vae", decoder)):
            file = folder / subfolder / name / "diffusion_pytorch_model.safetensors"
            state = getattr(loaded, name).state_dict()
            assert all(torch.equal(state[key], value) for key, value in load_file(file).items())


def test_pipeline_moves_to_another_number_format(pipeline: CCSRPipeline) -> None:
    half = tiny_pipeline().to(torch.bfloat16)
    assert half.unet.dtype == torch.bfloat16
    expected, found = (p.upscale(noise_picture(16, 16), FAST)[0].rgb for p in (pipeline, half))
    assert np.abs(expected - found).mean() < 0.05


def test_unet_with_attention_needs_its_prompt() -> None:
    made = tiny_pipeline(attention=True)
    with pytest.raises(ValueError, match="give `empty_prompt`"):
        CCSRPipeline(made.unet, made.controlnet, made.vae, made.scheduler)


@pytest.mark.parametrize("height", [16, 17, 23, 32, 33, 51])
@pytest.mark.parametrize("width", [16, 19, 40])
def test_result_is_exactly_four_times_the_input(
    pipeline: CCSRPipeline, height: int, width: int
) -> None:
    config = SamplingConfig(num_steps=1)
    (result,) = pipeline.upscale(noise_picture(height, width), config)
    assert result.size == (4 * height, 4 * width)


@pytest.mark.parametrize("scale", [1.0, 2.0, 2.5, 8.0])
def test_other_scales_are_exact_too(pipeline: CCSRPipeline, scale: float) -> None:
    config = SamplingConfig(scale=scale, num_steps=1)
    (result,) = pipeline.upscale(noise_picture(20, 18), config)
    assert result.size == (round(20 * scale), round(18 * scale))


def test_seed_gives_the_same_picture_alone_and_among_others(
    pipeline: CCSRPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = noise_picture(16, 20)
    alone = pipeline.upscale(picture, FAST, (5,))[0].rgb
    monkeypatch.setattr("ccsr.inference.stages.seeds_at_once", lambda *_: 3)
    among = pipeline.upscale(picture, FAST, (1, 2, 3, 5))[3].rgb
    batched = pipeline.upscale(picture, FAST, (4, 5, 6))[1].rgb
    assert np.abs(among - alone).max() <= 1 / 255
    assert np.abs(batched - alone).max() <= 1 / 255


def test_seeds_and_condition_both_change_the_picture(pipeline: CCSRPipeline) -> None:
    first, second = pipeline.upscale(noise_picture(16, 16), FAST, (0, 1))
    other = pipeline.upscale(noise_picture(16, 16, seed=1), FAST, (0,))[0]
    assert np.abs(first.rgb - second.rgb).max() > 1 / 255
    assert np.abs(first.rgb - other.rgb).max() > 1 / 255


def test_every_evaluation_is_told_of_and_every_seed_given(
    pipeline: CCSRPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccsr.inference.stages.seeds_at_once", lambda *_: 2)
    monkeypatch.setattr("ccsr.inference.stages.QUICK_PARAMETERS", 0)
    events = list(pipeline.run(noise_picture(16, 16), FAST, (3, 4, 5), preview=True))
    progress = [event for event in events if isinstance(event, Progress)]
    restored = [event for event in events if isinstance(event, Restored)]
    total = 2 * timestep_plan(FAST).num_evaluations
    assert [event.evaluation for event in progress] == list(range(1, total + 1))
    assert {event.total for event in progress} == {total}
    assert [event.seed for event in restored] == [3, 4, 5]
    assert all(event.seconds > 0 for event in restored)
    looks = [event.preview for event in progress if event.preview is not None]
    assert looks
    assert looks[0].dtype == np.uint8


def test_picture_is_encoded_once_for_all_seeds(
    pipeline: CCSRPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[object] = []
    original = pipeline.vae.encode
    monkeypatch.setattr(
        pipeline.vae,
        "encode",
        lambda *a, **k: (encoded.append(a), original(*a, **k))[1],
        raising=True,
    )
    pipeline.upscale(noise_picture(16, 16), FAST, (0, 1, 2))
    assert len(encoded) == 1


def test_stopping_stops_the_network(
    pipeline: CCSRPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    original = pipeline.unet.forward
    monkeypatch.setattr(
        pipeline.unet, "forward", lambda *a, **k: (calls.append(a), original(*a, **k))[1]
    )
    events = pipeline.run(noise_picture(16, 16), SamplingConfig(), (0, 1))
    next(events)
    events.close()
    assert len(calls) == 1


def test_large_pictures_are_looked_at_in_tiles_by_networks_that_need_it() -> None:
    pipeline = tiny_pipeline("kl")
    picture = noise_picture(32, 48)
    whole = pipeline.upscale(picture, FAST)[0].rgb
    pipeline.tiling = TilingConfig(tile=8, stride=4)
    seen: list[tuple[int, ...]] = []
    pipeline.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2:]))
    tiled = pipeline.upscale(picture, FAST)[0].rgb
    assert set(seen) == {(8, 8)}
    assert tiled.shape == whole.shape
    assert 0 < np.abs(tiled - whole).mean() < 0.1


def with_scheduler(pipeline: CCSRPipeline, **settings: str) -> CCSRPipeline:
    parts = {**pipeline.components, "scheduler": NonUniformScheduler(**settings)}
    made = CCSRPipeline(**parts)
    made.set_progress_bar_config(disable=True)
    return made


def test_runs_of_v2_start_from_the_noised_input(pipeline: CCSRPipeline) -> None:
    seen: list[torch.Tensor] = []
    from_noise, from_lr = (
        with_scheduler(pipeline, start_point=start_point) for start_point in ("noise", "lr")
    )
    condition = pipeline.condition(noise_picture(16, 16), FAST)
    hook = pipeline.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for made in (from_noise, from_lr):
        next(made.steps(condition, timestep_plan(FAST), (0,)))
    hook.remove()
    signal, _ = from_lr.scheduler.signal_and_sigma(from_lr.scheduler.last_timestep)
    # 0.068: at T a latent is nearly noise, but not quite.
    spread = (seen[1] - signal * condition.lr_latent) / seen[0]
    torch.testing.assert_close(spread, spread.mean().expand_as(spread), rtol=1e-3, atol=1e-3)
    assert (seen[1] - seen[0]).abs().max() > 1e-3


def test_small_pictures_are_worked_on_at_the_size_that_the_networks_want(
    pipeline: CCSRPipeline, tmp_path: Path
) -> None:
    made = CCSRPipeline(**pipeline.components, working_size=128)
    made.save_pretrained(tmp_path)
    again = CCSRPipeline.from_pretrained(str(tmp_path))
    for loaded in (made, again):
        condition = loaded.condition(noise_picture(16, 24), FAST)
        assert condition.latent_shape[1:] == (128 / 8, 192 / 8)
    (result,) = made.upscale(noise_picture(16, 24), FAST)
    assert result.size == (64, 96)
    (flat,) = made.upscale(Picture(np.full((16, 24, 3), 0.25, np.float32)), FAST)
    np.testing.assert_allclose(flat.rgb.mean((0, 1)), 0.25, atol=2e-3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((512, 600), (512, 600), id="large enough"),
        pytest.param((256, 300), (512, 600), id="doubled"),
        pytest.param((300, 100), (1536, 512), id="a part of a pixel"),
        pytest.param((16, 40_000), (82, 204_800), id="a strip, as far as memory allows"),
        pytest.param((4096, 4097), (4096, 4097), id="never reduced"),
    ],
)
def test_working_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert working_size(Size(*size), 512) == expected


def test_alpha_and_bit_depth_are_kept(pipeline: CCSRPipeline) -> None:
    rgba = np.random.default_rng(0).integers(0, 65536, (16, 18, 4), dtype=np.uint16)
    rgba[..., 3] = 65535
    (result,) = pipeline.upscale(picture_from_array(rgba), FAST)
    assert result.bits == 16
    assert result.alpha is not None
    np.testing.assert_allclose(result.alpha, np.ones(Size(64, 72)), atol=1e-6)


@pytest.mark.parametrize("change", [
    {"t_max": 0.9}, {"t_min": 0.1}, {"num_steps": 12}, {"color": "wavelet"}, {"color": "none"},
    {"variant": "v1"}, {"scale": 2.0},
], ids=lambda change: next(iter(change)))  # fmt: skip
def test_every_setting_changes_the_picture(
    pipeline: CCSRPipeline, change: dict[str, object]
) -> None:
    picture = noise_picture(16, 16)
    before, after = (
        pipeline.upscale(picture, config)[0].rgb
        for config in (FAST, SamplingConfig(**({"num_steps": 6} | change)))
    )
    assert before.shape != after.shape or np.abs(before - after).max() > 1 / 255


def test_result_too_large_for_memory_is_refused_before_any_work(pipeline: CCSRPipeline) -> None:
    large = Picture(np.zeros((1024, 1025, 3), np.float32))
    with pytest.raises(PictureError, match="1025x1024 pixels would become 4100x4096"):
        next(pipeline.run(large, SamplingConfig(), (0,)))
    assert target_size(large, SamplingConfig(scale=2.0)) == (2048, 2050)


def test_at_least_one_seed_is_needed(pipeline: CCSRPipeline) -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        pipeline.upscale(noise_picture(16, 16), FAST, ())


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_seeds_of_small_pictures_are_batched_and_of_large_ones_not(device: str) -> None:
    small, large = ((4, side, side) for side in (64, 256))
    where = torch.device(device)
    assert seeds_at_once(where, small, 10**6) > seeds_at_once(where, large, 10**6) == 1


def test_seeds_of_large_networks_are_batched_on_gpus_only() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert seeds_at_once(cpu, (4, 64, 64), 10**9) == 1 < seeds_at_once(gpu, (4, 64, 64), 10**9)


@pytest.mark.parametrize("total", [1, 2, 3, 5, 7, 11, 16, 46])
def test_a_run_is_previewed_a_few_times_and_first_at_its_beginning(total: int) -> None:
    looks = [n for n in range(1, total + 1) if is_previewed(n, total)]
    assert looks[:1] == [1][: total - 1]
    assert min(total - 1, 1) <= len(looks) <= PREVIEWS
    assert total not in looks


def test_networks_see_a_picture_continued_beyond_its_sides(
    pipeline: CCSRPipeline, tmp_path: Path
) -> None:
    CCSRPipeline(**pipeline.components, border=16).save_pretrained(tmp_path)
    made = CCSRPipeline.from_pretrained(tmp_path)
    made.set_progress_bar_config(disable=True)
    config = FAST.replace(scale=1.0, color="none")
    # With the borders, its sides are such as the networks take.
    picture = noise_picture(64, 96)
    around = Picture(np.pad(picture.rgb, ((16, 16), (16, 16), (0, 0)), "reflect"))
    (inner,), (outer,) = made.upscale(picture, config), pipeline.upscale(around, config)
    np.testing.assert_allclose(inner.rgb, outer.rgb[16:-16, 16:-16], atol=1e-5)
    (plain,) = pipeline.upscale(picture, config)
    assert np.abs(plain.rgb - inner.rgb).max() > 1e-3


def test_previews_are_of_the_picture_without_its_border(pipeline: CCSRPipeline) -> None:
    made = CCSRPipeline(**pipeline.components, border=16)
    picture = noise_picture(136, 200)
    first = next(made.run(picture, FAST, (0,), preview=True))
    assert isinstance(first, Progress)
    assert first.preview is not None
    # Of half the size; padded to 576 x 832 pixels, of which 16 at each side are the border.
    assert first.preview.shape == (288 - 16, 416 - 16, 3)


def test_a_border_does_not_make_a_picture_large_enough_for_previews(
    pipeline: CCSRPipeline,
) -> None:
    made = CCSRPipeline(**pipeline.components, border=16)
    first = next(made.run(noise_picture(128, 128), FAST, (0,), preview=True))
    assert isinstance(first, Progress)
    assert first.preview is None


@pytest.mark.parametrize(
    ("side", "scale", "is_quick", "shrink"),
    [
        (64, 4.0, True, 0),  # the result follows sooner
        (65, 4.0, True, 2),
        (300, 2.0, True, 0),  # no larger than the input
        (64, 4.0, False, 1),
        (300, 4.0, False, 3),
        (300, 3.0, False, 0),
    ],
)
def test_a_preview_is_larger_than_the_input_or_not_made(
    side: int, scale: float, is_quick: bool, shrink: int
) -> None:
    assert preview_shrink(side, scale, is_quick=is_quick) == shrink


@pytest.mark.parametrize("vae", ["kl", "dc"])
def test_offload_brings_every_network_before_it_works(
    vae: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a network is used by another function than `forward`."""
    pipeline, picture = tiny_pipeline(vae), noise_picture(24, 24)
    pipeline.tiling = TilingConfig(tile=8, stride=4)
    pipeline.enable_vae_tiling(8)
    expected = pipeline.upscale(picture, FAST)[0].rgb
    pipeline.enable_model_cpu_offload(device="cpu")
    brought: list[type] = []
    original = CpuOffload.pre_forward
    monkeypatch.setattr(
        CpuOffload,
        "pre_forward",
        lambda hook, module, *a, **k: (
            brought.append(type(module)),
            original(hook, module, *a, **k),
        )[1],
    )
    condition = pipeline.condition(picture, FAST)
    assert brought[0] is type(pipeline.vae)
    assert brought[-1] is type(pipeline.controlnet)
    brought.clear()
    *_, last = pipeline.steps(condition, timestep_plan(FAST), (0,))
    assert type(pipeline.unet) in brought
    brought.clear()
    pipeline.restore(last.x0_hat, picture, FAST)
    assert set(brought) == {type(pipeline.vae)}
    np.testing.assert_allclose(pipeline.upscale(picture, FAST)[0].rgb, expected, atol=1e-5)


def test_tiling_switched_off_looks_at_pictures_whole() -> None:
    pipeline, picture = tiny_pipeline("kl"), noise_picture(40, 40)
    pipeline.tiling = TilingConfig(tile=64, stride=32)
    pipeline.enable_vae_tiling(8)
    pieces = pipeline.upscale(picture, FAST)[0].rgb
    pipeline.tiling = None
    pipeline.disable_vae_tiling()
    seen: list[int] = []
    pipeline.vae.decoder.conv_out.register_forward_pre_hook(
        lambda _, inputs: seen.append(max(inputs[0].shape[2:]))
    )
    np.testing.assert_allclose(pipeline.upscale(picture, FAST)[0].rgb, pieces, atol=1e-4)
    assert set(seen) == {160}


@pytest.mark.parametrize("color", get_args(ColorAlignment))
@pytest.mark.parametrize("scale", [4.0, 2.5])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_grey_stays_grey(
    pipeline: CCSRPipeline, channels: int, scale: float, color: ColorAlignment
) -> None:
    """L, LA, and RGB and RGBA of equal channels."""
    grey = np.random.default_rng(0).random((20, 24, 1), np.float32)
    alpha = np.ones((20, 24), np.float32) if channels in (2, 4) else None
    picture = Picture(np.repeat(grey, 3, axis=2), alpha)
    config = FAST.replace(color=color, scale=scale)
    (result,) = pipeline.upscale(picture, config)
    np.testing.assert_array_equal(result.rgb, np.repeat(result.rgb[..., :1], 3, axis=2))
    assert result.rgb.std() > 0.01


def test_a_coloured_pixel_keeps_the_colours(pipeline: CCSRPipeline) -> None:
    rgb = np.repeat(np.random.default_rng(0).random((20, 24, 1), np.float32), 3, axis=2)
    rgb[3, 4] = (1, 0, 0)
    (result,) = pipeline.upscale(Picture(rgb), FAST)
    assert np.ptp(result.rgb, axis=2).max() > 0.01


@pytest.mark.parametrize("color", get_args(ColorAlignment))
def test_colours_under_transparency_do_not_count(
    pipeline: CCSRPipeline, color: ColorAlignment
) -> None:
    """They once reached the edges and, through AdaIN, every visible pixel."""
    y, x = np.mgrid[:24, :24]
    alpha = ((y - 12) ** 2 + (x - 12) ** 2 < 64).astype(np.float32)
    results: list[Picture] = []
    for hidden in (0.0, 1.0):
        rgb = np.full((24, 24, 3), hidden, np.float32)
        rgb[alpha > 0] = (1, 0, 0)
        results += pipeline.upscale(Picture(rgb, alpha), FAST.replace(color=color))
    np.testing.assert_array_equal(results[0].rgb, results[1].rgb)
    np.testing.assert_array_equal(results[0].alpha, results[1].alpha)


def test_pixels_of_the_same_colours_but_other_transparency_have_estimates_of_their_own() -> None:
    rgb = noise_picture(24, 24).rgb
    opaque, cut = np.ones((24, 24), np.float32), np.ones((24, 24), np.float32)
    cut[:12] = 0
    assert digest(Picture(rgb, opaque)) == digest(Picture(rgb))
    assert digest(Picture(rgb, cut)) != digest(Picture(rgb))


@pytest.mark.parametrize("part", ["encode", "decode"])
def test_too_little_memory_is_met_once_by_smaller_tiles(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    picture = noise_picture(80, 80)
    config = SamplingConfig(num_steps=4, t_max=0.5, t_min=0.5)
    (expected,) = tiny_pipeline().upscale(picture, config)
    pipeline, tiles = tiny_pipeline(), []
    whole = getattr(stages, part)

    def with_little_memory(
        vae: object, x: torch.Tensor, tile: int, *others: torch.Tensor
    ) -> torch.Tensor:
        tiles.append(tile)
        if tile > 25:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return whole(vae, x, tile, *others)

    monkeypatch.setattr(stages, part, with_little_memory)
    pipeline.enable_vae_tiling(64)
    (result,) = pipeline.upscale(picture, config)
    assert tiles == [64, 20]
    np.testing.assert_allclose(result.rgb, expected.rgb, atol=1e-4)


def test_too_little_memory_for_the_smallest_tiles_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_memory(
        vae: object, x: torch.Tensor, tile: int, *others: torch.Tensor
    ) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(stages, "decode", without_memory)
    with pytest.raises(MemoryError):
        tiny_pipeline().upscale(noise_picture(80, 80), FAST)
