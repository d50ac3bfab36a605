"""A decomposition in the published layout, against the numbers that its own code computes."""

import shutil
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from analysis.attention import Site, Taps
from analysis.components.ablation import Ablation, Mode, Part, cuts
from analysis.components.decomposed import Mask, logits, reading
from analysis.components.evaluation import importances
from analysis.components.losses import lower_leaky, upper_leaky
from analysis.components.published import published_decomposition
from analysis.errors import UserError
from analysis.models.files import published
from analysis.models.files.card import read_card
from analysis.models.load import hidden_states, load_model
from analysis.questions.asked import Asked
from analysis.studies.atlas.study import AtlasStudy
from tests.conftest import beside

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def folder() -> Path:
    return beside("models/published_run")


@pytest.fixture(scope="module")
def run(folder):
    model = load_model(str(folder))
    return published_decomposition(model, folder)


@pytest.fixture(scope="module")
def expected(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "expected.safetensors")


@torch.no_grad()
def test_logits_of_the_target_and_under_masks(run, expected):
    made, _ = run
    ids = expected["input_ids"]
    given = {
        name: Mask(components=expected[f"mask.{name}"], delta=torch.tensor(0.0))
        for name in made.components
    }
    for masks, name in (
        ({}, "target_logits"),
        (made.uniform(1.0, 1.0), "logits_all_ones_with_delta"),
        (made.uniform(1.0, 0.0), "logits_all_ones_without_delta"),
        (given, "logits_masked_without_delta"),
    ):
        torch.testing.assert_close(logits(made, ids, masks), expected[name], **CLOSE)


@torch.no_grad()
def test_patterns(run, expected):
    made, _ = run
    found: dict[int, torch.Tensor] = {}
    watch = Taps(watch=lambda where, pattern: found.update({where.layer: pattern}))
    hidden_states(made.model, expected["input_ids"], watch)
    for layer, pattern in found.items():
        torch.testing.assert_close(pattern, expected[f"pattern.{layer}"], **CLOSE)
    assert sorted(found) == [0, 1]


@torch.no_grad()
def test_causal_importances_below_and_above(run, expected):
    made, function = run
    assert function.kind == "global_shared_transformer"
    assert function.sees_future
    with reading(made.model, made.components) as inputs:
        hidden_states(made.model, expected["input_ids"], Taps())
    raw = function(inputs, made.components)
    assert set(raw) == set(made.components)
    for name, values in raw.items():
        torch.testing.assert_close(lower_leaky(values), expected[f"ci_lower.{name}"], **CLOSE)
        torch.testing.assert_close(upper_leaky(values), expected[f"ci_upper.{name}"], **CLOSE)
    again = importances(made, function, expected["input_ids"])
    torch.testing.assert_close(again, {n: lower_leaky(v) for n, v in raw.items()})


@torch.no_grad()
def test_a_head_ablated_at_one_position(run, expected):
    made, _ = run
    ids = expected["input_ids"][:1]

    def zero(where, z):
        z = z.clone()
        if where.layer == 1:
            z[:, 2, 7] = 0
        return z

    for edits, name in (({}, "baseline"), ({Site.Z: zero}, "head_ablation_L1H2_t7")):
        written: list[torch.Tensor] = []
        handles = [
            attention.register_forward_hook(lambda _m, _a, out, kept=written: kept.append(out[0]))
            for attention in made.model.attentions
        ]
        found = logits(made, ids, {}, Taps(edits=edits))
        for handle in handles:
            handle.remove()
        for layer, attn_out in enumerate(written):
            torch.testing.assert_close(attn_out[0], expected[f"{name}.attn_out.{layer}"], **CLOSE)
    torch.testing.assert_close(found, expected["head_ablation_L1H2_t7.logits"], **CLOSE)


