"""The merge methods: pure functions from what skills do to one matrix to what the expert does.

Each gets one `Share` a skill (ΔW_k = B_k A_k with its scaling inside, and its weight g_k) and a
`Setting`, and gives a `Cut`: a product of at most the asked rank, and how much of the merged
matrix that rank could not hold. A skill that does not touch the matrix has a share of rank 0, so
that it counts as zero there. `METHODS` is the registry; whoever adds a method adds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from loramix.errors import ConfigError, nearest
from loramix.merge.thin import Product, Spectrum, dense_spectrum, stacked, thin_spectrum


@dataclass(frozen=True, eq=False)
class Share:
    """What one skill brings to one matrix.

    Attributes:
        delta: ΔW_k, [D_out, D_in] as a product; rank 0 where the skill leaves the matrix alone.
        weight: g_k, at least 0.
        gram: X_kᵀX_k, [D_in, D_in], of the inputs x that the matrix has in prompts of the skill;
            of embeddings, which read one-hot tokens, its diagonal [D_in]. Only for methods that
            need inputs.
        cross: Y_kᵀX_k, [D_out, D_in], of those inputs and what the update should add to the
            outputs there; None is ΔW_k X_kᵀX_k.
    """

    delta: Product
    weight: float
    gram: Tensor | None = None
    cross: Tensor | None = None


@dataclass(frozen=True)
class Setting:
    """How a matrix is merged.

    Attributes:
        rank: that the result may have.
        density: share of the entries that are kept, in (0, 1].
        seed: of the matrix; what is random is drawn from it.
    """

    rank: int
    density: float = 1.0
    seed: int = 0


class Cut(NamedTuple):
    """A merged matrix, cut to a rank.

    Attributes:
        product: the result.
        lost: ‖M - M_r‖², M being the merged matrix before the cut.
        total: ‖M‖².
    """

    product: Product
    lost: float
    total: float


@dataclass(frozen=True)
class Method:
    """One entry of the registry.

    Attributes:
        merge: the function.
        uses_density: whether `density` and, where `seeded`, the seed change the result.
        needs_inputs: whether shares must have a gram.
        sequential: whether the inputs of a matrix depend on those merged before it.
        keeps_rank: whether the result has the ranks' sum, and none can be asked for.
    """

    merge: Callable[[Sequence[Share], Setting], Cut]
    uses_density: bool = False
    seeded: bool = False
    needs_inputs: bool = False
    sequential: bool = False
    keeps_rank: bool = False


def concat(shares: Sequence[Share], setting: Setting) -> Cut:
    """ΔW = Σ g_k B_k A_k, written as [g_1 B_1, …, g_K B_K] [A_1; …; A_K].

    Exact, of rank Σ r_k, whatever rank is asked for. This is PEFT's `cat` with the scalings of
    each adapter inside B_k; LoRA Soups (arXiv 2410.13025, eq. 2) calls it CAT.
    """
    product = _weighted_sum(shares)
    return Cut(product, 0.0, product.energy())


def linear(shares: Sequence[Share], setting: Setting) -> Cut:
    """ΔW = Σ g_k ΔW_k, then its nearest matrix of rank r.

    Task arithmetic (arXiv 2212.04089) on the updates themselves; weighting A and B apart, as
    several tools do, would add cross terms. The cut is that of Eckart and Young (1936).
    """
    return _cut(thin_spectrum(_weighted_sum(shares)), setting.rank)


def svd(shares: Sequence[Share], setting: Setting) -> Cut:
    """ΔW = Σ g_k [ΔW_k]_{m_k}, Σ m_k ≤ r: each skill is cut by itself, then they are summed.

    [·]_m is the nearest matrix of rank m. Every skill keeps as many directions as any other (a
    skill of a smaller rank leaves its rest to them), however small its update is; a cut of the
    sum, as in `linear`, favours large updates. The truncated SVD of one task's update is that of
    Task Singular Vectors (arXiv 2412.00081, section 3.2).
    """
    whole = _weighted_sum(shares)
    ranks = _dealt([share.delta.rank if share.weight else 0 for share in shares], setting.rank)
    cuts = []
    for share, rank in zip(shares, ranks, strict=True):
        kept, _ = thin_spectrum(share.delta).cut(rank)
        cuts.append(Product(kept.A, kept.B * share.weight))
    product = stacked(cuts)
    rest = stacked([whole, Product(product.A, -product.B)])
    return Cut(product, max(0.0, rest.energy()), whole.energy())


def magnitude_prune(shares: Sequence[Share], setting: Setting) -> Cut:
    """ΔW = Σ g_k top_d(ΔW_k), then its nearest matrix of rank r.

    top_d keeps the share d of the entries that are largest in magnitude (Han et al., arXiv
    1506.02626), so that small entries of one skill do not disturb the others.
    """
    return _cut_dense(_sum_of(_trimmed(shares, setting)), setting)


def ties(shares: Sequence[Share], setting: Setting) -> Cut:
    """TIES (arXiv 2306.01708, algorithm 1): trim, elect signs, merge what agrees.

    τ_k = top_d(ΔW_k); γ = sgn(Σ g_k τ_k); for each entry the skills whose τ_k has the sign γ
    give ΔW = λ Σ g_k τ_k / Σ g_k, both sums over them, λ = Σ_k g_k over all skills.
    """
    return _cut_dense(_agreed(lambda: _trimmed(shares, setting), shares), setting)


def dare_linear(shares: Sequence[Share], setting: Setting) -> Cut:
    """DARE (arXiv 2311.03099, eq. 3): drop and rescale, then sum.

    ΔW = Σ g_k m_k ⊙ ΔW_k / d, each entry of m_k being 1 with probability d and 0 otherwise, so
    that the expectation is `linear`. The masks come from the seed.
    """
    return _cut_dense(_sum_of(_dropped(shares, setting)), setting)


def dare_ties(shares: Sequence[Share], setting: Setting) -> Cut:
    """DARE's τ_k = m_k ⊙ ΔW_k / d (arXiv 2311.03099) in the place of the trimmed ones of TIES.

    Signs are elected and what agrees is merged as in `ties` (arXiv 2306.01708).
    """
    return _cut_dense(_agreed(lambda: _dropped(shares, setting), shares), setting)


def regmean(shares: Sequence[Share], setting: Setting) -> Cut:
    """RegMean (arXiv 2212.09849, eq. 2) on the updates: least squares over the skills' inputs.

    ΔW minimises Σ_k g_k ‖(ΔW - ΔW_k) X_kᵀ‖², so ΔW = λ (Σ g_k ΔW_k G_k)(Σ g_k G_k)⁻¹ with
    G_k = X_kᵀX_k and λ = Σ g_k. ΔW_k G_k = B_k (A_k G_k) keeps its rank, so ΔW has rank Σ r_k.
    The cut to rank r loses least of the outputs, not of the weights: with Σ g_k G_k = L Lᵀ, it
    keeps the leading left singular vectors of ΔW L.
    """
    active = [(share, _gram(share)) for share in shares if share.weight]
    low = _root([s.weight * gram for s, gram in active])
    product = stacked(
        [Product(_times(s.delta.A, gram), s.delta.B * s.weight) for s, gram in active]
    )
    a = _over(product.A, low) * sum(share.weight for share in shares)
    merged = Product(a, product.B)
    spectrum = thin_spectrum(Product(_times(a, low), product.B))
    u = spectrum.U[:, : setting.rank]
    cut = Product((u.T @ product.B) @ a, u)
    rest = stacked([merged, Product(cut.A, -cut.B)])
    return Cut(cut, max(0.0, rest.energy()), merged.energy())


def regmean_seq(shares: Sequence[Share], setting: Setting) -> Cut:
    """RegMean matrix after matrix, each on the inputs that the expert so far gives it.

    ΔW minimises Σ_k g_k ‖X̂_k (W + ΔW)ᵀ - X_k (W + ΔW_k)ᵀ‖², X_k being what the matrix reads in
    the skill and X̂_k what it reads in the expert, so ΔW = (Σ g_k Y_kᵀX̂_k)(Σ g_k X̂_kᵀX̂_k)⁻¹ with
    Y_k = X_k (W + ΔW_k)ᵀ - X̂_k Wᵀ. The inputs of the merged model are those of RegMean++ (arXiv
    2508.03121); the outputs of the skill itself as the target let a matrix make good what those
    before it lost, as in GPTAQ (arXiv 2504.02692, eq. 4). The cut is that of `regmean`.
    """
    active = [(share, _gram(share)) for share in shares if share.weight]
    low = _root([s.weight * gram for s, gram in active])
    crosses = [
        s.weight * (_times(s.delta.dense(), gram) if s.cross is None else s.cross)
        for s, gram in active
    ]
    merged = _over(torch.stack(crosses).sum(0), low)
    u = dense_spectrum(_times(merged, low), setting.rank, setting.seed).U
    cut = Product(u.T @ merged, u)
    total = float(merged.square().sum())
    return Cut(cut, float((merged - cut.dense()).square().sum()), total)


METHODS: dict[str, Method] = {
    "concat": Method(concat, keeps_rank=True),
    "linear": Method(linear),
    "svd": Method(svd),
    "ties": Method(ties, uses_density=True),
    "dare_linear": Method(dare_linear, uses_density=True, seeded=True),
    "dare_ties": Method(dare_ties, uses_density=True, seeded=True),
    "magnitude_prune": Method(magnitude_prune, uses_density=True),
    "regmean": Method(regmean, needs_inputs=True),
    "regmean_seq": Method(regmean_seq, needs_inputs=True, sequential=True),
}


def find_method(name: str) -> Method:
    """The method of that name. Raises ConfigError that names the nearest one."""
    try:
        return METHODS[name]
    except KeyError:
        near = nearest(name, METHODS)
        raise ConfigError(
            "There is no such merge method.",
            given=name,
            expected=", ".join(METHODS),
            hint=f"did you mean {near!r}?" if near else "name one of them",
        ) from None


def _weighted_sum(shares: Sequence[Share]) -> Product:
    return stacked([Product(s.delta.A, s.delta.B * s.weight) for s in shares if s.weight])


def _dealt(ranks: Sequence[int], total: int) -> list[int]:
    """Deals `total` out evenly; nobody gets more than its own, and what it leaves goes on."""
    dealt = [0] * len(ranks)
    left = sorted(range(len(ranks)), key=lambda k: ranks[k])
    while left:
        k = left.pop(0)
        dealt[k] = min(ranks[k], total // (len(left) + 1))
        total -= dealt[k]
    return dealt


def _top(matrix: Tensor, density: float) -> Tensor:
    """The entries of largest magnitude, a share `density` of them; 0 in the place of the rest."""
    count = round(density * matrix.numel())
    if count >= matrix.numel():
        return matrix
    if count == 0:
        return torch.zeros_like(matrix)
    sizes = matrix.abs()
    least = sizes.reshape(-1).kthvalue(matrix.numel() - count + 1).values
    return torch.where(sizes >= least, matrix, 0)


def _trimmed(shares: Sequence[Share], setting: Setting) -> Iterator[tuple[float, Tensor]]:
    """(g_k, top_d(ΔW_k)), one dense matrix at a time."""
    for share in shares:
        yield share.weight, _top(share.delta.dense(), setting.density)


def _dropped(shares: Sequence[Share], setting: Setting) -> Iterator[tuple[float, Tensor]]:
    """(g_k, m_k ⊙ ΔW_k / d), one dense matrix at a time."""
    random = torch.Generator().manual_seed(setting.seed)
    for share in shares:
        dense = share.delta.dense()
        kept = torch.rand(dense.shape, generator=random).to(dense.device) < setting.density
        yield share.weight, torch.where(kept, dense / setting.density, 0)


def _sum_of(matrices: Iterator[tuple[float, Tensor]]) -> Tensor:
    total: Tensor | None = None
    for weight, matrix in matrices:
        total = matrix * weight if total is None else total.add_(matrix, alpha=weight)
    assert total is not None  # there is a share of every skill
    return total


def _agreed(
    matrices: Callable[[], Iterator[tuple[float, Tensor]]], shares: Sequence[Share]
) -> Tensor:
    """λ Σ g_k τ_k / Σ g_k over the skills that have the elected sign, entry by entry.

    The matrices are made twice, so that never more than a few are in memory.
    """
    sign = _sum_of(matrices()).sign_()
    total, count = torch.zeros_like(sign), torch.zeros_like(sign)
    for weight, matrix in matrices():
        agrees = matrix * sign > 0
        total += torch.where(agrees, matrix * weight, 0)
        count += agrees * weight
    whole = sum(share.weight for share in shares)
    return torch.where(count > 0, total / count.clamp_min(1e-300) * whole, 0)


def _gram(share: Share) -> Tensor:
    if share.gram is None:
        raise ConfigError(
            "This merge method needs inputs of the skills.",
            expected="the inputs of each module, as `loramix.merge.inputs` collects them",
            hint="use another method, or give examples of each skill",
        )
    return share.gram


def _root(grams: Sequence[Tensor]) -> Tensor:
    """L of L Lᵀ = Σ G_k; of diagonals the diagonal."""
    whole = torch.stack(list(grams)).sum(0)
    return whole.sqrt() if whole.dim() == 1 else torch.linalg.cholesky(whole)


def _times(matrix: Tensor, gram: Tensor) -> Tensor:
    """M G, where G may be a diagonal."""
    return matrix * gram if gram.dim() == 1 else matrix @ gram


def _over(matrix: Tensor, low: Tensor) -> Tensor:
    """M (L Lᵀ)⁻¹."""
    if low.dim() == 1:
        return matrix / low.square()
    solved: Tensor = torch.cholesky_solve(matrix.T, low).T
    return solved


def _cut(spectrum: Spectrum, rank: int) -> Cut:
    product, _ = spectrum.cut(rank)
    kept = float(spectrum.S[:rank].square().sum())
    return Cut(product, max(0.0, spectrum.total - kept), spectrum.total)


def _cut_dense(matrix: Tensor, setting: Setting) -> Cut:
    return _cut(dense_spectrum(matrix, setting.rank, setting.seed), setting.rank)
