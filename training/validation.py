"""Scores of the networks in training on pictures that they are not trained on."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from ccsr.degradation.draws import generator_for
from ccsr.degradation.models import mixture
from ccsr.diffusion.sampler import SeededNoise, sample
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import TimestepPlan
from ccsr.evaluation.metrics import measure
from ccsr.evaluation.perceptual import DISTS
from ccsr.evaluation.stability import PixelStatistics
from ccsr.images.picture import picture_from_array
from ccsr.images.tensors import to_array, to_uint8
from ccsr.images.writing import save_png
from ccsr.models.autoencoder import Autoencoder, decode, encode, reads_lr
from ccsr.models.denoiser import Denoiser
from ccsr.whole_file import write_whole
from training.config import DataConfig, ValidationConfig
from training.data import Example, Pictures, enlarged, square
from training.log import JsonLog
from training.sources import Source

Restore = Callable[[Example, int], torch.Tensor]
"""A pair "lr" [1,3,h,w] and "hr" [1,3,H,W] in [0,1], and a seed -> a result [1,3,H,W]."""

BEST_FILE, LOG_FILE, SAMPLES = "best.json", "validation.jsonl", "samples"


class Validation:
    """Restores held-out pictures with several seeds, scores the results, and keeps samples.

    Writes to the folder of a training step: a line of validation.jsonl with PSNR, SSIM, LPIPS,
    DISTS (where its weights are installed) and L-STD; samples/*.png, with enlarged LR, a result of
    each seed and HR in a row for each picture; and best.json, the step of lowest LPIPS so far.

    Of several processes the one that was started (`start`) writes.

    Args:
        config: When, and how much.
        pairs: The held-out pictures, by `held_out_pairs`.
        restore: Makes results of the networks that are trained.
        folder: Of the training step.
    """

    def __init__(
        self, config: ValidationConfig, pairs: Sequence[Example], restore: Restore, folder: Path
    ) -> None:
        self.config, self.pairs, self.restore, self.folder = config, pairs, restore, folder
        try:
            self._dists: DISTS | None = DISTS.load()
        except FileNotFoundError:
            self._dists = None
        self._log: JsonLog | None = None

    def start(self, step: int) -> None:
        """Continue from a step; log lines of later ones are removed."""
        self._log = JsonLog(self.folder / LOG_FILE, step)

    @property
    def best(self) -> int | None:
        """The step of lowest LPIPS so far."""
        return best_step(self.folder)

    @torch.no_grad()
    def score(self, step: int, device: torch.device) -> dict[str, float]:
        """Means of the scores over pictures and seeds; L-STD is over the seeds."""
        totals: list[dict[str, float]] = []
        rows: list[np.ndarray] = []
        for pair in self.pairs:
            scores, row = self._score_of({k: x[None].to(device) for k, x in pair.items()})
            totals.append(scores)
            rows.append(row)
        means = {key: float(np.mean([each[key] for each in totals])) for key in totals[0]}
        self._write(step, means, np.concatenate(rows))
        return means

    def _score_of(self, pair: Example) -> tuple[dict[str, float], np.ndarray]:
        """Scores of one picture, and its row of the sheet."""
        hr, statistics = to_array(pair["hr"]), PixelStatistics()
        scores: list[dict[str, float]] = []
        row = [to_array(enlarged(pair["lr"], pair["hr"]).clamp(0, 1))]
        for seed in range(self.config.seeds):
            sr = self.restore(pair, seed).clamp(0, 1).float()
            row.append(to_array(sr))
            statistics.add(row[-1])
            scores.append(measure(row[-1], hr))
            if self._dists is not None:
                scores[-1]["dists"] = float(self._dists.to(sr.device)(sr, pair["hr"]))
        means = {key: float(np.mean([each[key] for each in scores])) for key in scores[0]}
        return means | {"l_std": statistics.l_std}, np.concatenate([*row, hr], 1)

    def _write(self, step: int, scores: dict[str, float], sheet: np.ndarray) -> None:
        if self._log is None:
            return
        (self.folder / SAMPLES).mkdir(exist_ok=True)
        path = self.folder / SAMPLES / f"step-{step:07d}.png"
        save_png(path, picture_from_array(to_uint8(sheet)), overwrite=True)
        entry = {"step": step, "scores": scores}
        self._log.append(entry)
        if self.best == step:
            write_whole(self.folder / BEST_FILE, json.dumps(entry, indent=1), overwrite=True)


def best_step(folder: Path) -> int | None:
    """The step of lowest LPIPS of a training step's folder; None before a validation."""
    path = folder / LOG_FILE
    lines = path.read_text().splitlines() if path.exists() else []
    entries = [json.loads(line) for line in lines]
    return min(entries, key=lambda e: e["scores"]["lpips"])["step"] if entries else None


def held_out_pairs(
    sources: Sequence[Source], config: ValidationConfig, data: DataConfig
) -> list[Example]:
    """The middle of the first pictures of the sources, and LR of it by the recipe's degradations.

    Raises:
        InputError: If no picture is large enough.
    """
    pictures, side = Pictures(sources, config.crop_px, data.scale), config.crop_px
    degrade, pairs = mixture(data.degradations.by_name(), data.scale), list[Example]()
    for index, picture in enumerate(pictures.pictures[: config.pictures]):
        hr = pictures.read(picture.hr)
        # At whole pixels of LR.
        top, left = ((length - side) // 2 // data.scale for length in hr.shape[:2])
        crop = square(hr, top * data.scale, left * data.scale, side)
        if picture.lr is not None:
            lr = square(pictures.read(picture.lr), top, left, side // data.scale)
        else:
            lr = degrade(crop[None], generator_for(0, index, 1))[0]
        pairs.append({"hr": crop, "lr": lr})
    return pairs


def reconstruction(vae: Autoencoder) -> Restore:
    """HR through an autoencoder; seeds do not matter."""
    return lambda pair, seed: decode(vae, encode(vae, pair["hr"]))


def super_resolution(
    denoiser: Denoiser, vae: Autoencoder, scheduler: NonUniformScheduler, plan: TimestepPlan
) -> Restore:
    """LR upscaled as at inference, but for the alignment of colours."""

    def restore(pair: Example, seed: int) -> torch.Tensor:
        lr_up = enlarged(pair["lr"], pair["hr"])
        lr_latent = encode(vae, lr_up)
        noise = SeededNoise([seed], lr_latent.device)
        predict = denoiser.predictor(denoiser.features(lr_latent))
        *_, last = sample(predict, scheduler, plan, noise, lr_latent.shape)
        return decode(vae, last.x0_hat, lr_up=lr_up if reads_lr(vae) else None)

    return restore
