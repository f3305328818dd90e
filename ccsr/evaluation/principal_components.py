"""The directions in which the results of several seeds differ most, as pictures.

They are components of the pixels, not of latents: what they add to the mean is a blend of results
that are there, so nothing needs to be decoded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ccsr.errors import InputError

BAND_ROWS = 64
"""Rows that are worked on at a time, so that the results can lie on a disk."""


@dataclass(frozen=True)
class PrincipalComponents:
    """The mean of results and the first of their principal components."""

    mean: np.ndarray
    """[H,W,3] float32 in [0,1]."""
    pictures: np.ndarray
    """[K,H,W,3] float32: each is what one standard deviation along a component adds to the mean."""
    shares: tuple[float, ...]
    """Of the variance, in [0,1], the largest first."""

    def at(self, deviations: Sequence[float]) -> np.ndarray:
        """The picture that lies so many standard deviations along each component.

        Args:
            deviations: One for each of the first components.

        Returns:
            [H,W,3] float32 in [0,1].
        """
        picture = np.array(self.mean)
        for deviation, component in zip(deviations, self.pictures, strict=False):
            picture += np.float32(deviation) * component
        return np.clip(picture, 0, 1)


def principal_components(results: Sequence[np.ndarray], count: int) -> PrincipalComponents:
    """The components of results, by the eigenvectors of their products with each other.

    Args:
        results: [H,W,3] uint8 each; they may be memory-mapped.
        count: How many components are wanted; N results have N - 1 at most.

    Raises:
        InputError: For fewer than two results.
    """
    if len(results) < 2:
        raise InputError(f"principal components need at least 2 results, got {len(results)}")
    number = len(results)
    products = np.zeros((number, number))
    for band in bands(results):
        centred = (band - band.mean(0)).reshape(number, -1)
        products += centred @ centred.T
    values, vectors = np.linalg.eigh(products)
    values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1][:, : min(count, number - 1)]
    # Of both signs of a component, the one with the first result on its positive side.
    vectors = vectors * np.where(vectors[0] < 0, -1, 1)
    mean, pictures = [], []
    for band in bands(results):
        middle = band.mean(0)
        mean.append(middle)
        pictures.append(np.tensordot(vectors.T / np.sqrt(number), band - middle, 1))
    total = values.sum() or 1.0
    return PrincipalComponents(
        np.concatenate(mean).astype(np.float32),
        np.concatenate(pictures, axis=1).astype(np.float32),
        tuple(float(value / total) for value in values[: vectors.shape[1]]),
    )


def bands(results: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Bands of all results, from the top, [N,h,W,3] float32 in [0,1]."""
    for top in range(0, results[0].shape[0], BAND_ROWS):
        band = np.stack([result[top : top + BAND_ROWS] for result in results])
        yield band.astype(np.float32) / 255
