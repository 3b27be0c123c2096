import pytest
import torch

from nmoe_sim.nmoe import spectral
from nmoe_sim.nmoe.augment import Affine


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def test_rows_are_clipped_to_the_radius_and_short_rows_stay_bit_for_bit():
    z = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], requires_grad=True)
    clipped = spectral.clip_rows(z, 4.0)
    torch.testing.assert_close(clipped[0], torch.tensor([1.2, 1.6]))
    assert torch.equal(clipped[1:], z[1:])
    clipped.sum().backward()
    assert torch.isfinite(z.grad).all()


def test_local_loss_is_the_spectral_contrastive_loss_by_pairs():
    z1, z2 = randn(8, 3), randn(8, 3, seed=1)
    z = torch.cat([z1, z2])
    # ‖ZᵀZ/2B‖²_F is the mean of ⟨z, z'⟩² over all pairs
    reference = -2 * (z1 * z2).sum(1).mean() + (z @ z.T).square().mean()
    torch.testing.assert_close(spectral.fedsc_loss(z1, z2), reference)


def test_sharing_without_the_others_matrix_is_refused():
    with pytest.raises(ValueError, match=r"alpha 0\.5 needs the others' correlation matrix"):
        spectral.fedsc_loss(randn(2, 2), randn(2, 2), alpha=0.5)


def test_noise_is_symmetric_and_of_the_given_deviation():
    noise = spectral.add_symmetric_noise(torch.zeros(300, 300), 0.5, generator())
    assert torch.equal(noise, noise.T)
    upper = noise[tuple(torch.triu_indices(300, 300))]
    assert upper.std().item() == pytest.approx(0.5, rel=0.02)
    assert noise.diagonal().std().item() == pytest.approx(0.5, rel=0.2)
    assert torch.equal(noise, spectral.add_symmetric_noise(torch.zeros(300, 300), 0.5, generator()))


def test_views_are_two_and_clipped():
    x, law = torch.rand(5, 1, 6, 6, generator=generator()), Affine()
    draws = generator(1)
    first, second = law.apply(x, draws), law.apply(x, draws)
    z1, z2 = spectral.projected_views(torch.nn.Flatten(), x, law, 1.0, generator(1))
    assert not torch.equal(z1, z2)
    for z, view in ((z1, first), (z2, second)):
        flat = view.flatten(1)
        torch.testing.assert_close(z, flat / flat.norm(dim=1, keepdim=True).clamp(min=1))


MATRICES = {k: float(k + 1) * torch.eye(2) for k in range(3)}
SHARES = [0.5, 0.3, 0.2]


def test_the_mean_of_the_others_is_by_share_and_without_oneself():
    torch.testing.assert_close(
        spectral.others_mean(MATRICES, SHARES, 0), (0.3 * 2 + 0.2 * 3) / (1 - 0.5) * torch.eye(2)
    )


def test_who_was_never_heard_of_is_left_out():
    known = {k: MATRICES[k] for k in (0, 2)}
    torch.testing.assert_close(spectral.others_mean(known, SHARES, 1), (0.5 * 1 + 0.2 * 3) / 0.7 * torch.eye(2))
    assert torch.equal(spectral.others_mean(known, SHARES, 0), MATRICES[2])


@pytest.mark.parametrize(("known", "shares"), [({}, SHARES), ({1: MATRICES[1]}, SHARES), (MATRICES, [0.0, 1.0, 0.0])])
def test_without_others_there_is_no_mean(known, shares):
    assert spectral.others_mean(known, shares, 1) is None


@pytest.mark.parametrize("size", [1, 2, 3, 17])
def test_the_upper_triangle_is_the_whole_matrix(size):
    r = randn(size, size)
    entries = spectral.upper_triangle(r + r.T)
    assert len(entries) == size * (size + 1) // 2
    assert torch.equal(spectral.from_upper_triangle(entries), r + r.T)
