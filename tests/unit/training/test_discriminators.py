import pytest
import torch

from ccsr.evaluation.metrics import LPIPS
from training.discriminators import FeatureDiscriminator, PatchDiscriminator
from training.losses import hinge_loss


def test_patch_discriminator_gives_one_logit_a_patch() -> None:
    assert PatchDiscriminator(4)(torch.rand(2, 3, 64, 96)).shape == (2, 1, 6, 10)


def test_discriminator_of_the_authors_has_three_batch_norms_and_no_biases_before_them() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(64, "batch")
    shapes = [tuple(w.shape) for w in discriminator.state_dict().values() if w.ndim == 4]
    assert shapes == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4),
                      (1, 512, 4, 4)]  # fmt: skip
    convs = [layer for layer in discriminator.layers if isinstance(layer, torch.nn.Conv2d)]
    assert [conv.bias is None for conv in convs] == [False, True, True, True, False]
    assert sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in discriminator.layers) == 3
    for layer in discriminator.layers:
        weight = getattr(layer, "weight", torch.zeros(1))
        if weight.numel() > 3000:
            assert float(weight.std()) == pytest.approx(0.02, rel=0.05)


def test_feature_discriminator_uses_the_first_stages_of_a_frozen_trunk() -> None:
    discriminator = FeatureDiscriminator(LPIPS("vgg"), 4)
    for conv in discriminator.trunk.convs[7:]:
        conv.register_forward_hook(lambda *_: pytest.fail("no head uses this stage"))
    picture = torch.rand(2, 3, 64, 96, requires_grad=True)
    logits = discriminator(picture)
    assert logits.shape == (2, 3, 8, 12)
    (gradient,) = torch.autograd.grad(logits.sum(), picture)
    assert gradient.abs().sum() > 0
    trained = {name for name, p in discriminator.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.startswith("heads.") for name in trained)


def test_feature_discriminator_learns_to_separate_noise_from_flat() -> None:
    torch.manual_seed(0)
    discriminator = FeatureDiscriminator(LPIPS("vgg"), 8)
    heads = discriminator.heads.parameters()
    optimizer, losses = torch.optim.Adam(heads, lr=5e-3), []
    real, fake = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 1, 1).expand(-1, -1, 32, 32)
    for _ in range(30):
        loss = hinge_loss(discriminator(real), discriminator(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
