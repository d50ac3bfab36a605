from dataclasses import asdict, dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import canonical, key_of, run_key

from .store_fakes import MODEL, Scores

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_keys_never_change_because_stored_answers_would_be_lost():
    assert key_of({}) == "2afb9b83f9314e5d029766197f539792"
    value = {"b": (1, 2.0), "é": True, "a": None}
    assert canonical(value) == r'{"a":null,"b":[1,2.0],"\u00e9":true}'
    assert key_of(value) == "0cb8ef202dca2204641957a99db81145"
    assert run_key(Scores(seed=0)) == "5734e2a9daa2464c3cb8ccc6e113f255"


def test_a_key_is_blake2b_of_format_name_version_and_question():
    text = (
        f'{{"experiment":"Scores","format":1,"model":{{"weights":"{MODEL["weights"]}"}},'
        '"rows":32,"seed":0,"version":1}'
    )
    assert run_key(Scores(seed=0)) == blake2b(text.encode(), digest_size=16).hexdigest()


@given(json_values)
def test_the_order_of_names_does_not_matter(value: Any):
    pairs = {"one": value, "two": 2}
    assert canonical(pairs) == canonical(dict(reversed(pairs.items())))


@given(json_values, json_values)
def test_different_values_have_different_text(left: Any, right: Any):
    same_value = repr(left).replace("-0.0", "0.0") == repr(right).replace("-0.0", "0.0")
    assert same_value or canonical(left) != canonical(right) or left == right


def test_tuples_are_lists_and_integers_are_not_floats_or_booleans():
    assert key_of((1, (2, 3))) == key_of([1, [2, 3]])
    assert len({key_of(1), key_of(1.0), key_of(True), key_of("1")}) == 4
    assert key_of(-0.0) == key_of(0.0)
    assert key_of(2**80) != key_of(2**80 + 1)


def test_a_default_left_out_is_the_same_question():
    @dataclass(frozen=True)
    class Blocks(Scores):
        version: ClassVar[int] = 1
        block_len: int = 25

        def question(self) -> dict[str, Any]:
            return {"parameters": {k: v for k, v in asdict(self).items() if k != "runs"}}

    assert run_key(Blocks(seed=1)) == run_key(Blocks(seed=1, block_len=25))
    assert run_key(Blocks(seed=1)) != run_key(Blocks(seed=1, block_len=26))


def test_version_and_name_move_the_key():
    class Later(Scores):
        version: ClassVar[int] = 2

    class Other(Scores):
        pass

    later = run_key(Later(seed=1))
    Later.__name__ = "Scores"
    assert (
        len({later, run_key(Later(seed=1)), run_key(Other(seed=1)), run_key(Scores(seed=1))}) == 4
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_have_no_key(number: float):
    with pytest.raises(ValueError, match=r"expected a finite number at \$\.a\[1\], got .*use None"):
        key_of({"a": [1, number]})


class Kind(Enum):
    ZERO = "zero"


@pytest.mark.parametrize("thing", [Kind.ZERO, b"bytes", {1, 2}, object(), Scores(seed=1)])
def test_what_has_no_json_form_is_refused_not_guessed(thing: object):
    with pytest.raises(TypeError, match=r"expected a JSON value at \$\.x, got .*convert it"):
        canonical({"x": thing})


def test_names_must_be_strings():
    with pytest.raises(TypeError, match="expected string keys"):
        canonical({1: "one"})


def test_a_question_cannot_pose_as_the_header_of_a_key():
    class Sly(Scores):
        def question(self) -> dict[str, Any]:
            return {"version": 7}

    with pytest.raises(ValueError, match=r"without \['version'\]"):
        run_key(Sly(seed=1))
