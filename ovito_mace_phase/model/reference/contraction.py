"""Messages -> invariants: products of one, two and three components of the message of an atom.

    B[a, c] = sum_nu sum_m ( sum_p K_nu[m, p] W_nu[z_a, p, c] )  prod_{q in monomial m} A[a, c, q]

Symmetrised over its indices, the coupling tensor of mace (16 x 16 x 16 x 23 for l_max = 3) has only 77 monomials of
order three that do not vanish. The paths p are kept apart since the trained weights W belong to them.
Source: Batatia et al., NeurIPS 2022, eq. 10 and 11.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def symmetric_contraction(
    message: Tensor, monomials: Sequence[Tensor], coefficients: Sequence[Tensor], path_weights: Sequence[Tensor]
) -> Tensor:
    """Return B, (n_atoms, n_channels).

    Parameters
    ----------
    message
        A, (n_atoms, n_channels, n_components).
    monomials, coefficients
        For each order nu: component indices (n_monomials, nu) int64, and K (n_monomials, n_paths).
    path_weights
        For each order nu: W[z_a], (n_atoms, n_paths, n_channels), the rows already chosen by element.
    """
    total = message.new_zeros(message.shape[:2])
    for factors, coupling, weight in zip(monomials, coefficients, path_weights, strict=True):
        value = message[..., factors[:, 0]]
        for order in range(1, factors.shape[1]):
            value = value * message[..., factors[:, order]]
        total = total + ((value @ coupling) * weight.transpose(1, 2)).sum(-1)
    return total
