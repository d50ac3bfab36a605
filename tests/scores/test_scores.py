"""Every score against a slow loop, hand-built patterns, chance levels and symmetries."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis import scores

SEEDS = st.integers(0, 2**32 - 1)
BATCH, N_HEADS, BLOCK = 3, 2, 5
N_POS = 2 * BLOCK + 1
QUERY, KEY = torch.tensor([4, 10, 7]), torch.tensor([0, 3, 7])
ITEMS = torch.tensor([1, 4, 6, 9])


def random_pattern(seed: int, n_pos: int = N_POS, batch: int = BATCH) -> torch.Tensor:
    """Random causal attention (batch, head, query, key) in float64."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(batch, N_HEADS, n_pos, n_pos, generator=generator, dtype=torch.float64)
    hidden = torch.ones(n_pos, n_pos).triu(1).bool()
    return (2 * raw).masked_fill(hidden, -torch.inf).softmax(-1)


def random_tokens(seed: int) -> torch.Tensor:
    """Tokens of which some repeat in every row."""
    tokens = torch.randint(0, 5, (BATCH, N_POS), generator=torch.Generator().manual_seed(seed))
    tokens[:, -1] = tokens[:, 0]
    return tokens


def delimiters(seed: int) -> torch.Tensor:
    is_delimiter = random_tokens(seed) < 2
    is_delimiter[:, 3] = True
    return is_delimiter


def looking(keys: dict[int, int], n_pos: int = N_POS) -> torch.Tensor:
    """A pattern whose queries each look at one key; those not named look at themselves."""
    pattern = torch.eye(n_pos, dtype=torch.float64)
    for query, key in keys.items():
        pattern[query] = 0
        pattern[query, key] = 1
    return pattern.expand(1, 1, -1, -1)


def mean_over(pattern: torch.Tensor, pairs: list[tuple[int, int]]) -> torch.Tensor:
    """The slow loop: mean of A[q, k] over pairs, for each row and head."""
    found = torch.zeros(pattern.shape[:2], dtype=torch.float64)
    for row in range(pattern.shape[0]):
        for head in range(pattern.shape[1]):
            total = sum(pattern[row, head, q, k].item() for q, k in pairs)
            found[row, head] = total / len(pairs)
    return found


