"""Queries to start from: each answers a question about any model whose results are in the store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Query:
    """A question in words, and in DuckDB's SQL."""

    title: str
    sql: str


QUERIES = (
    Query(
        "Which head is the strongest by each score?",
        """\
SELECT score, data, name, value, lower, upper, chance, n, run
FROM strongest_heads
WHERE rank = 1 AND chance IS NOT NULL
ORDER BY score, data;""",
    ),
    Query(
        "Which claims hold, by how much, against which control?",
        """\
SELECT verdict, statement, estimate, lower, upper, control, threshold, p, n_null, chapter, run
FROM verdicts
ORDER BY chapter, claim;""",
    ),
    Query(
        "What does each head do? Scores side by side",
        """\
SELECT name, previous_token, induction, induction_shuffled, duplicate_token, bos, delimiter,
    successor, s_inhibition, ov_copy
FROM head_atlas
ORDER BY model, layer, head;""",
    ),
    Query(
        "Do the scores go together?",
        """\
WITH atlas AS (
    UNPIVOT head_atlas
    ON previous_token, induction, duplicate_token, bos, delimiter, successor, s_inhibition, ov_copy
    INTO NAME score VALUE value
)
SELECT one.score, other.score AS other, round(corr(one.value, other.value), 2) AS correlation,
    count(*) AS heads
FROM atlas AS one JOIN atlas AS other USING (model, layer, head)
WHERE one.score < other.score
GROUP BY ALL
ORDER BY abs(correlation) DESC;""",
    ),
    Query(
        "Which heads matter when each is switched off alone?",
        """\
SELECT method, heads, rank, value AS kl_nats, lower, upper, n
FROM ablation_ranking
WHERE metric = 'kl_base_ablated' AND scope = 'all' AND rank <= 3
ORDER BY method, rank;""",
    ),
    Query(
        "Does a score predict what switching the head off changes?",
        """\
WITH atlas AS (
    UNPIVOT head_atlas
    ON previous_token, induction, duplicate_token, bos, delimiter, successor, s_inhibition, ov_copy
    INTO NAME score VALUE value
), without AS (
    SELECT model, heads, arg_max(value, n) AS change
    FROM ablation_ranking
    WHERE method = 'zero' AND metric = 'kl_base_ablated' AND scope = 'all'
    GROUP BY model, heads
)
SELECT score, round(corr(value, change), 2) AS correlation, count(*) AS heads
FROM atlas JOIN without ON without.model = atlas.model AND heads = atlas.name
GROUP BY score
HAVING count(*) > 2 AND isfinite(correlation)
ORDER BY abs(correlation) DESC;""",
    ),
    Query(
        "Do the heads that matter most do more harm than random ones?",
        """\
SELECT family, size, value AS kl_nats, lower, upper, n, p, p_holm
FROM ablation_curves
WHERE metric = 'kl_base_ablated'
ORDER BY size, family;""",
    ),
    Query(
        "Where does the strongest previous-token head look?",
        """\
SELECT best.name, profile.lag, profile.value, profile.lower, profile.upper, profile.chance
FROM strongest_heads AS best
JOIN head_profiles AS profile USING (run, model, layer, head, data)
WHERE best.score = 'previous_token' AND best.data = 'text' AND best.rank = 1
    AND profile.profile = 'offset' AND profile.lag <= 10
ORDER BY best.name, profile.lag;""",
    ),
    Query(
        "Which earlier heads does a later one read most?",
        """\
SELECT kind, 'L' || from_layer || 'H' || from_head AS earlier,
    'L' || to_layer || 'H' || to_head AS later, round(value, 3) AS value, round(z, 1) AS z
FROM head_pairs
WHERE rank <= 5
ORDER BY kind, rank;""",
    ),
    Query(
        "Which tokens rise most when a head or a value is removed?",
        """\
SELECT condition, token, count(*) AS prompts, round(avg(change), 2) AS mean_change
FROM predictions
WHERE kind = 'riser' AND rank <= 3
GROUP BY ALL
ORDER BY prompts DESC, mean_change DESC
LIMIT 25;""",
    ),
    Query(
        "Are questions still answered without the retrieval heads?",
        """\
SELECT ranking, size, family, round(avg(accuracy), 2) AS accuracy, count(*) AS curves
FROM retrieval_curves
WHERE fact <> 'all' AND method = 'zero'
GROUP BY ALL
ORDER BY ranking, size, family;""",
    ),
    Query(
        "What does a list's neighbour gain when an item is shown again?",
        """\
SELECT condition, lag, p, lower, upper, expected
FROM lag_profiles
WHERE design = 'probe' AND shown = 'items' AND abs(lag) <= 3 AND family IN ('base', 'top')
    AND layers = 'all'
ORDER BY condition, lag;""",
    ),
    Query(
        "Which components of the weights matter most?",
        """\
SELECT score, layer, projection, component, head, value, lower, upper
FROM component_scores
WHERE score LIKE 'effect_%'
QUALIFY row_number() OVER (PARTITION BY score ORDER BY abs(value) DESC) <= 5
ORDER BY score, abs(value) DESC;""",
    ),
    Query(
        "What was asked of which weights, and how long did it take?",
        """\
SELECT experiment, models.name, left(weights, 12) AS weights, count(*) AS runs,
    round(sum(seconds), 1) AS seconds, max(started) AS latest
FROM runs LEFT JOIN models USING (model)
GROUP BY ALL
ORDER BY seconds DESC;""",
    ),
)
"""In the order of the chapters."""
