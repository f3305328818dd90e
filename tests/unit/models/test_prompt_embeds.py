"""Prompts, where there is a text encoder."""

import numpy as np
import pytest
import torch

from ccsr.config import SamplingConfig
from ccsr.images.picture import picture_from_array
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.models.prompt_embeds import EMPTY_TOKENS, embed_prompt, embed_tokens
from tests.tiny import tiny_pipeline, tiny_reader, tiny_text_encoder, tiny_tokenizer

FAST = SamplingConfig(num_steps=3)
PICTURE = picture_from_array(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def reader() -> CCSRPipeline:
    return tiny_reader()


def result(pipeline: CCSRPipeline, **words: object) -> np.ndarray:
    config = FAST.replace(**words)
    return pipeline.upscale(PICTURE, config)[0].rgb


def test_states_are_those_of_the_padded_prompt() -> None:
    encoder, (start, end) = tiny_text_encoder(), EMPTY_TOKENS
    cat = [tiny_tokenizer().convert_tokens_to_ids(letter) for letter in ("c", "a", "t</w>")]
    padded = torch.tensor([[start, *cat, end, *[0] * 72]])
    with torch.no_grad():
        expected = encoder(padded).last_hidden_state
    found = embed_prompt(encoder, tiny_tokenizer(), "Cat")
    torch.testing.assert_close(found, expected)


def test_prompt_negative_prompt_and_guidance_each_change_the_picture(reader: CCSRPipeline) -> None:
    results = [
        result(reader),
        result(reader, prompt="a cat"),
        result(reader, prompt="a cat", guidance_scale=4.0),
        result(reader, prompt="a cat", negative_prompt="blur", guidance_scale=4.0),
    ]
    differences = [np.abs(a - b).max() for i, a in enumerate(results) for b in results[:i]]
    assert min(differences) > 1 / 255


def test_without_words_the_stored_states_are_used(reader: CCSRPipeline) -> None:
    assert np.array_equal(result(reader), result(tiny_pipeline("kl", attention=True)))


def test_guidance_leads_away_from_the_empty_prompt_if_nothing_else_is_unwanted(
    reader: CCSRPipeline,
) -> None:
    condition = reader.condition(PICTURE, FAST.replace(prompt="a cat", guidance_scale=2.0))
    assert condition.prompt is not None
    assert reader.empty_prompt is not None
    assert condition.prompt.negative_prompt_embeds is not None
    assert torch.equal(condition.prompt.negative_prompt_embeds, reader.empty_prompt.states)


@pytest.mark.parametrize("pipeline", [tiny_pipeline(), tiny_pipeline("kl", attention=True)])
def test_model_without_a_text_encoder_refuses_words(pipeline: CCSRPipeline) -> None:
    with pytest.raises(ValueError, match="this model has no text encoder"):
        result(pipeline, prompt="a cat")


def test_prompt_of_too_many_tokens_is_refused_with_their_number(reader: CCSRPipeline) -> None:
    with pytest.raises(ValueError, match=r"the prompt has 76 tokens, .* reads 75"):
        result(reader, prompt="a " * 76)
    embed_tokens(tiny_text_encoder(), [EMPTY_TOKENS[0], *[1] * 75, EMPTY_TOKENS[1]])