def duplicate_loop(pattern: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    found = torch.zeros(pattern.shape[:2], dtype=torch.float64)
    for row in range(pattern.shape[0]):
        for head in range(pattern.shape[1]):
            sums: list[float] = []
            for i in range(pattern.shape[-1]):
                earlier = [j for j in range(i) if tokens[row, j] == tokens[row, i]]
                if earlier:
                    sums.append(sum(pattern[row, head, i, j].item() for j in earlier))
            found[row, head] = sum(sums) / len(sums) if sums else float("nan")
    return found


def text_induction_loop(pattern: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    found = torch.zeros(pattern.shape[:2], dtype=torch.float64)
    for row in range(pattern.shape[0]):
        for head in range(pattern.shape[1]):
            sums: list[float] = []
            for i in range(pattern.shape[-1]):
                after = [j + 1 for j in range(i - 1) if tokens[row, j] == tokens[row, i]]
                if after:
                    sums.append(sum(pattern[row, head, i, j].item() for j in after))
            found[row, head] = sum(sums) / len(sums) if sums else float("nan")
    return found


def delimiter_loop(pattern: torch.Tensor, is_delimiter: torch.Tensor) -> torch.Tensor:
    found = torch.zeros(pattern.shape[:2], dtype=torch.float64)
    for row in range(pattern.shape[0]):
        keys = [k for k in range(pattern.shape[-1]) if is_delimiter[row, k]]
        for head in range(pattern.shape[1]):
            masses = [
                sum(pattern[row, head, q, k].item() for k in keys)
                for q in range(1, pattern.shape[-1])
            ]
            found[row, head] = sum(masses) / len(masses)
    return found


def profile_loop(pattern: torch.Tensor, n_offsets: int) -> torch.Tensor:
    n_pos = pattern.shape[-1]
    return torch.stack(
        [mean_over(pattern, [(q, q - d) for q in range(d, n_pos)]) for d in range(n_offsets)],
        dim=-1,
    )


def lag_loop(pattern: torch.Tensor, n_bos: int, max_shift: int) -> torch.Tensor:
    n_pos = pattern.shape[-1]
    block_len = (n_pos - n_bos) // 2
    columns: list[torch.Tensor] = []
    for shift in range(-max_shift, max_shift + 1):
        pairs: list[tuple[int, int]] = []
        for k in range(1, block_len):
            query, key = block_len + k - 1 + n_bos, k + n_bos + shift
            if 0 <= key <= query:
                pairs.append((query, key))
        columns.append(mean_over(pattern, pairs))
    return torch.stack(columns, dim=-1)


def items_loop(pattern: torch.Tensor, positions: list[int]) -> torch.Tensor:
    pairs = [(positions[k], positions[k - 1]) for k in range(2, len(positions))]
    return mean_over(pattern, pairs)


@given(seed=SEEDS)
def test_every_score_equals_a_slow_loop(seed):
    pattern, tokens, marked = random_pattern(seed), random_tokens(seed), delimiters(seed)
    uniform = scores.uniform_pattern(N_POS)
    pairs = list(zip(QUERY.tolist(), KEY.tolist(), strict=True))
    between = torch.cat([mean_over(pattern[i, None], [pair]) for i, pair in enumerate(pairs)])
    ratio = delimiter_loop(pattern, marked) / delimiter_loop(uniform.expand(3, -1, -1, -1), marked)
    text = [(i, i - 1) for i in range(2, N_POS)]
    for found, expected in (
        (scores.previous_token_score(pattern), mean_over(pattern, text)),
        (scores.bos_score(pattern), mean_over(pattern, [(q, 0) for q in range(1, N_POS)])),
        (scores.offset_profile(pattern, N_POS), profile_loop(pattern, N_POS)),
        (scores.duplicate_token_score(pattern, tokens), duplicate_loop(pattern, tokens)),
        (scores.text_induction_score(pattern, tokens), text_induction_loop(pattern, tokens)),
        (scores.delimiter_score(pattern, marked), delimiter_loop(pattern, marked)),
        (scores.delimiter_ratio(pattern, marked), ratio),
        (scores.attention_between(pattern, QUERY, KEY), between),
        (scores.successor_score(pattern, ITEMS), items_loop(pattern, ITEMS.tolist())),
        (scores.induction_score(pattern, 1), lag_loop(pattern, 1, 0)[..., 0]),
        (scores.induction_profile(pattern, 1, 3), lag_loop(pattern, 1, 3)),
    ):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


@given(seed=SEEDS, block_len=st.integers(2, 9), n_bos=st.sampled_from([0, 1]))
def test_induction_is_the_published_formula(seed, block_len, n_bos):
    """On BOS, s, s: the mean of A[L + k, k + 1] over k = 1 .. L - 1; one less without a BOS."""
    pattern = random_pattern(seed, n_bos + 2 * block_len)
    moved = 1 - n_bos
    pairs = [(block_len + k - moved, k + 1 - moved) for k in range(1, block_len)]
    found = scores.induction_score(pattern, n_bos)
    torch.testing.assert_close(found, mean_over(pattern, pairs), atol=1e-12, rtol=1e-12)
    max_shift = block_len - 2
    profile = scores.induction_profile(pattern, n_bos, max_shift)
    assert profile.shape == (BATCH, N_HEADS, 2 * max_shift + 1)
    torch.testing.assert_close(profile, lag_loop(pattern, n_bos, max_shift))
    assert torch.equal(profile[..., max_shift], found)


@given(seed=SEEDS, n_pos=st.integers(3, 12), n_offsets=st.integers(1, 12))
def test_the_profile_has_any_number_of_offsets(seed, n_pos, n_offsets):
    pattern = random_pattern(seed, n_pos)
    n_offsets = min(n_offsets, n_pos)
    found = scores.offset_profile(pattern, n_offsets)
    torch.testing.assert_close(found, profile_loop(pattern, n_offsets))
    view = random_pattern(seed, n_pos, 2 * BATCH)[::2].transpose(0, 1)
    torch.testing.assert_close(
        scores.offset_profile(view, n_offsets), profile_loop(view, n_offsets)
    )


@given(seed=SEEDS)
def test_previous_token_and_profile_are_the_same_diagonal(seed):
    """(T - 1) profile[1] = (T - 2) previous + A[1, 0], so that they cannot disagree."""
    pattern = random_pattern(seed)
    whole = (N_POS - 1) * scores.offset_profile(pattern, 2)[..., 1]
    parts = (N_POS - 2) * scores.previous_token_score(pattern) + pattern[..., 1, 0]
    torch.testing.assert_close(whole, parts, atol=1e-12, rtol=1e-12)


@given(seed=SEEDS)
def test_the_whole_profile_is_all_attention(seed):
    pattern = random_pattern(seed)
    n_queries = torch.arange(N_POS, 0, -1)
    total = (scores.offset_profile(pattern, N_POS) * n_queries).sum(-1)
    torch.testing.assert_close(total, torch.full_like(total, N_POS))


PREVIOUS = looking({i: i - 1 for i in range(1, N_POS)})
FIRST = looking(dict.fromkeys(range(N_POS), 0))
REPEATED = torch.tensor([[9, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5]])
SHUFFLED = torch.tensor([[9, 1, 2, 3, 4, 5, 3, 1, 5, 2, 4]])
INDUCTION = looking({BLOCK + k: k + 1 for k in range(1, BLOCK + 1)})
DUPLICATE = looking({BLOCK + k: k for k in range(1, BLOCK + 1)})
MARKED = REPEATED == 2


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (scores.previous_token_score(PREVIOUS), 1),
        (scores.previous_token_score(looking({})), 0),
        (scores.previous_token_score(FIRST), 0),
        (scores.bos_score(FIRST), 1),
        (scores.bos_score(looking({})), 0),
        (scores.bos_score(PREVIOUS), 1 / 10),
        (scores.induction_score(INDUCTION, 1), 1),
        (scores.induction_score(DUPLICATE, 1), 0),
        (scores.induction_score(PREVIOUS, 1), 0),
        (scores.induction_profile(DUPLICATE, 1, 1), [1, 0, 0]),
        (scores.induction_profile(INDUCTION, 1, 1), [0, 1, 0]),
        (scores.duplicate_token_score(DUPLICATE, REPEATED), 1),
        (scores.duplicate_token_score(INDUCTION, REPEATED), 0),
        (scores.duplicate_token_score(DUPLICATE, SHUFFLED), 0),
        (scores.text_induction_score(INDUCTION, REPEATED), 1),
        (scores.text_induction_score(DUPLICATE, REPEATED), 0),
        (scores.text_induction_score(INDUCTION, SHUFFLED), 0),
        (scores.offset_profile(PREVIOUS, 3), [1 / 11, 1, 0]),
        (scores.offset_profile(looking({}), 3), [1, 0, 0]),
        (scores.delimiter_score(looking(dict.fromkeys(range(2, N_POS), 2)), MARKED), 9 / 10),
        (scores.delimiter_score(FIRST, MARKED), 0),
        (scores.successor_score(looking({4: 1, 6: 4, 9: 6}), ITEMS), 1),
        (scores.successor_score(looking({4: 1}), ITEMS), 0),
        (scores.attention_between(looking({8: 2}), torch.tensor([8]), torch.tensor([2])), 1),
    ],
)
def test_a_pattern_built_by_hand_scores_what_it_must(found, expected):
    wanted = torch.tensor(expected, dtype=torch.float64).expand_as(found[0, 0])
    torch.testing.assert_close(found[0, 0], wanted)


