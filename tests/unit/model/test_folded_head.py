"""A head ready for use: frames of one species read the means once, or twice where their blocks have two floors."""

from __future__ import annotations

import pytest
import torch

from ovito_mace_phase.model.network.folded_head import FoldedHead
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead

WIDTH, N_PLAIN, N_BLOCKS, N = 12, 4, 4, 9


def drawn(seed: int, same_floor: bool) -> PhaseHead:
    torch.manual_seed(seed)
    config = HeadConfig(n_features=N_BLOCKS * WIDTH, n_phases=5, n_hidden=8, dropout=0.0, n_density=6)
    head = PhaseHead(config).eval().requires_grad_(False)
    for parameter in head.parameters():
        parameter.normal_(0.0, 0.3)
    head.mean.uniform_(-1.0, 1.0)
    head.scale.uniform_(0.5, 2.0)
    floors = head.floor.unflatten(0, (N_BLOCKS, WIDTH))
    floors[:, N_PLAIN:].uniform_(0.0, 0.5)
    if same_floor:
        floors[-2].copy_(floors[-1])
    return head


@pytest.mark.parametrize("same_floor", [True, False])
@pytest.mark.parametrize("with_gradient", [True, False])
def test_one_species_is_what_two_equal_blocks_are(rng, same_floor, with_gradient):
    head = drawn(int(rng.integers(2**31)), same_floor)
    folded = FoldedHead(head, WIDTH, N_PLAIN)
    assert folded.folds == same_floor
    parts = list(torch.rand(N_BLOCKS - 1, N, WIDTH))
    with torch.set_grad_enabled(with_gradient):
        wanted = folded.logits([*parts, parts[-1]], one_species=False)
        torch.testing.assert_close(folded.logits(parts, one_species=True), wanted, atol=1e-5, rtol=1e-5)
        density = folded.log_density([*parts, parts[-1]], one_species=False)
        torch.testing.assert_close(folded.log_density(parts, one_species=True), density, atol=1e-5, rtol=1e-5)
    roots = folded.roots([*parts, parts[-1]])
    expected = head.finish(torch.addmm(head.entry_bias(), (roots - head.mean) / head.scale, head.entry_weight().T))
    torch.testing.assert_close(wanted, expected, atol=1e-5, rtol=1e-5)
