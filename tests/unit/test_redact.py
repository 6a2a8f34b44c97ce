"""Credentials quoted in messages are hidden, and no control character of others reaches the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import ConfigError, load_sweep
from harness.types.redact import HIDDEN, error_text, printable, redact, redact_settings

VALUES = [
    "s3cr3t",
    "X0_0",
    "sk-planted-5f1e0c77",
    "dXNlcjpwYXNz==",
    "AKIAIOSFODNN7EXAMPLE",
    "a.b~c+d/e",
    "0123456789abcdef",
]
FORMS = [
    "no answer from https://host/search?key={}",
    "no answer from https://host/search?q=1&key={}&topk=5",
    "https://host/?api_key={} refused",
    "https://host/?apikey={}#part",
    "https://host/?access_token={} twice",
    "https://host/?X-Amz-Signature={}",
    "authorization: {}",
    "Authorization: Bearer {}",
    "authorization=Basic {}",
    "headers={{'authorization': 'Bearer {}', 'accept': '*/*'}}",
    '{{"Authorization": "Token {}"}}',
    "[('authorization', ...)] authorization: ['Bearer {}']",
    "x-api-key: {}",
    "{{x-api-key: {}, model: m}}",
    "X-Goog-Api-Key={}",
    "X-Auth-Token: '{}'",
    "bearer: {}",
    "bearer={}",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", VALUES)
def test_a_credential_quoted_in_a_message_is_hidden_and_the_rest_stays(form, value):
    message = form.format(value)
    hidden = redact(message)
    assert value not in hidden
    assert hidden == form.format(HIDDEN)
    assert redact(hidden) == hidden
    assert value not in error_text(ValueError(message))


@given(st.text("abcXYZ019-._~+/", min_size=4, max_size=40), st.sampled_from(FORMS))
def test_any_value_of_a_credential_is_hidden_whole(value, form):
    assert redact(form.format(value)) == form.format(HIDDEN)


def test_a_bare_bearer_token_is_hidden():
    assert redact("sent Bearer eyJhbGciOiJIUzI1NiIs now") == f"sent Bearer {HIDDEN} now"


@pytest.mark.parametrize(
    "message",
    [
        "key: a",
        "max_turn_tokens: 80",
        "https://host/search?monkey=1&tokens=5&topk=3",
        "the bearer of the news",
        "a turn-key: house",
        "step 3: authorization of calls",
        "x-axis: steps",
        "authorization: $OPENAI_API_KEY",
        "https://host/?key=$OPENAI_API_KEY",
    ],
)
def test_words_and_names_of_variables_stay(message):
    assert redact(message) == message


@given(st.text(max_size=200))
def test_redaction_and_printing_are_defined_on_any_text(text):
    assert len(printable(text)) == len(text)
    assert isinstance(redact_settings(text), str)


@given(st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "L"])))
def test_nothing_printable_controls_a_terminal(text):
    shown = printable(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"]
    assert not set(shown) & set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert printable(shown) == shown


def test_an_escape_sequence_is_shown_as_text_and_other_scripts_stay():
    assert printable("a\x1b[31mb\x07\r\x9b2J\n\tc") == "a\ufffd[31mb\ufffd\ufffd\ufffd2J\n\tc"
    assert printable("日本\u3000é\u00a0👩\u200d🔬") == "日本\u3000é\u00a0👩\u200d🔬"


SWEEP = """name: demo
hypothesis: h
profile: tiny
{line}
"""


@pytest.mark.parametrize(
    ("line", "overrides"),
    [
        ('"unknown\\e[2J": 1', []),
        ('hypothesi\\e: "x"', []),
        ("profile: tiny", ["unknown\x1b]0;title\x07=1"]),
        ("profile: tiny", ["steps=\x1b[2Jmany"]),
        ("profile: tiny", ["steps='\x9b2J'"]),
        ("profile: \x85tiny", []),
        ("profile: \u202etiny", []),
    ],
)
def test_a_configuration_error_shows_no_raw_control_character(tmp_path, line, overrides):
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(line=line))
    with pytest.raises(ConfigError) as caught:
        load_sweep(path, overrides)
    for shown in (str(caught.value), caught.value.render()):
        assert shown == printable(shown)


@pytest.mark.parametrize("value", ["https://h/s?key=hunter2-planted", "'authorization: Bearer hunter2-planted'"])
def test_a_configuration_error_quotes_no_credential(tmp_path, value):
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(line=f"profil: {value}"))
    with pytest.raises(ConfigError) as caught:
        load_sweep(path, [f"steps={value}", f"{value.strip(chr(39))}=1"])
    assert "hunter2-planted" not in str(caught.value)
