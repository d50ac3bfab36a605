"""Templated prompts: the positions are those of the items and names, the effects real."""

import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from analysis.errors import UserError
from analysis.models.load import load_model
from analysis.statistics.resampling import bootstrap
from analysis.studies.atlas.s_inhibition_scores import SInhibitionScores
from analysis.studies.atlas.successor_scores import SuccessorScores
from analysis.studies.retrieval.answering.items import record_items
from analysis.text import words
from analysis.text.english import Split
from analysis.text.tokens import Vocabulary
from tests.questions.test_experiments import each, every, patterns, silent


@pytest.fixture(scope="module")
def lists(worded) -> SuccessorScores:
    return SuccessorScores(model=str(worded), n_sequences=4, n_items=6, seed=2)


@pytest.fixture(scope="module")
def gifts(worded) -> SInhibitionScores:
    return SInhibitionScores(model=str(worded), n_sequences=10, seed=5)


@pytest.fixture(scope="module")
def given_away(gifts):
    return gifts.run(silent)


def words_at(experiment, tokens) -> list[list[str]]:
    """The words at a list's target positions, row by row."""
    show = experiment.vocabulary.display
    return [[show(int(row[p])).strip() for p in tokens.targets] for row in tokens.ids]


def test_every_kind_of_list_is_tested_in_order_and_with_a_control(lists):
    pairs = list(zip(lists.data()[::2], lists.data()[1::2], strict=True))
    assert [ordinal.name for ordinal, _ in pairs] == list(words.SEQUENCES)
    for ordinal, control in pairs:
        assert ordinal.ids.shape == control.ids.shape
        assert ordinal.targets == control.targets
        members = words.SEQUENCES[ordinal.name]
        for items in words_at(lists, ordinal):
            first = members.index(items[0])
            assert items == [members[(first + k) % len(members)] for k in range(6)]
        assert ordinal.targets[-1] == ordinal.ids.shape[1] - 1


def test_items_are_apart_by_the_same_separator_in_lists_and_controls(lists):
    for tokens in lists.data():
        between = np.delete(tokens.ids, tokens.targets, axis=1)
        assert (between == between[0]).all()
        assert between[0, 0] == 0
        shown = "".join(lists.vocabulary.display(int(i)) for i in between[0, 1:])
        digits = tokens.name.startswith("digits")
        assert shown == (" " + ", " * 5 if digits else "," * 5)


def test_controls_hold_words_without_an_order(lists):
    for ordinal, control in zip(lists.data()[::2], lists.data()[1::2], strict=True):
        drawn = words_at(lists, control)
        for items in drawn:
            assert len(set(items)) == 6
            if ordinal.name != "digits":
                assert not set(items) & {m for s in words.SEQUENCES.values() for m in s}
            else:
                assert set(items) <= set(words.LETTERS)
        if ordinal.name == "digits":
            steps = [ord(b) - ord(a) for items in drawn for a, b in pairwise(items)]
            assert steps.count(1) < len(steps) / 4
        assert words_at(lists, ordinal) != drawn


def test_successor_rows_are_the_attention_between_items(lists, worded):
    frame = lists.run(silent)["head_scores"]
    model = load_model(str(worded))
    for ordinal, control in zip(lists.data()[::2], lists.data()[1::2], strict=True):
        found = {}
        for data, tokens in (("ordinal", ordinal), ("control", control)):
            own, at = patterns(model, tokens.ids), tokens.targets
            expected = torch.stack([own[..., at[k], at[k - 1]] for k in range(2, 6)]).mean(0)
            found[data] = each(frame, data=f"{data}: {ordinal.name}")
            np.testing.assert_allclose(found[data], expected.numpy(), atol=1e-6)
        signal = each(frame, data=f"signal: {ordinal.name}")
        np.testing.assert_allclose(signal, found["ordinal"] - found["control"], atol=1e-12)
        assert (every(frame, data=f"signal: {ordinal.name}")["chance"] == 0).all()
    pooled = each(frame, data="signal")
    assert len(pooled) == 4 * len(words.SEQUENCES)
    kinds = [each(frame, data=f"signal: {kind}") for kind in words.SEQUENCES]
    np.testing.assert_allclose(pooled, np.concatenate(kinds))
    means = np.stack([kind.mean(0).reshape(-1) for kind in kinds])
    ends = bootstrap(means, lists.seed)
    np.testing.assert_allclose(every(frame, data="signal")["lower"], ends.lower, atol=1e-12)
    np.testing.assert_allclose(every(frame, data="signal")["upper"], ends.upper, atol=1e-12)


def test_kinds_whose_members_are_split_are_absent_with_a_reason(lists, stories260k, saved):
    for folder in (stories260k, saved("llama")):
        asked = replace(lists, model=str(folder))
        tested = {tokens.name for tokens in asked.data()[::2]}
        assert "months" not in tested
        frames = asked.run(silent)
        assert set(frames["absences"]["data"]) == set(words.SEQUENCES) - tested
        assert frames["absences"]["reason"].str.len_chars().min() > 10
        scored = set(frames["head_scores"]["data"]) if "head_scores" in frames else set()
        assert {data.split(": ")[1] for data in scored if ": " in data} == tested


def test_other_seeds_draw_other_lists(lists):
    same, other = (replace(lists, seed=seed).data() for seed in (2, 3))
    assert [t.sha256 for t in same] == [t.sha256 for t in lists.data()]
    assert not {t.sha256 for t in other} & {t.sha256 for t in same}