@torch.no_grad()
def test_a_component_ablated_at_one_position(run, expected):
    """Their baseline leaves the remainders out, so ours does here too."""
    made, function = run
    ids = expected["input_ids"][:1]
    found = importances(made, function, ids)
    part = Part("h.1.attn.q_proj", 3)
    removed = cuts(made.model, [part], torch.tensor([7]), ids.shape[1], None)
    for kind in (None, range(4)):
        of_heads = cuts(made.model, [part], torch.tensor([7]), ids.shape[1], kind)
        masks = {
            name: Mask(components=m.components, delta=m.delta, cuts=of_heads.get(name, ()))
            for name, m in made.uniform(1.0, 0.0).items()
        }
        torch.testing.assert_close(
            logits(made, ids, masks),
            expected["component_ablation_q3_L1_t7_without_delta.logits"],
            **CLOSE,
        )
    with_remainder = Ablation(made, ids, found, removed, n_draws=1, seed=0)
    (ablated,) = with_remainder.arms(Mode.DETERMINISTIC).ablated
    change = logits(made, ids, ablated) - expected["target_logits"][:1]
    assert change[:, :7].abs().max() < 1e-5
    assert change[:, 7:].abs().max() > 1e-4


def older(state: dict[str, torch.Tensor], age: str) -> dict[str, torch.Tensor]:
    """The same tensors under names that were in use before."""
    named: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        new = name.replace("target_model.", "patched_model.")
        if age == "gates":
            new = new.replace("ci_fn._ci_fns.", "_gates.")
        else:
            new = new.replace("ci_fn._ci_fns.", "_ci_fns.")
            if name.startswith("_components."):
                _, dashed, factor = name.split(".")
                new = f"patched_model.{dashed.replace('-', '.')}.components.{factor}"
            elif "_proj.weight" in name:
                new = new.replace("_proj.weight", "_proj.original.weight")
        named[new] = tensor
    return named


@pytest.mark.parametrize("age", ["gates", "components"])
def test_older_names_are_the_same_run(folder, age):
    state = torch.load(published.newest_weights(folder), weights_only=True)
    fine = {k: v for k, v in state.items() if not k.startswith("ci_fn.")}
    layers = [k.split(".")[1] for k in fine if k.startswith("_components.") and k.endswith("U")]
    for layer in layers:
        for index in (0, 2):
            fine[f"ci_fn._ci_fns.{layer}.layers.{index}.W"] = torch.rand(64, 32)
            fine[f"ci_fn._ci_fns.{layer}.layers.{index}.b"] = torch.rand(32)
    new, old = published.sorted_out(fine), published.sorted_out(older(fine, age))
    for part in ("target", "importance"):
        assert getattr(new, part).keys() == getattr(old, part).keys()
        for name, tensor in getattr(new, part).items():
            assert torch.equal(tensor, getattr(old, part)[name])
    assert new.components.keys() == old.components.keys()
    for name, pair in new.components.items():
        assert torch.equal(pair["U"], old.components[name]["U"])
        assert torch.equal(pair["V"], old.components[name]["V"])
    assert len(new.components) == 8
    assert "ci_fns.h-0-attn-q_proj.layers.0.W" in new.importance


@pytest.fixture
def copied(folder, tmp_path) -> Path:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755)
    return copy


def test_the_highest_step_is_the_one_that_counts(copied):
    assert published.newest_weights(copied).name == "model_6.pth"
    shutil.copy(copied / "model_6.pth", copied / "model_10.pth")
    assert published.newest_weights(copied).name == "model_10.pth"


def test_the_card_of_a_run_is_that_of_its_target(folder):
    card = read_card(str(folder))
    model = load_model(str(folder))
    assert (card.n_layers, card.n_heads, card.d_model, card.vocab) == (2, 4, 64, 101)
    assert card.n_params == sum(p.numel() for p in model.net.parameters())


