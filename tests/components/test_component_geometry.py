"""What components are by their weights, against the rank-one matrices and the model's scores."""

import numpy as np
import pytest
import torch

from analysis.attention import Site, Taps
from analysis.components.decomposed import Components, Decomposition, reading
from analysis.components.geometry import (
    PROJECTIONS,
    Rotation,
    contributions,
    head_norms,
    head_spread,
    head_vectors,
    pair_contributions,
    projections,
    weight_norms,
)
from analysis.components.harvest import harvest
from analysis.errors import UserError
from analysis.models.load import hidden_states

from .decomposed_models import N, decomposed, importance_of

ROTARY = ["llama_simple_mlp", "llama_simple_mlp_adjacent", "llama"]
LAYER, N_POS = 1, 11
IDS = torch.randint(2, 100, (1, N_POS), generator=torch.Generator().manual_seed(6))


@pytest.fixture(params=ROTARY)
def made(request, saved) -> Decomposition:
    return decomposed(saved(request.param))


def test_norms_by_head_are_those_of_the_sliced_matrices(made):
    card = made.model.card
    assert card.n_kv_heads < card.n_heads, "grouped, or k and v test nothing of their own"
    for (_, letter), name in projections(made).items():
        parts, site = made.components[name], PROJECTIONS[letter]
        V, U = (factor.detach().double().numpy() for factor in (parts.V, parts.U))
        n = card.n_kv_heads if letter in "kv" else card.n_heads
        norms = head_norms(parts, site, card)
        assert norms.shape == (N, n)
        weight = made.model.net.get_submodule(name).weight.detach()
        whole = weight_norms(weight, site, card)
        for head in range(n):
            rows = slice(head * card.d_head, (head + 1) * card.d_head)
            part = (slice(None), rows) if letter == "o" else (rows, slice(None))
            assert whole[head] == pytest.approx(np.linalg.norm(weight.numpy()[part]), rel=1e-5)
            for c in range(N):
                expected = np.linalg.norm(np.outer(U[c], V[:, c])[part])
                assert norms[c, head] == pytest.approx(expected, rel=1e-5)


def test_spread_is_the_entropy_of_squared_norms():
    norms = torch.tensor([[2.0, 0, 0, 0], [3, 3, 3, 3], [0, 5, 0, 5], [0, 0, 0, 0], [1, 2, 0, 0]])
    share = np.array([0.2, 0.8])
    expected = [0, np.log(4), np.log(2), 0, -(share * np.log(share)).sum()]
    np.testing.assert_allclose(head_spread(norms), expected, atol=1e-6)


def test_weights_are_known_by_layer_and_letter(saved):
    made = decomposed(saved("llama"), layers=r".*\.(q_proj|o_proj|up_proj)")
    assert projections(made) == {
        (layer, letter): f"model.layers.{layer}.self_attn.{letter}_proj"
        for layer in range(2)
        for letter in "qo"
    }


@pytest.mark.parametrize("adjacent", [False, True])
def test_contributions_follow_the_formula(adjacent):
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(n, 8, generator=generator, dtype=torch.double) for n in (3, 2))
    half = torch.arange(4)
    first = 2 * half if adjacent else half
    second = first + 1 if adjacent else half + 4
    rotation = Rotation(first, second, 10000.0 ** (-2 * half.double() / 8))
    found = contributions(q, k, torch.tensor([0, 1, 5]), rotation)
    for o, offset in enumerate((0, 1, 5)):
        for c, d in np.ndindex(3, 2):
            total = 0.0
            for i in range(4):
                a, b = (2 * i, 2 * i + 1) if adjacent else (i, i + 4)
                theta = 10000 ** (-2 * i / 8)
                A = q[c, a] * k[d, a] + q[c, b] * k[d, b]
                B = q[c, a] * k[d, b] - q[c, b] * k[d, a]
                total += A * np.cos(offset * theta) + B * np.sin(offset * theta)
            assert found[o, c, d] == pytest.approx(float(total) / np.sqrt(8), abs=1e-12)


def turned(x: torch.Tensor, heads: int, *, adjacent: bool) -> np.ndarray:
    """Vectors (pos, heads * d_head) turned by their absolute positions, as complex numbers."""
    split = x.double().numpy().reshape(len(x), heads, -1)
    half = split.shape[-1] // 2
    a, b = (split[..., 0::2], split[..., 1::2]) if adjacent else np.split(split, 2, -1)
    angle = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(half) / half)
    return (a + 1j * b) * np.exp(1j * angle)[:, None]