def test_the_positions_are_those_of_the_right_names(gifts):
    (tokens,) = gifts.data()
    show = gifts.vocabulary.display
    where = np.array(tokens.targets).reshape(-1, 4)
    orders: set[bool] = set()
    for row, (end, io, s1, s2) in zip(tokens.ids, where, strict=True):
        shown = [show(int(i)).strip() for i in row]
        assert shown[0] == "<bos>"
        assert shown[end] == "to"
        assert shown[s1] == shown[s2] != shown[io]
        assert s1 < s2 < end
        assert io < s2
        assert {shown[io], shown[s1]} <= set(words.HELD_OUT_NAMES)
        assert shown[1 : end + 1].count(shown[io]) == 1
        assert shown[1 : end + 1].count(shown[s1]) == 2
        orders.add(bool(io < s1))
    assert orders == {True, False}, "ABBA and BABA"


def test_attention_rows_are_the_attention_between_the_names(gifts, given_away, worded):
    (tokens,) = gifts.data()
    where = np.array(tokens.targets).reshape(-1, 4)
    found = patterns(load_model(str(worded)), tokens.ids).numpy()
    row, end = np.arange(10), where[:, 0]
    for column, score in ((1, "attention_to_io"), (2, "attention_to_s1"), (3, "s_inhibition")):
        expected = found[row, :, :, end, where[:, column]]
        values = each(given_away["head_scores"], score=score)
        np.testing.assert_allclose(values, expected, atol=1e-6)
        rows = given_away["head_scores"].filter(pl.col("sequence").is_not_null(), score=score)
        chance = rows.filter(layer=0, head=0).sort("sequence")["chance"].to_numpy()
        np.testing.assert_allclose(chance, 1 / (end + 1))


def test_zeroing_effects_equal_a_rerun_without_the_heads_slice(gifts, given_away, worded):
    """The head's slice of the output projection's input is zeroed by a hook, one row at a time."""
    (tokens,) = gifts.data()
    net = load_model(str(worded)).net
    base, effects = np.empty(10), np.empty((10, 2, 4))

    def difference(index: int) -> float:
        end, io, s1, _ = tokens.targets[4 * index : 4 * index + 4]
        row = torch.from_numpy(tokens.ids[index, : end + 1]).long()
        with torch.no_grad():
            last = net(row[None]).logits[0, -1]
        return (last[row[io]] - last[row[s1]]).item()

    for index in range(10):
        base[index] = difference(index)
        for layer in range(2):
            for head in range(4):

                def silence(_module, args, cut=slice(8 * head, 8 * head + 8)):
                    z = args[0].clone()
                    z[..., cut] = 0
                    return (z,)

                handle = net.h[layer].attn.o_proj.register_forward_pre_hook(silence)
                effects[index, layer, head] = difference(index) - base[index]
                handle.remove()
    found = each(given_away["head_scores"], score="io_s_effect")
    np.testing.assert_allclose(found, effects, atol=1e-5)
    assert np.abs(effects).min(axis=0).max() > 1e-3
    scores = given_away["model_scores"].filter(pl.col("sequence").is_not_null()).sort("sequence")
    measured = scores.filter(score="io_s_logit_difference")["value"].to_numpy()
    np.testing.assert_allclose(measured, base, atol=1e-5)
    over = scores.filter(score="io_over_s")["value"].to_numpy()
    np.testing.assert_array_equal(over, base > 0)


def test_a_tokenizer_that_knows_no_word_is_asked_about_none(gifts, lists, worded, tmp_path):
    """Every word is one token, the same: unknown."""
    shutil.copytree(worded, tmp_path, dirs_exist_ok=True)
    unknowing = Tokenizer(models.WordLevel({"<bos>": 0, "<unk>": 1}, unk_token="<unk>"))
    unknowing.pre_tokenizer = pre_tokenizers.Whitespace()
    unknowing.save(str(tmp_path / "tokenizer.json"))
    for asked in (gifts, lists):
        here = replace(asked, model=str(tmp_path))
        assert here.data() == []
        assert set(here.run(silent)) == {"absences"}
    with pytest.raises(UserError, match="that the tokenizer knows"):
        record_items(
            here.vocabulary,
            split=Split.TEST,
            fact="headquarters",
            n_tokens=96,
            n_records=2,
            n_items=2,
            seed=0,
            bos=True,
        )


def test_names_that_are_other_tokens_in_sentences_get_a_reason(gifts, monkeypatch):
    """As where a tokenizer of whole words has another one for `Mary,`."""
    whole = Vocabulary.encode

    def glued(self, text):
        return [7] * len(whole(self, text)) if "gave" in text or "," in text else whole(self, text)

    monkeypatch.setattr(Vocabulary, "encode", glued)
    frames = replace(gifts, seed=gifts.seed).run(silent)
    assert "in sentences" in frames["absences"]["reason"][0]


def test_a_tokenizer_that_splits_names_gets_a_reason(gifts, stories260k, saved):
    for folder, reason in ((stories260k, "single tokens"), (saved("llama"), "no tokenizer")):
        frames = replace(gifts, model=str(folder)).run(silent)
        assert set(frames) == {"absences"}
        assert frames["absences"]["score"].to_list() == ["s_inhibition"]
        assert reason in frames["absences"]["reason"][0]
        assert replace(gifts, model=str(folder)).data() == []
