"""The card of a decomposition, from its measured evaluation."""

from collections.abc import Mapping
from typing import Any

MEANING = {
    "ones": "all components, without the remainder",
    "stochastic": "random masks between importance and 1",
    "rounded": "only components of any importance, without the remainder",
    "adversarial": "masks chosen to do harm, one for all tokens (20 steps of .1)",
    "adversarial_token": "masks chosen to do harm, one for every token (20 steps of .1)",
    "zero": "nothing at all: every decomposed layer returns its bias",
}


def bars(evaluation: Mapping[str, Any]) -> dict[str, bool]:
    """Whether each bar of a shipped decomposition is met.

    Args:
        evaluation: As `judge` returns it.

    Returns:
        By what is demanded.
    """
    mean = {name: figure[0] for name, figure in evaluation["figures"].items()}
    return {
        "all components, without the remainder: below .01 nats": mean["ones"] < 0.01,
        "random masks: below 10 % of nothing at all": mean["stochastic"] < 0.1 * mean["zero"],
        "components a token: below 25 % of the alive": mean["l0"]
        < 0.25 * evaluation["alive"]["alive"],
        "one harmful mask for all tokens: below 30 % of nothing at all": mean["adversarial"]
        < 0.3 * mean["zero"],
    }


def card(made: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        made: What `decomposition.json` holds.

    Returns:
        Its text; every figure is the measured one.
    """
    recipe, evaluation = made["recipe"], made["evaluation"]
    figures = evaluation["figures"]
    l0, low, high = figures["l0"]
    alive = evaluation["alive"]
    n = sum(len(each) for each in evaluation["mean_importance"].values())
    rows = [
        f"| {meaning} | {figures[name][0]:.4f} | {figures[name][1]:.4f} to {figures[name][2]:.4f} |"
        for name, meaning in MEANING.items()
    ]
    kept = ("seed", "n_steps", "n_components", "layers")
    options = {"n_steps": "steps", "n_components": "components"}
    command = " ".join(f"--{options.get(name, name)} '{recipe[name]}'" for name in kept)
    command += f" --token-pool '{recipe.get('token_pool', 'all')}'"
    lines = [
        f"# A parameter decomposition of {made['target']}",
        "",
        f"{len(evaluation['mean_importance'])} layers of {recipe['n_components']} components each, "
        f"causal importances by a {made['importance']} of {recipe['hidden']} units a layer, "
        f"trained on the text `{made['text']}` and on random tokens shown again. Made by",
        "",
        "```",
        f"headbook decompose --model {made['target']} --text {made['text']} --out RUN {command}",
        "```",
        "",
        f"Measured on {evaluation['n_rows']} other rows of {evaluation['n_tokens']} tokens; "
        "divergence from the target, KL(target || masked), in nats a token:",
        "",
        "| masks | estimate | 95 % |",
        "|---|---|---|",
        *rows,
        "",
        f"At a token {l0:.1f} ({low:.1f} to {high:.1f}) of {n} components have an importance above "
        f"0; {alive['alive']} are alive (mean importance above .000001), {alive['alive_01']} have "
        "a mean importance above .01.",
        "",
        *(f"- {'met' if met else 'NOT met'}: {bar}" for bar, met in bars(evaluation).items()),
        "",
        "Intervals are bootstrap intervals over rows. Numbers are stored in bfloat16, and measured "
        "as stored.",
        "",
    ]
    return "\n".join(lines)