def test_text_without_any_copy_tests_no_induction():
    """A token twice in a row has nothing between that could be looked at."""
    tokens = torch.tensor([[*range(9), 20, 20]])
    assert scores.text_induction_score(scores.uniform_pattern(N_POS), tokens).isnan().all()


def harmonic(queries: list[int]) -> float:
    """Mean of 1 / (q + 1): what uniform attention gives any one visible key."""
    return sum(1 / (q + 1) for q in queries) / len(queries)


def test_uniform_attention_scores_chance_in_closed_form():
    uniform = scores.uniform_pattern(N_POS)
    later = list(range(BLOCK + 1, 2 * BLOCK + 1))
    tokens = torch.tensor([[9, 1, 2, 1, 3, 1, 9, 4, 5, 6, 7]])
    duplicate = (1 / 4 + 2 / 6 + 1 / 7) / 3
    for found, expected in (
        (scores.previous_token_score(uniform), harmonic(list(range(2, N_POS)))),
        (scores.bos_score(uniform), harmonic(list(range(1, N_POS)))),
        (scores.induction_score(uniform, 1), harmonic(later[:-1])),
        (scores.duplicate_token_score(uniform, REPEATED), harmonic(later)),
        (scores.duplicate_token_score(uniform, tokens), duplicate),
        (scores.text_induction_score(uniform, tokens), duplicate),
        (scores.successor_score(uniform, ITEMS), harmonic([6, 9])),
        (scores.delimiter_ratio(uniform, MARKED), 1.0),
        *(
            (scores.offset_profile(uniform, 4)[..., d], harmonic(list(range(d, N_POS))))
            for d in range(4)
        ),
    ):
        torch.testing.assert_close(found.item(), expected)
