"""Merging: every method against a dense float64 oracle, and what holds for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from loramix.adapter import Adapter, LoraSettings
from loramix.errors import AdapterMismatchError, ConfigError
from loramix.merge import METHODS, Product, Setting, Share, merge_adapters
from loramix.merge.expert import Inputs, _seed
from loramix.merge.search import Candidate, _grid
from loramix.merge.stream import Stream
from loramix.merge.thin import dense_spectrum, thin_spectrum
from loramix.peft_config import rank_and_scaling
from tiny import make_tiny, random_adapter
from tiny_base import make_base

Oracle = Callable[[list[Tensor], list[float], float, int], Tensor]


def random_product(rank: int, d_in: int, d_out: int, seed: int) -> Product:
    random = torch.Generator().manual_seed(seed)
    make = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64)  # noqa: E731
    return Product(make(rank, d_in), make(d_out, rank))


def best_of_rank(matrix: Tensor, rank: int) -> Tensor:
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] @ torch.diag(s[:rank]) @ v[:rank]


def top(matrix: Tensor, density: float) -> Tensor:
    """Entry by entry, by sorting all of them."""
    entries = sorted(range(matrix.numel()), key=lambda i: -abs(float(matrix.view(-1)[i])))
    result = torch.zeros_like(matrix)
    for i in entries[: round(density * matrix.numel())]:
        result.view(-1)[i] = matrix.view(-1)[i]
    return result


def elected(matrices: list[Tensor], weights: list[float]) -> Tensor:
    """TIES' sign election and disjoint mean, one entry at a time."""
    result = torch.zeros_like(matrices[0])
    for i in range(result.numel()):
        values = [float(matrix.reshape(-1)[i]) for matrix in matrices]
        vote = sum(w * v for w, v in zip(weights, values, strict=True))
        agree = [(w, v) for w, v in zip(weights, values, strict=True) if w and v * vote > 0]
        if agree:
            mean = sum(w * v for w, v in agree) / sum(w for w, _ in agree)
            result.view(-1)[i] = mean * sum(weights)
    return result


def summed(matrices: list[Tensor], weights: list[float]) -> Tensor:
    return sum((w * m for w, m in zip(weights, matrices, strict=True)), torch.tensor(0.0).double())