def scores(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Scaled scores (head, query, key) of turned vectors; keys are shared by groups."""
    shared = k.repeat(q.shape[1] // k.shape[1], axis=1)
    return np.einsum("qhd,khd->hqk", q, shared.conj()).real / np.sqrt(2 * q.shape[-1])


def seen(made: Decomposition) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The model's own scores in a layer (head, query, key), and what its q and k read."""
    kept: dict[int, torch.Tensor] = {}

    def keep(where, tensor):
        kept[where.layer] = tensor[0]
        return tensor

    names = projections(made)
    wanted = {letter: names[LAYER, letter] for letter in "qk"}
    with torch.no_grad(), reading(made.model, wanted.values()) as inputs:
        hidden_states(made.model, IDS, Taps(edits={Site.SCORES: keep}))
    return kept[LAYER], {letter: inputs[name][0] for letter, name in wanted.items()}


@torch.no_grad()
def test_pairs_and_remainders_add_up_to_the_models_scores(made):
    """Activations times contributions at every offset, over all pairs, plus what Delta adds."""
    card, names = made.model.card, projections(made)
    true, read = seen(made)
    site = {"q": Site.Q, "k": Site.K}
    heads = {"q": card.n_heads, "k": card.n_kv_heads}
    parts = {letter: made.components[names[LAYER, letter]] for letter in "qk"}
    a = {letter: parts[letter].activations(read[letter]) for letter in "qk"}
    vectors = {letter: head_vectors(parts[letter], site[letter], card) for letter in "qk"}
    offsets = torch.arange(N_POS)
    W = pair_contributions(vectors["q"], vectors["k"], offsets, Rotation.of(made))
    adjacent = bool(card.config.get("rope_adjacent_pairs"))
    by_parts, left = {}, {}
    for letter in "qk":
        delta = read[letter] @ made.delta(names[LAYER, letter]).T
        written = a[letter] @ parts[letter].U
        by_parts[letter] = turned(written, heads[letter], adjacent=adjacent)
        left[letter] = turned(delta, heads[letter], adjacent=adjacent)
    remainders = (
        scores(by_parts["q"], left["k"])
        + scores(left["q"], by_parts["k"])
        + scores(left["q"], left["k"])
    )
    pairs = np.zeros((card.n_heads, N_POS, N_POS))
    still = np.zeros_like(pairs)
    for t in range(N_POS):
        for s in range(t + 1):
            pairs[:, t, s] = torch.einsum("c,hcd,d->h", a["q"][t], W[:, t - s], a["k"][s])
            still[:, t, s] = torch.einsum("c,hcd,d->h", a["q"][t], W[:, 0], a["k"][s])
    visible = np.tril(np.ones((N_POS, N_POS), dtype=bool))
    expected = true.numpy()[:, visible]
    np.testing.assert_allclose((pairs + remainders)[:, visible], expected, atol=1e-4)
    assert np.abs(pairs[:, visible] - expected).max() > 0.01, "remainders matter here"
    assert np.abs((still + remainders)[:, visible] - expected).max() > 0.01, "so do offsets"


@torch.no_grad()
def test_without_signs_a_contribution_can_mean_its_opposite(saved):
    """A query component that reads against what is there, a key component that reads with it."""
    made = decomposed(saved("llama_simple_mlp"))
    names = projections(made)
    query, key = names[LAYER, "q"], names[LAYER, "k"]
    _, read = seen(made)
    direction = read["q"].mean(0, keepdim=True).T
    one = {
        query: Components(V=-direction, U=made.components[query].U[:1].detach()),
        key: Components(V=direction, U=made.components[key].U[:1].detach()),
    }
    single = Decomposition.of(made.model, one)
    function = importance_of(single, "shared_mlp")
    for part in function.ci_fns.values():
        part.layers[2].W.zero_()
        part.layers[2].b.fill_(1.0)
    found = harvest(single, function, IDS.numpy(), (), seed=0, report=lambda *_: None)
    vectors = {
        name: head_vectors(one[name], site, made.model.card)
        for name, site in ((query, Site.Q), (key, Site.K))
    }
    W = pair_contributions(vectors[query], vectors[key], torch.tensor([1]), Rotation.of(single))
    a = {name: one[name].activations(x)[:, 0] for name, x in zip(one, read.values(), strict=True)}
    true = (a[query][1:] * a[key][:-1]).mean() * W.flatten()
    signed, unsigned = (
        (mean(query) * mean(key)).float() * W.flatten()
        for mean in (found.mean_activation, found.mean_magnitude)
    )
    assert true.abs().min() > 0
    assert torch.equal(signed.sign(), true.sign())
    assert torch.equal(unsigned.sign(), -true.sign())


@pytest.mark.parametrize("name", ["qwen2", "mistral"])
def test_biases_and_windows_leave_the_rotation_as_it_is(saved, name):
    Rotation.of(decomposed(saved(name)))


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "opt"])
def test_a_model_with_other_scores_is_refused(saved, name):
    """Norms of queries and keys; a cap; positions that do not turn."""
    with pytest.raises(UserError, match="expected scores of queries and keys that turn"):
        Rotation.of(decomposed(saved(name)))
