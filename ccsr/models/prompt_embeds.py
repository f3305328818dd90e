"""Text conditioning of Stable Diffusion's UNet: prompt embeddings, and the stored empty prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from ccsr.errors import InputError

EMPTY_TOKENS = (49406, 49407)
"""CLIP's tokens of the empty prompt: start and end of text."""
PADDING_TOKEN = 0
"""Stable Diffusion 2 pads prompts with it."""


@dataclass(frozen=True)
class PromptEmbeds:
    """Text conditioning with classifier-free guidance (arXiv 2207.12598)."""

    prompt_embeds: torch.Tensor
    """[1,length,width]."""
    negative_prompt_embeds: torch.Tensor | None = None
    """[1,length,width]; not evaluated if `guidance_scale` is 1."""
    guidance_scale: float = 1.0


class EmptyPrompt(ModelMixin, ConfigMixin):
    """Stored embeddings of the empty prompt; they replace the text encoder.

    Args:
        length: Number of tokens.
        width: Features of a token, the UNet's `cross_attention_dim`.
    """

    @register_to_config
    def __init__(self, length: int = 77, width: int = 1024) -> None:
        super().__init__()
        # Model folders hold the weight under this name.
        self.states = nn.Parameter(torch.zeros(1, length, width), requires_grad=False)

    def forward(self, batch_size: int) -> torch.Tensor:
        """Prompt embeddings [B,length,width]."""
        return self.states.expand(batch_size, -1, -1)


@torch.no_grad()
def embed_tokens(encoder: CLIPTextModel, tokens: Sequence[int]) -> torch.Tensor:
    """Prompt embeddings [1,length,width]: hidden states of the last layer of `encoder`.

    Raises:
        InputError: If there are more tokens than the encoder takes.
    """
    length = encoder.config.max_position_embeddings
    if len(tokens) > length:
        raise InputError(
            f"the prompt has {len(tokens) - 2} tokens, about as many words, and the text encoder "
            f"reads {length - 2}; make it shorter"
        )
    device = encoder.device
    padded = torch.full((1, length), PADDING_TOKEN, device=device)
    padded[0, : len(tokens)] = torch.tensor(tokens)
    # A model built on the meta device has no buffer of position ids.
    positions = torch.arange(length, device=device)[None]
    return encoder(padded, position_ids=positions).last_hidden_state


def embed_prompt(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, prompt: str) -> torch.Tensor:
    """Prompt embeddings [1,length,width] of a text.

    Raises:
        InputError: If the text has more tokens than the encoder takes.
    """
    return embed_tokens(encoder, tokenizer(prompt).input_ids)
