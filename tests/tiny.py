"""Networks of the smallest size, untrained but not silent, for tests of everything around them."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderDC, AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.weights import write_checksums
from ccsr.models.autoencoder import Autoencoder
from ccsr.models.compact_autoencoder import CompactAutoencoder
from ccsr.models.controlnet import LatentControlNetModel
from ccsr.models.lr_adapter import LRAdapter
from ccsr.models.prompt_embeds import EMPTY_TOKENS, EmptyPrompt

LATENT_CHANNELS = 4
WIDTH = 8
TOKENS, TOKEN_WIDTH = 77, 16


def tiny_vae(kind: str) -> Autoencoder:
    """An f8 autoencoder: of class "compact", "dc" or "kl".

    That of "compact-lr" and "compact-replicate" reads LR too, the latter pads with border values.
    """
    if kind.startswith("compact"):
        vae = CompactAutoencoder(
            latent_channels=LATENT_CHANNELS,
            encoder_block_out_channels=(8, 8, 16),
            decoder_block_out_channels=(8, 8, 16),
            decoder_layers_per_block=(1, 1, 1),
            lr_blocks=0 if kind == "compact" else 4,
            decoder_padding_mode="replicate" if kind == "compact-replicate" else "zeros",
        )
        if vae.decoder.lr_branch is not None:
            # It begins at zero, so that LR would not count.
            nn.init.normal_(vae.decoder.lr_branch.conv_out.weight, std=0.1)
        return vae
    if kind == "dc":
        return AutoencoderDC(
            latent_channels=LATENT_CHANNELS,
            encoder_block_types="ResBlock",
            decoder_block_types="ResBlock",
            encoder_block_out_channels=(8, 8, 16, 16),
            decoder_block_out_channels=(8, 8, 16, 16),
            encoder_layers_per_block=(0, 1, 1, 1),
            decoder_layers_per_block=(0, 2, 2, 2),
            encoder_qkv_multiscales=((),) * 4,
            decoder_qkv_multiscales=((),) * 4,
            downsample_block_type="pixel_unshuffle",
            upsample_block_type="pixel_shuffle",
        )
    return AutoencoderKL(
        block_out_channels=(WIDTH,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=LATENT_CHANNELS,
        scaling_factor=0.5,
    )


def tiny_unet(attention: bool, layers_per_block: int = 1) -> UNet2DConditionModel:
    """A UNet of two levels, with cross-attention or without."""
    kind = "CrossAttn" if attention else ""
    return UNet2DConditionModel(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(WIDTH, 2 * WIDTH),
        layers_per_block=layers_per_block,
        norm_num_groups=4,
        down_block_types=(f"{kind}DownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn" if attention else "UNetMidBlock2D",
        up_block_types=("UpBlock2D", f"{kind}UpBlock2D"),
        cross_attention_dim=TOKEN_WIDTH,
        attention_head_dim=4,
    )


def tiny_latent_controlnet(unet: UNet2DConditionModel) -> LatentControlNetModel:
    """The kind that looks at x_t too, as at full size."""
    controlnet = LatentControlNetModel.from_unet(unet, conditioning_channels=LATENT_CHANNELS)
    # Its connections to the UNet begin at zero, so that the condition would not count.
    for module in [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]:
        nn.init.normal_(module.weight, std=0.1)
    return controlnet


def tiny_lr_adapter(layers_per_block: int = 1) -> LRAdapter:
    """The kind that looks at the picture alone, as in the compact model."""
    return LRAdapter(
        conditioning_channels=LATENT_CHANNELS,
        unet_channels=(WIDTH, 2 * WIDTH),
        unet_layers_per_block=layers_per_block,
        block_out_channels=(12, 24),
        layers_per_block=(3, 2),
        norm_num_groups=4,
    )


def tiny_text_encoder() -> CLIPTextModel:
    """CLIP's, with as many tokens and words as it has."""
    config = CLIPTextConfig(
        hidden_size=TOKEN_WIDTH,
        intermediate_size=2 * TOKEN_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        hidden_act="gelu",
    )
    return CLIPTextModel(config).eval()


def tiny_tokenizer() -> CLIPTokenizer:
    """Like CLIP's, but every letter is a token."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["!", *letters, *(f"{letter}</w>" for letter in letters)]
    start, end = EMPTY_TOKENS
    vocabulary = {word: number for number, word in enumerate(words)}
    vocabulary |= {"<|startoftext|>": start, "<|endoftext|>": end}
    return CLIPTokenizer(vocab=vocabulary, merges=[])


def tiny_pipeline(vae: str = "compact-lr", attention: bool = False, seed: int = 0) -> CCSRPipeline:
    """A whole pipeline, the same for the same seed; of the full size's kind with "kl"."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = tiny_unet(attention)
        controlnet = tiny_latent_controlnet(unet) if vae == "kl" else tiny_lr_adapter()
        prompt = EmptyPrompt(TOKENS, TOKEN_WIDTH) if attention else None
        if prompt is not None:
            nn.init.normal_(prompt.states)
        pipeline = CCSRPipeline(unet, controlnet, tiny_vae(vae), NonUniformScheduler(), prompt)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_reader() -> CCSRPipeline:
    """A pipeline of the full size's kind that takes prompts."""
    pipeline = tiny_pipeline("kl", attention=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline.register_modules(text_encoder=tiny_text_encoder(), tokenizer=tiny_tokenizer())
    return pipeline


def rewrite_json(path: Path, **changes: object) -> None:
    """Change values of a JSON file, such as the index of a model."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def save_tiny_model(folder: Path) -> Path:
    """A model folder with all three variants, each of other weights."""
    tiny_pipeline().save_pretrained(folder)
    v1, v2 = tiny_pipeline(seed=1), tiny_pipeline(seed=2)
    v1.unet.save_pretrained(folder / "v1" / "unet")
    v1.controlnet.save_pretrained(folder / "v1" / "controlnet")
    v2.vae.save_pretrained(folder / "v2" / "vae")
    write_checksums(folder)
    return folder


def save_tiny_sd21(folder: Path) -> Path:
    """A folder of Stable Diffusion in diffusers layout."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tiny_unet(attention=True).save_pretrained(folder / "unet")
        tiny_vae("kl").save_pretrained(folder / "vae")
        tiny_text_encoder().save_pretrained(folder / "text_encoder")
    DDPMScheduler(prediction_type="epsilon").save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return folder