def dropped(matrices: list[Tensor], density: float, seed: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [
        (torch.rand(matrix.shape, generator=random) < density) * matrix / density
        for matrix in matrices
    ]


ORACLES: Mapping[str, Oracle] = {
    "concat": lambda m, w, d, s: summed(m, w),
    "linear": lambda m, w, d, s: summed(m, w),
    "magnitude_prune": lambda m, w, d, s: summed([top(x, d) for x in m], w),
    "ties": lambda m, w, d, s: elected([top(x, d) for x in m], w),
    "dare_linear": lambda m, w, d, s: summed(dropped(m, d, s), w),
    "dare_ties": lambda m, w, d, s: elected(dropped(m, d, s), w),
}
OWN = {"svd", "regmean", "regmean_seq"}  # cut in a way of their own; tested below


def relative(got: Tensor, right: Tensor) -> float:
    return float((got.double() - right).norm() / right.norm().clamp_min(1e-30))


def test_every_method_has_an_oracle() -> None:
    assert set(ORACLES) | OWN == set(METHODS)


@pytest.mark.parametrize("name", ORACLES)
@given(
    ranks=st.lists(st.integers(0, 5), min_size=2, max_size=4).filter(any),
    weights=st.lists(st.floats(0.1, 4), min_size=4, max_size=4),
    density=st.sampled_from([0.1, 0.5, 1.0]),
    rank=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_a_method_is_its_dense_oracle(
    name: str, ranks: list[int], weights: list[float], density: float, rank: int, seed: int
) -> None:
    deltas = [random_product(r, 8, 11, seed + i) for i, r in enumerate(ranks)]
    weights = weights[: len(ranks)]
    shares = [Share(d, w) for d, w in zip(deltas, weights, strict=True)]
    cut = METHODS[name].merge(shares, Setting(rank, density, seed))
    whole = ORACLES[name]([d.dense() for d in deltas], weights, density, seed)
    right = whole if name == "concat" else best_of_rank(whole, rank)
    assert float((cut.product.dense() - right).norm()) <= 1e-6 * float(whole.norm()) + 1e-12
    assert cut.total == pytest.approx(float(whole.square().sum()), rel=1e-6, abs=1e-12)
    assert cut.lost == pytest.approx(
        float((whole - right).square().sum()), abs=1e-6 * cut.total + 1e-12
    )
    if name != "concat":
        assert cut.product.rank <= rank


def test_svd_cuts_each_skill_by_itself_and_deals_the_rank_out_evenly() -> None:
    deltas = [random_product(r, 9, 10, r) for r in (1, 4, 6)]
    cut = METHODS["svd"].merge([Share(d, 0.5) for d in deltas], Setting(7))
    parts = zip(deltas, (1, 3, 3), strict=True)
    right = summed([best_of_rank(d.dense(), m) for d, m in parts], [0.5] * 3)
    assert relative(cut.product.dense(), right) < 1e-9
    whole = summed([d.dense() for d in deltas], [0.5] * 3)
    assert cut.lost == pytest.approx(float((whole - right).square().sum()))


def test_svd_with_all_the_rank_it_needs_is_exact() -> None:
    deltas = [random_product(r, 16, 16, r) for r in (2, 5)]
    cut = METHODS["svd"].merge([Share(d, 1.0) for d in deltas], Setting(7))
    assert relative(cut.product.dense(), deltas[0].dense() + deltas[1].dense()) < 1e-9


def test_regmean_is_the_least_squares_solution_and_cuts_where_outputs_lose_least() -> None:
    random = torch.Generator().manual_seed(0)
    deltas = [random_product(2, 6, 7, i) for i in range(3)]
    weights = [0.2, 0.5, 0.3]
    inputs = [torch.randn(20, 6, generator=random, dtype=torch.float64) for _ in deltas]
    shares = [Share(d, w, x.T @ x) for d, w, x in zip(deltas, weights, inputs, strict=True)]
    rows = [x * w**0.5 for x, w in zip(inputs, weights, strict=True)]
    x = torch.cat(rows)
    y = torch.cat([r @ d.dense().T for r, d in zip(rows, deltas, strict=True)])
    right = torch.linalg.lstsq(x, y).solution.T
    assert relative(METHODS["regmean"].merge(shares, Setting(6)).product.dense(), right) < 1e-9
    cut = METHODS["regmean"].merge(shares, Setting(2)).product.dense()
    fitted = x @ right.T
    reached = float((x @ cut.T - fitted).norm())
    assert reached == pytest.approx(float((best_of_rank(fitted, 2) - fitted).norm()))


def test_regmean_seq_is_the_least_squares_fit_of_the_outputs_that_are_wanted() -> None:
    random = torch.Generator().manual_seed(0)
    deltas = [random_product(2, 6, 7, i) for i in range(3)]
    weights = [0.2, 0.5, 0.3]
    seen = [torch.randn(20, 6, generator=random, dtype=torch.float64) for _ in deltas]
    wanted = [torch.randn(20, 7, generator=random, dtype=torch.float64) for _ in deltas]
    shares = [
        Share(d, w, x.T @ x, y.T @ x)
        for d, w, x, y in zip(deltas, weights, seen, wanted, strict=True)
    ]
    x = torch.cat([x * w**0.5 for x, w in zip(seen, weights, strict=True)])
    y = torch.cat([y * w**0.5 for y, w in zip(wanted, weights, strict=True)])
    right = torch.linalg.lstsq(x, y).solution.T
    assert relative(METHODS["regmean_seq"].merge(shares, Setting(6)).product.dense(), right) < 1e-9
    cut = METHODS["regmean_seq"].merge(shares, Setting(2)).product.dense()
    assert float((x @ cut.T - x @ right.T).norm()) == pytest.approx(
        float((best_of_rank(x @ right.T, 2) - x @ right.T).norm())
    )


@pytest.mark.parametrize("method", ["regmean", "regmean_seq"])
def test_the_inputs_of_embeddings_are_as_good_as_their_diagonal(method: str) -> None:
    counts = [torch.tensor([5.0, 1, 0.1, 2]).double(), torch.tensor([0.1, 3, 0.1, 2]).double()]
    deltas = [random_product(2, 4, 7, i) for i in range(2)]
    short, long = (
        METHODS[method].merge(
            [Share(d, w, g) for d, w, g in zip(deltas, (0.3, 0.7), grams, strict=True)], Setting(3)
        )
        for grams in (counts, [count.diag() for count in counts])
    )
    assert relative(short.product.dense(), long.product.dense()) < 1e-9
    assert (short.lost, short.total) == pytest.approx((long.lost, long.total))


def test_a_stream_through_equal_skills_gives_that_skill_back() -> None:
    base = make_base()
    targets = ("q_proj", "k_proj", "o_proj", "down_proj", "embed_tokens")
    shape = LoraSettings(r=2, alpha=4, target_modules=targets)
    adapter = random_adapter(base.model, shape)
    rows = [("the cat sat", "on the mat"), ("add two and two", "four"), ("the dog", "sat")]
    stream = Stream(base, {"a": adapter, "b": adapter}, {"a": rows, "b": rows[1:]})
    assert set(stream.order) == set(adapter.modules)
    expert = merge_adapters(
        {"a": adapter, "b": adapter}, [1, 3], "regmean_seq", rank=8, stream=stream
    )
    got = deltas(expert.adapter)
    assert all(relative(got[path], right) < 1e-3 for path, right in deltas(adapter).items())


def test_a_stream_meets_what_was_merged_before() -> None:
    base = make_base()
    shape = LoraSettings(r=2, alpha=4, target_modules=("q_proj", "down_proj"))
    adapter = random_adapter(base.model, shape)
    stream = Stream(base, {"a": adapter}, {"a": [("the cat sat", "on the mat")]})
    first, *_, last = stream.order
    assert (first.split(".")[2], last.split(".")[2]) == ("0", "1")
    plain = stream.moments("a", last)[0]
    stream.begin()
    module = adapter.modules[first]
    stream.place(first, dataclasses.replace(module, B=module.B * 5, scaling=1.0))
    assert relative(stream.moments("a", last)[0], plain) > 1e-2


def test_a_method_that_needs_inputs_says_so() -> None:
    with pytest.raises(ConfigError, match="inputs"):
        METHODS["regmean"].merge([Share(random_product(1, 3, 3, 0), 1.0)], Setting(1))


def test_the_thin_spectrum_is_the_dense_one() -> None:
    product = random_product(5, 12, 9, 0)
    right = torch.linalg.svdvals(product.dense())[:5]
    assert torch.allclose(thin_spectrum(product).S, right)
    assert product.energy() == pytest.approx(float(product.dense().square().sum()))


def test_a_large_matrix_is_projected_and_nearly_optimal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loramix.merge.thin.EXACT", 8)
    matrix = random_product(60, 80, 70, 0).dense()
    exact = torch.linalg.svdvals(matrix)[:10].square().sum()
    found = dense_spectrum(matrix, 10).S.square().sum()
    assert float(found / exact) > 0.98
    low = random_product(5, 80, 70, 1).dense()
    product, share = dense_spectrum(low, 10).cut(10)
    assert relative(product.dense(), low) < 1e-9
    assert share == pytest.approx(1.0)


# ── whole adapters ───────────────────────────────────────────────────────────────────────────

settings_of_lora = st.builds(
    LoraSettings,
    r=st.integers(1, 6),
    alpha=st.sampled_from([1.0, 7.5, 16.0]),
    use_rslora=st.booleans(),
    target_modules=st.sampled_from(
        [("q_proj", "v_proj"), ("q_proj", "down_proj"), r".*\.1\..*(k_proj|up_proj)"]
    ),
    rank_pattern=st.sampled_from([{}, {"q_proj": 3}, {r".*\.0\..*": 2}]),
    alpha_pattern=st.sampled_from([{}, {r".*\.1\..*": 3.0}]),
)
MODEL = make_tiny()


def adapters_of(*shapes: LoraSettings) -> dict[str, Adapter]:
    return {f"skill{i}": random_adapter(MODEL, shape, i) for i, shape in enumerate(shapes)}


def some_adapters() -> dict[str, Adapter]:
    return adapters_of(
        LoraSettings(r=3, alpha=6),
        LoraSettings(r=5, alpha=2.5, use_rslora=True, target_modules=("q_proj", "k_proj")),
        LoraSettings(r=2, alpha=8, target_modules=("q_proj", "v_proj", "down_proj")),
    )


def some_inputs(adapters: Mapping[str, Adapter]) -> Inputs:
    random = torch.Generator().manual_seed(0)
    widths = {p: m.A.shape[1] for a in adapters.values() for p, m in a.modules.items()}

    def gram(width: int) -> Tensor:
        x = torch.randn(2 * width, width, generator=random, dtype=torch.float64)
        return x.T @ x

    return {name: {path: gram(width) for path, width in widths.items()} for name in adapters}


def deltas(adapter: Adapter) -> dict[str, Tensor]:
    return {path: module.delta() for path, module in adapter.modules.items()}


@given(st.lists(settings_of_lora, min_size=2, max_size=4), st.sampled_from(["concat", "linear"]))
def test_exact_methods_hold_for_any_ranks_scalings_patterns_and_targets(
    shapes: list[LoraSettings], method: str
) -> None:
    adapters = adapters_of(*shapes)
    weights = [float(i + 1) for i in range(len(shapes))]
    expert = merge_adapters(adapters, weights, method)
    for path, got in deltas(expert.adapter).items():
        right = summed(
            [a.modules[path].delta() for a in adapters.values() if path in a.modules],
            [
                w / sum(weights)
                for w, a in zip(weights, adapters.values(), strict=True)
                if path in a.modules
            ],
        )
        assert relative(got, right) < 1e-5
    assert set(expert.adapter.modules) == {p for a in adapters.values() for p in a.modules}
    assert expert.energy == pytest.approx(1.0)


@pytest.mark.parametrize("method", METHODS)
def test_what_all_methods_promise(method: str) -> None:
    adapters = some_adapters()
    inputs = some_inputs(adapters)

    def merged(weights: list[float]) -> Adapter:
        return merge_adapters(adapters, weights, method, inputs=inputs).adapter

    # one weight: that adapter
    one = deltas(merged([1, 0, 0]))
    first = deltas(adapters["skill0"])
    assert one.keys() == first.keys()
    assert all(relative(one[path], right) < 1e-5 for path, right in first.items())
    # only the ratios of the weights count
    two, ten = deltas(merged([2, 1, 3])), deltas(merged([10, 5, 15]))
    assert all(relative(ten[path], right) < 1e-6 for path, right in two.items())
    # plain LoRA: alpha = r, no patterns, one rank
    config = merged([2, 1, 3]).config
    assert config["lora_alpha"] == config["r"]
    assert not config["rank_pattern"]
    assert not config["alpha_pattern"]
    assert not config["use_rslora"]
    for path, module in merged([2, 1, 3]).modules.items():
        assert rank_and_scaling(config, path) == (module.rank, 1.0)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_the_seed_decides_what_is_dropped(method: str) -> None:
    adapters = some_adapters()

    def first(seed: int) -> Tensor:
        return next(
            iter(deltas(merge_adapters(adapters, method=method, seed=seed).adapter).values())
        )

    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(4))
    assert _seed(0, "a") != _seed(0, "b")


def test_an_adapter_merged_with_itself_is_itself() -> None:
    adapter = some_adapters()["skill1"]
    expert = merge_adapters({"a": adapter, "b": adapter}, [0.3, 0.9])
    got = deltas(expert.adapter)
    assert all(relative(got[path], right) < 1e-5 for path, right in deltas(adapter).items())


def test_a_smaller_rank_keeps_the_energy_that_it_reports() -> None:
    adapters = some_adapters()
    exact = deltas(merge_adapters(adapters, method="concat").adapter)
    expert = merge_adapters(adapters, rank=2)
    got = deltas(expert.adapter)
    lost = sum(float((got[p] - right).square().sum()) for p, right in exact.items())
    total = sum(float(right.square().sum()) for right in exact.values())
    assert expert.rank == 2
    assert 0 < expert.energy < 1
    assert expert.energy == pytest.approx(1 - lost / total, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": [0, 0, 0]}, "All weights of the merge are zero"),
        ({"weights": [1, -1, 0]}, "at least 0"),
        ({"weights": [1, float("nan"), 0]}, "finite"),
        ({"weights": [1, 2]}, "2 weights for 3 skills"),
        ({"rank": 33}, "rank 33"),
        ({"rank": 0}, "rank 0"),
        ({"method": "concat", "rank": 4}, "none can be chosen"),
        ({"density": 0.0}, "density 0"),
        ({"density": 1.5}, "density 1.5"),
        ({"scale": 0.0}, "scale"),
        ({"method": "lineal"}, "did you mean 'linear'"),
    ],
)
def test_what_cannot_be_is_told(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        merge_adapters(some_adapters(), **change)  # type: ignore[arg-type]


def test_skills_of_different_bases_are_refused() -> None:
    other = random_adapter(make_tiny(hidden_size=64), LoraSettings(r=2))
    with pytest.raises(AdapterMismatchError, match="different bases"):
        merge_adapters({**some_adapters(), "other": other})


def test_the_search_tries_every_method_and_no_candidate_twice() -> None:
    tried = list(_grid(Candidate("linear", (1.0, 1.0)), None, None, None))
    assert len(set(tried)) == len(tried)
    assert {candidate.method for candidate in tried} == set(METHODS) - {"concat"}
    assert dataclasses.replace(tried[0], method="x") != tried[0]
