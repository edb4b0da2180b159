"""What is secret is taken out of data, and nothing else is touched."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.actors.secrets import MARK, hides_secret, is_blurred, names_secret, redact

SECRET_KEYS = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "secrets",
    "token",
    "api_key",
    "apiKey",
    "apikey",
    "API-KEY",
    "X-Api-Key",
    "authorization",
    "Authorization",
    "cookie",
    "Set-Cookie",
    "private_key",
    "privateKey",
    "credential",
    "credentials",
    "DB_PASSWORD",
    "PGPASSWORD",
    "password2",
    "access_token",
    "refreshToken",
    "client_secret",
    "clientsecret",
    "secret_key",
    "ssh_key",
    "password_hash",
    "token_value",
    "auth",
    "jwt",
]
OTHER_KEYS = [
    "tokens",
    "token_count",
    "max_tokens",
    "total_tokens",
    "prompt_tokens",
    "tokenizer",
    "next_page_token",
    "pageToken",
    "key",
    "keys",
    "keyword",
    "public_key",
    "primary_key",
    "author",
    "authority",
    "text",
    "value",
    "hash",
    "header",
    "secretary",
    "password_policy",
    "cookiecutter",
    "monkey",
]

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("abc xyz", max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(OTHER_KEYS), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_value_under_a_key_that_names_a_secret_is_taken_out(key: str) -> None:
    assert redact({key: "hunter2", "user": "ann"}) == {key: MARK, "user": "ann"}


@pytest.mark.parametrize("key", OTHER_KEYS)
def test_a_key_that_only_sounds_like_one_is_left_alone(key: str) -> None:
    value = {key: "hunter2"}

    assert redact(value) is value


def test_whatever_is_under_such_a_key_goes_as_a_whole() -> None:
    value = {"credentials": {"user": "ann", "keys": ["a", "b"]}, "token": 12345, "cookies": [{"name": "sid"}]}

    assert redact(value) == {"credentials": MARK, "token": MARK, "cookies": MARK}


@pytest.mark.parametrize("nothing", [None, True, False, "", [], {}])
def test_nothing_and_yes_and_no_are_no_secrets(nothing) -> None:
    value = {"password": nothing}

    assert redact(value) is value


@pytest.mark.parametrize(
    "text", ["$step3.password", "{$step3.a.b[0]}", "$step12", "$item.token", "$index", "Bearer $step1.token"]
)
def test_a_reference_of_a_plan_is_what_stands_for_a_secret_and_none(text: str) -> None:
    """A plan that is read back can be gone on with."""
    value = {"password": text}

    assert redact(value) is value


@pytest.mark.parametrize("text", ["$step", "$step3 hunter2", "$stepper", "{$step3", "x$step3", "$items"])
def test_what_only_begins_like_a_reference_is_a_secret(text: str) -> None:
    assert redact({"password": text}) == {"password": MARK}


def test_a_header_in_a_list_of_names_and_values_is_one_too() -> None:
    value = [
        {"name": "Authorization", "value": "x"},
        {"key": "api_key", "value": "y"},
        {"name": "Via", "value": "z"},
    ]

    assert redact(value) == [
        {"name": "Authorization", "value": MARK},
        {"key": "api_key", "value": MARK},
        {"name": "Via", "value": "z"},
    ]


def test_a_secret_that_is_known_is_taken_out_of_every_text_and_key() -> None:
    value = {"url": "https://example.org/?q=s3cr3t&n=1", "log": ["ok", "sent s3cr3t"], "s3cr3t": 1}

    assert redact(value, ["s3cr3t"]) == {
        "url": f"https://example.org/?q={MARK}&n=1",
        "log": ["ok", f"sent {MARK}"],
        MARK: 1,
    }


def test_a_key_alone_can_have_a_secret_in_it() -> None:
    assert redact({"for s3cr3t": 1}, ["s3cr3t"]) == {f"for {MARK}": 1}


def test_the_longest_of_the_known_secrets_goes_first() -> None:
    """Else the rest of it would stay behind."""
    assert redact("abcd-efgh abcd", ["abcd", "abcd-efgh"]) == f"{MARK} {MARK}"


def test_a_known_secret_of_three_characters_is_in_too_many_texts_to_be_one() -> None:
    assert redact("the cat", ["the", ""]) == "the cat"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("see https://ann:hunter2@example.org/x", f"see https://ann:{MARK}@example.org/x"),
        ("postgres://app:p%40ss@db:5432/main", f"postgres://app:{MARK}@db:5432/main"),
        ("Authorization: Bearer abcdef.12345-ghijk", f"Authorization: Bearer {MARK}"),
        ("Basic YW5uOmh1bnRlcjI=", f"Basic {MARK}"),
        ("key sk-proj-abcdefghij1234567890 end", f"key {MARK} end"),
        ("ghp_" + "a1" * 18, MARK),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nrest", f"{MARK}\nrest"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", MARK),
    ],
)
def test_what_looks_like_nothing_else_is_taken_out_of_a_text(text: str, left: str) -> None:
    assert redact({"line": text}) == {"line": left}


@pytest.mark.parametrize(
    "text",
    [
        "token = next(tokens)",
        'password = os.environ["PASSWORD"]',
        "Bearer authentication is described below",
        "Basic functionality",
        "https://example.org:8080/a@b",
        "git+ssh://git@example.org/x",
        "sk-learn-is-not-a-key-at-all-here",
        "the private key is kept elsewhere",
    ],
)
def test_code_and_prose_about_secrets_are_left_as_they_are(text: str) -> None:
    """A text that is changed without need can no longer be checked."""
    assert redact(text) is text


@given(PLAIN)
def test_data_without_secrets_is_handed_back_itself(value) -> None:
    assert redact(value, ["s3cr3t"]) is value
    assert not hides_secret(value)


@given(PLAIN, st.sampled_from(SECRET_KEYS), st.text("0123456789", min_size=6, max_size=9))
def test_a_secret_is_found_wherever_it_is_and_all_else_is_kept(value, key: str, secret: str) -> None:
    said = f"<{secret}> "
    whole = {"a": [value, {key: said}], "b": {"c": [said]}}

    found = redact(whole, [secret])

    assert found["b"] == {"c": [f"<{MARK}> "]}
    assert found["a"][1] == {key: MARK}
    assert found["a"][0] == redact(value, [secret])
    assert redact(found, [secret]) == found
    assert hides_secret(found)


def test_the_original_is_not_changed() -> None:
    value = {"a": [{"password": "hunter2"}]}
    redact(value)

    assert value == {"a": [{"password": "hunter2"}]}


def test_depth_is_no_matter() -> None:
    deep: object = {"password": "hunter2"}
    for _ in range(sys.getrecursionlimit() * 5):
        deep = [deep]

    found = redact(deep)

    assert hides_secret(found)
    assert not is_blurred(found)


def test_a_secret_in_the_middle_of_a_text_blurs_it_and_a_whole_one_does_not() -> None:
    assert is_blurred(redact({"a": ["x s3cr3t"]}, ["s3cr3t"]))
    assert not is_blurred(redact({"a": "s3cr3t", "password": "p"}, ["s3cr3t"]))


def test_a_key_as_long_as_a_book_is_looked_at_by_its_end() -> None:
    assert names_secret("x" * 10**6 + "_password")
    assert not names_secret("password" * 10**5 + "_count")
