"""What the UNet of Stable Diffusion is told in words: by default nothing, which is stored."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

EMPTY_TOKENS = (49406, 49407)
"""The empty prompt to CLIP: start and end."""
PADDING_TOKEN = 0
"""What Stable Diffusion 2 fills the rest with."""


@dataclass(frozen=True)
class Text:
    """What the UNet is told in words, with classifier-free guidance (arXiv 2207.12598)."""

    states: torch.Tensor
    """Of the prompt, [1,length,width]."""
    negative: torch.Tensor | None = None
    """Of what is not wanted; evaluated only if `guidance` is not 1."""
    guidance_scale: float = 1.0


class EmptyPrompt(ModelMixin, ConfigMixin):
    """Text states of the empty prompt, stored, so that no text encoder need be loaded.

    Args:
        length: Tokens.
        width: Features of a token, the UNet's `cross_attention_dim`.
    """

    @register_to_config
    def __init__(self, length: int = 77, width: int = 1024) -> None:
        super().__init__()
        self.states = nn.Parameter(torch.zeros(1, length, width), requires_grad=False)

    def forward(self, batch_size: int) -> torch.Tensor:
        """Text states [B,length,width]."""
        return self.states.expand(batch_size, -1, -1)


@torch.no_grad()
def text_states(encoder: CLIPTextModel, tokens: Sequence[int]) -> torch.Tensor:
    """The states [1,length,width] that the last layer of `encoder` makes of a prompt's tokens.

    Raises:
        ValueError: If there are more tokens than the encoder takes.
    """
    length = encoder.config.max_position_embeddings
    if len(tokens) > length:
        raise ValueError(
            f"the prompt has {len(tokens) - 2} tokens, about as many words, and the text encoder "
            f"reads {length - 2}; make it shorter"
        )
    device = encoder.device
    padded = torch.full((1, length), PADDING_TOKEN, device=device)
    padded[0, : len(tokens)] = torch.tensor(tokens)
    # Given, for a model that was built without weights has no positions of its own.
    positions = torch.arange(length, device=device)[None]
    return encoder(padded, position_ids=positions).last_hidden_state


def prompt_states(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, prompt: str) -> torch.Tensor:
    """The states [1,length,width] of a prompt in words.

    Raises:
        ValueError: If it is too long.
    """
    return text_states(encoder, tokenizer(prompt).input_ids)
