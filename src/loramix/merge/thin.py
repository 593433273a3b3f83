"""Thin products: what a sum of low-rank updates is, and its best rank-r part, never made dense.

A sum Σ_k B_k A_k is itself a product B A of stacked factors, B [D_out, R] and A [R, D_in]. With
the QR decompositions B = Q_B R_B and Aᵀ = Q_A R_A its SVD is that of the small core R_B R_Aᵀ
[R, R], turned by Q_B and Q_A. By Eckart and Young (1936) its first r terms are the nearest matrix
of rank r.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

EXACT = 1024
"""Up to this smaller side a dense matrix is decomposed exactly; above, its leading part is found
by random projection (Halko, Martinsson and Tropp 2011, algorithm 4.4)."""
_EXTRA, _PASSES = 16, 4


class Product(NamedTuple):
    """A matrix as the product B A.

    Attributes:
        A: [R, D_in]
        B: [D_out, R]
    """

    A: Tensor
    B: Tensor

    @property
    def rank(self) -> int:
        """Columns of B: the rank that the product has at most."""
        return self.A.shape[0]

    def dense(self) -> Tensor:
        """B A, [D_out, D_in]."""
        return self.B @ self.A

    def energy(self) -> float:
        """‖B A‖², from the R × R products: tr(BᵀB · A Aᵀ)."""
        return float(((self.B.T @ self.B) * (self.A @ self.A.T)).sum())


class Spectrum(NamedTuple):
    """A singular value decomposition U diag(S) V.

    Attributes:
        U: [D_out, n], orthonormal columns.
        S: [n], falling.
        V: [n, D_in], orthonormal rows.
        total: ‖M‖², of which Σ S² is what the decomposition holds.
    """

    U: Tensor
    S: Tensor
    V: Tensor
    total: float

    def cut(self, rank: int) -> tuple[Product, float]:
        """The nearest matrix of at most this rank, and the share of ‖M‖² that it keeps.

        Its singular values are shared evenly, √S to each side, so that A and B are of one size.
        """
        root = self.S[:rank].sqrt()
        kept = float(self.S[:rank].square().sum())
        share = 1.0 if self.total <= 0 else min(1.0, kept / self.total)
        return Product(root[:, None] * self.V[:rank], self.U[:, :rank] * root), share


def stacked(parts: list[Product]) -> Product:
    """Σ_k B_k A_k as one product of rank Σ r_k."""
    return Product(torch.cat([p.A for p in parts]), torch.cat([p.B for p in parts], dim=1))


def thin_spectrum(product: Product) -> Spectrum:
    """The exact SVD of B A, through QR of both sides and an SVD of the core [≤ R, ≤ R]."""
    q_b, r_b = torch.linalg.qr(product.B)
    q_a, r_a = torch.linalg.qr(product.A.T)
    u, s, v = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
    return Spectrum(q_b @ u, s, v @ q_a.T, float(s.square().sum()))


def dense_spectrum(matrix: Tensor, rank: int, seed: int = 0) -> Spectrum:
    """The leading `rank` terms of the SVD of a dense matrix [D_out, D_in].

    Exact where the smaller side is at most `EXACT`. Above, of the projection of `matrix` to
    rank + 16 random directions after 4 power passes; the energy is that of what was found.
    """
    total = float(matrix.square().sum())
    if min(matrix.shape) <= max(EXACT, rank + _EXTRA):
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        return Spectrum(u[:, :rank], s[:rank], v[:rank], total)
    random = torch.Generator().manual_seed(seed)
    probe = torch.randn(matrix.shape[1], rank + _EXTRA, generator=random, dtype=matrix.dtype).to(
        matrix.device
    )
    q, _ = torch.linalg.qr(matrix @ probe)
    for _ in range(_PASSES):
        q, _ = torch.linalg.qr(matrix.T @ q)
        q, _ = torch.linalg.qr(matrix @ q)
    u, s, v = torch.linalg.svd(q.T @ matrix, full_matrices=False)
    return Spectrum((q @ u)[:, :rank], s[:rank], v[:rank], total)