@pytest.mark.parametrize("name", [published.NEWER_CONFIG, published.CONFIG])
@torch.no_grad()
def test_a_nested_configuration_is_the_same_run(copied, folder, run, expected, name):
    """Of either file name: the same model, the same components, the same importances."""
    (copied / published.CONFIG).unlink()
    shutil.copy(beside("cases/published_run_nested/run_meta.yaml"), copied / name)
    assert read_card(str(copied)).model == read_card(str(folder)).model
    assert published.weights_hash(copied) == published.weights_hash(folder)
    made, function = published_decomposition(load_model(str(copied)), copied)
    ids = expected["input_ids"]
    for name_, values in importances(made, function, ids).items():
        assert torch.equal(values, importances(run[0], run[1], ids)[name_])
        torch.testing.assert_close(values, expected[f"ci_lower.{name_}"], **CLOSE)
    assert torch.equal(logits(made, ids, {}), logits(run[0], ids, {}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pd": None}, "expected a mapping as pd in"),
        ({"target": {"spec": "none"}}, "expected a mapping as spec in"),
        ({"target": {"spec": {"run_path": "elsewhere/m.pt"}}}, r"model_config.yaml of the run"),
    ],
)
def test_what_a_nested_configuration_lacks_is_named(copied, change, said):
    nested = yaml.safe_load(beside("cases/published_run_nested/run_meta.yaml").read_text())
    (copied / published.CONFIG).unlink()
    (copied / published.NEWER_CONFIG).write_text(yaml.safe_dump(nested | change))
    with pytest.raises(UserError, match=said):
        read_card(str(copied))


def test_the_generation_in_jax_is_refused_by_name(tmp_path):
    (tmp_path / "ckpts").mkdir()
    (tmp_path / "launch_config.yaml").write_text("pd: {}\n")
    with pytest.raises(UserError, match=r"is one in JAX \(launch_config.yaml and ckpts\)"):
        read_card(str(tmp_path))


def test_what_is_missing_is_named(copied):
    (copied / "target" / "model_config.yaml").rename(copied / "elsewhere.yaml")
    with pytest.raises(UserError, match=r"model_config.yaml of the run that trained the target"):
        read_card(str(copied))
    (copied / "elsewhere.yaml").rename(copied / "model_config.yaml")
    card = read_card(str(copied))
    assert card.n_ctx == 16, "the file may lie in the run's own folder"
    config = yaml.safe_load((copied / "model_config.yaml").read_text())
    del config["n_head"]
    (copied / "model_config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"expected n_head in .*model_config.yaml"):
        read_card(str(copied))


def test_a_missing_factor_is_named(copied):
    model = load_model(str(copied))
    state = torch.load(copied / "model_6.pth", weights_only=True)
    del state["_components.h-0-attn-q_proj.U"]
    torch.save(state, copied / "model_7.pth")
    with pytest.raises(UserError, match=r"_components.h-0-attn-q_proj.U"):
        published_decomposition(model, copied)
    del state["ci_fn._global_ci_fn._output_head.W"]
    state["_components.h-0-attn-q_proj.U"] = torch.zeros(32, 64)
    torch.save(state, copied / "model_7.pth")
    with pytest.raises(UserError, match=r"global_ci_fn.output_head.W"):
        published_decomposition(model, copied)
    (copied / "model_7.pth").unlink()
    (copied / "model_6.pth").unlink()
    with pytest.raises(UserError, match=r"expected model_<step>.pth in"):
        read_card(str(copied))


class Bomb:
    """Unpickling it would run code."""

    def __reduce__(self):
        return (print, ("the pickle ran",))


def test_nothing_but_tensors_is_read(copied, capsys):
    for content in ({"target_model.wte.weight": Bomb()}, [1, 2], {"a": "text"}):
        torch.save(content, copied / "model_7.pth")
        with pytest.raises(UserError, match="dictionary of tensors"):
            published.parts(copied)
    whole = (copied / "model_6.pth").read_bytes()
    (copied / "model_7.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged"):
        published.parts(copied)
    with zipfile.ZipFile(copied / "model_7.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", bytes(2**20))
    with pytest.raises(UserError, match="is packed; save it again"):
        published.parts(copied)
    assert "the pickle ran" not in capsys.readouterr().out


def test_heads_of_the_target_of_a_run_can_be_scored(folder):
    request = Asked(model=str(folder), n_sequences=4, n_tokens=12)
    frames = AtlasStudy(request).text_scores().run(lambda *_: None)
    heads = frames["head_scores"].select("layer", "head").unique()
    assert heads.height == 2 * 4
