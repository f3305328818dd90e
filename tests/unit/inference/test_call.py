"""`CCSRPipeline.__call__`, as users of diffusers call it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from diffusers.callbacks import PipelineCallback
from PIL import Image

from ccsr.config import LoadingConfig, SamplingConfig
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.images.picture import picture_from_array
from ccsr.inference.device import NotFiniteError
from ccsr.inference.engine import load_engine
from ccsr.inference.pipeline import CCSROutput, CCSRPipeline
from tests.tiny import tiny_pipeline, tiny_reader

LEVELS = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
PICTURE = picture_from_array(LEVELS)
FAST = SamplingConfig(num_steps=6)
CALL: dict[str, Any] = {"num_inference_steps": 6, "output_type": "np"}


@pytest.fixture(scope="module")
def pipeline() -> CCSRPipeline:
    return tiny_pipeline()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_call_gives_the_results_of_run(pipeline: CCSRPipeline) -> None:
    result = pipeline(Image.fromarray(LEVELS), seeds=(5, 2), **CALL)
    assert isinstance(result, CCSROutput)
    assert result.seeds == [5, 2]
    expected = np.stack([picture.rgb for picture in pipeline.upscale(PICTURE, FAST, (5, 2))])
    np.testing.assert_array_equal(result.images, expected)
    (images,) = pipeline(LEVELS, seeds=(5, 2), return_dict=False, **CALL)
    np.testing.assert_array_equal(images, expected)


def test_settings_of_the_call_are_those_of_the_sampler(pipeline: CCSRPipeline) -> None:
    settings = {"scale": 2.0, "t_max": 0.8, "t_min": 0.5, "color": "none"}
    found = pipeline(PICTURE, seeds=(1,), **CALL, **settings).images[0]
    config = SamplingConfig(num_steps=6, **settings)
    np.testing.assert_array_equal(found, pipeline.upscale(PICTURE, config, (1,))[0].rgb)


def test_a_model_samples_on_its_own_grid_unless_another_is_given(
    pipeline: CCSRPipeline, tmp_path: Path
) -> None:
    CCSRPipeline(**pipeline.components, num_steps=12).save_pretrained(tmp_path)
    made = CCSRPipeline.from_pretrained(tmp_path)
    assert made.defaults == SamplingConfig(num_steps=12)
    assert load_engine(str(tmp_path), LoadingConfig(device="cpu")).info.defaults == made.defaults
    found = made(PICTURE, seeds=(1,), output_type="np").images[0]
    assert made.num_timesteps == timestep_plan(SamplingConfig(num_steps=12)).num_evaluations
    np.testing.assert_array_equal(found, made.upscale(PICTURE, seeds=(1,))[0].rgb)
    assert made(PICTURE, seeds=(1,), **CALL).images.shape == (1, *found.shape)
    assert made.num_timesteps == timestep_plan(FAST).num_evaluations


def test_a_grid_that_cannot_be_is_refused(pipeline: CCSRPipeline) -> None:
    with pytest.raises(ValueError, match="num_steps must be a whole number from 1 to 200, got 0"):
        CCSRPipeline(**pipeline.components, num_steps=0)


def test_prompts_guide_the_result() -> None:
    pipeline = tiny_reader()
    plain, guided = (
        pipeline(PICTURE, seeds=(1,), **CALL, **words).images
        for words in ({}, {"prompt": "a cat", "negative_prompt": "noise", "guidance_scale": 3.0})
    )
    assert np.abs(plain - guided).max() > 1 / 255


def test_generator_gives_what_its_seed_gives(pipeline: CCSRPipeline) -> None:
    expected = pipeline(PICTURE, seeds=(5, 2), **CALL).images
    one = pipeline(PICTURE, generator=seeded(5), **CALL)
    np.testing.assert_allclose(one.images[0], expected[0], atol=1 / 255)
    assert one.seeds == [5]
    several = pipeline(PICTURE, generator=[seeded(5), seeded(2)], **CALL)
    np.testing.assert_allclose(several.images, expected, atol=1 / 255)
    assert several.seeds == [5, 2]


def test_one_generator_serves_several_images_one_after_another(pipeline: CCSRPipeline) -> None:
    generator = seeded(5)
    both = pipeline(PICTURE, generator=generator, num_images_per_prompt=2, **CALL).images
    again = seeded(5)
    for expected in both:
        found = pipeline(PICTURE, generator=again, **CALL).images[0]
        np.testing.assert_array_equal(found, expected)
    assert np.abs(both[0] - both[1]).max() > 1 / 255


def test_draws_are_of_the_global_generator_if_nothing_else_is_said(pipeline: CCSRPipeline) -> None:
    torch.manual_seed(0)
    first = pipeline(PICTURE, num_images_per_prompt=2, **CALL)
    second = pipeline(PICTURE, **CALL)
    assert len({*first.seeds, *second.seeds}) == 3
    torch.manual_seed(0)
    again = pipeline(PICTURE, num_images_per_prompt=2, **CALL)
    np.testing.assert_array_equal(again.images, first.images)
    named = pipeline(PICTURE, seeds=first.seeds, **CALL)
    np.testing.assert_array_equal(named.images, first.images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": ["a cat"]}, "prompt must be one text, got list"),
        ({"output_type": "latent"}, "output_type must be one of pil, np, pt, got 'latent'"),
        ({"num_images_per_prompt": 0}, "must be a whole number from 1, got 0"),
        ({"seeds": (1,), "generator": seeded(1)}, "give one of them"),
        ({"seeds": 3}, "seeds must be a list of int, got 3"),
        ({"seeds": ()}, "an entry for each image, got 0"),
        ({"seeds": (-1,)}, "seeds must be from 0 to"),
        ({"seeds": (1, 2), "num_images_per_prompt": 3}, "leave num_images_per_prompt out"),
        ({"generator": [1]}, "generator must be a list of Generator"),
        ({"generator": [seeded(1)] * 2}, "twice; give each image its own"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "must be from latents, got noise"),
        ({"scale": 9.0}, "scale must be a number from 1 to 8, got 9.0"),
        ({"t_min": 0.9}, "t_min must not be above t_max"),
        ({"num_inference_steps": 0}, "must be a whole number from 1 to 200, got 0"),
        ({"prompt": "a cat"}, "no text encoder"),
        ({"image": "photo.jpg"}, "must be one Pillow image"),
    ],
    # Without addresses of objects, which differ between the processes of `pytest -n`.
    ids=lambda part: part if isinstance(part, str) else " and ".join(part),
)
def test_arguments_without_meaning_are_refused(
    pipeline: CCSRPipeline, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(**({"image": PICTURE} | CALL | change))


def test_callback_sees_every_evaluation(pipeline: CCSRPipeline) -> None:
    calls: list[tuple[CCSRPipeline, int, int, dict[str, torch.Tensor]]] = []
    pipeline(PICTURE, seeds=(1,), callback_on_step_end=lambda *call: calls.append(call), **CALL)
    assert [step for _, step, _, _ in calls] == list(range(timestep_plan(FAST).num_evaluations))
    assert pipeline.num_timesteps == len(calls)
    assert calls[0][0] is pipeline
    timesteps = [timestep for _, _, timestep, _ in calls]
    assert timesteps[0] == 999
    assert timesteps == sorted(timesteps, reverse=True)
    assert {tensors["latents"].shape for *_, tensors in calls} == {(1, 4, 8, 10)}


def test_callback_can_change_the_estimate(pipeline: CCSRPipeline) -> None:
    def flatten(
        _: CCSRPipeline, step: int, timestep: int, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        return {"latents": torch.zeros_like(tensors["latents"])}

    plain = pipeline(PICTURE, seeds=(1,), **CALL).images
    changed = pipeline(PICTURE, seeds=(1,), callback_on_step_end=flatten, **CALL).images
    other_seed = pipeline(PICTURE, seeds=(2,), callback_on_step_end=flatten, **CALL).images
    assert np.abs(plain - changed).max() > 1 / 255
    np.testing.assert_array_equal(changed, other_seed)


def test_changed_estimate_is_what_the_next_evaluation_starts_from(pipeline: CCSRPipeline) -> None:
    def flatten_first(
        _: CCSRPipeline, step: int, timestep: int, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        latents = tensors["latents"]
        return {"latents": torch.zeros_like(latents) if step == 0 else latents}

    plain = pipeline(PICTURE, seeds=(1,), **CALL).images
    changed = pipeline(PICTURE, seeds=(1,), callback_on_step_end=flatten_first, **CALL).images
    assert np.abs(plain - changed).max() > 0


def test_callback_can_end_the_refinement(pipeline: CCSRPipeline) -> None:
    evaluated: list[int] = []

    def interrupt_at(last: int) -> Callable[..., dict[str, torch.Tensor]]:
        def callback(pipe: CCSRPipeline, step: int, *_: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
            evaluated.append(step)
            pipe._interrupt = step == last
            return {}

        return callback

    ended = pipeline(PICTURE, seeds=(1,), callback_on_step_end=interrupt_at(0), **CALL).images
    assert evaluated == [0]
    assert pipeline.interrupt
    extraction = SamplingConfig(num_steps=6, t_min=FAST.t_max)
    np.testing.assert_array_equal(ended[0], pipeline.upscale(PICTURE, extraction, (1,))[0].rgb)
    full = pipeline(PICTURE, seeds=(1,), **CALL).images
    assert not pipeline.interrupt
    assert np.abs(full - ended).max() > 0


def test_callbacks_of_diffusers_say_what_they_want(pipeline: CCSRPipeline) -> None:
    seen: list[set[str]] = []

    class Recording(PipelineCallback):
        tensor_inputs: ClassVar = ["latents"]

        def callback_fn(
            self,
            pipeline: CCSRPipeline,
            step_index: int,
            timestep: int,
            callback_kwargs: dict[str, Any],
        ) -> dict[str, Any]:
            seen.append(set(callback_kwargs))
            return callback_kwargs

    pipeline(PICTURE, seeds=(1,), callback_on_step_end=Recording(cutoff_step_ratio=1.0), **CALL)
    assert seen
    assert set().union(*seen) == {"latents"}


def test_progress_bar_follows_its_configuration(
    pipeline: CCSRPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.set_progress_bar_config(desc="upscaling", disable=False)
    pipeline(PICTURE, seeds=(1,), **CALL)
    total = timestep_plan(FAST).num_evaluations
    written = capsys.readouterr().err
    assert "upscaling: 100%" in written
    assert f"{total}/{total}" in written
    pipeline.set_progress_bar_config(disable=True)
    pipeline(PICTURE, seeds=(1,), **CALL)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("output_type", ["pil", "pt"])
def test_other_kinds_of_output(pipeline: CCSRPipeline, output_type: str) -> None:
    settings = CALL | {"output_type": output_type}
    images = pipeline(PICTURE, seeds=(1, 2), **settings).images
    assert len(images) == 2
    assert isinstance(images[0], Image.Image if output_type == "pil" else torch.Tensor)


@pytest.mark.parametrize("name", ["xformers_memory_efficient_attention", "attention_slicing"])
def test_what_cannot_be_enabled_is_refused(pipeline: CCSRPipeline, name: str) -> None:
    with pytest.raises(ValueError, match="no network of this model has attention"):
        getattr(pipeline, f"enable_{name}")()


def test_attention_slicing_changes_the_networks_that_have_attention() -> None:
    pipeline = tiny_pipeline("kl", attention=True)
    expected = pipeline(PICTURE, seeds=(1,), **CALL).images
    pipeline.enable_attention_slicing(1)
    processors = {type(p).__name__ for p in pipeline.unet.attn_processors.values()}
    assert processors == {"SlicedAttnProcessor"}
    found = pipeline(PICTURE, seeds=(1,), **CALL).images
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("part", "message"),
    [("unet", "the denoising network gave"), ("vae", "the decoder gave")],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_result_that_is_not_finite_is_an_error(part: str, message: str, value: float) -> None:
    pipeline = tiny_pipeline()
    network = pipeline.unet.conv_out if part == "unet" else pipeline.vae.decoder.conv_out
    with torch.no_grad():
        network.bias[0] = value
    with pytest.raises(NotFiniteError, match=message):
        pipeline(PICTURE, seeds=(1,), **CALL)
    assert not pipeline.is_finite()
    assert tiny_pipeline().is_finite()


def test_error_of_a_narrow_number_format_names_the_remedy() -> None:
    pipeline = tiny_pipeline().to(torch.bfloat16)
    with torch.no_grad():
        pipeline.unet.conv_out.bias[0] = float("nan")
    with pytest.raises(NotFiniteError, match=r"in bfloat16; load the model .* float32"):
        pipeline(PICTURE, seeds=(1,), **CALL)
