from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trenza.chassis.rates import MOST_REQUESTS, Rate, Window
from trenza.chassis.settings import InvalidSettings, PlatformSettings, load_settings


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("100/minute", [(100, 60)]),
        ("1/second", [(1, 1)]),
        ("5/10 minutes", [(5, 600)]),
        ("5 / 10 minutes", [(5, 600)]),
        ("7/days", [(7, 86_400)]),
        ("1000/day, 10/second", [(10, 1), (1000, 86_400)]),
        ("10/minute,100/hour,1000/day", [(10, 60), (100, 3600), (1000, 86_400)]),
    ],
)
def test_rates_are_read(text: str, windows: list[tuple[int, int]]) -> None:
    assert Rate.read(text) == Rate(tuple(Window(*window) for window in windows))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "such as 100/minute"),
        ("100", "such as 100/minute"),
        ("100/fortnight", "such as 100/minute"),
        ("ten/minute", "such as 100/minute"),
        ("-1/minute", "such as 100/minute"),
        ("1.5/minute", "such as 100/minute"),
        ("٣/minute", "such as 100/minute"),
        ("0/minute", f"write 1 to {MOST_REQUESTS}"),
        ("100001/minute", f"write 1 to {MOST_REQUESTS}"),
        ("1/0 days", "write 1 second to 31 days"),
        ("1/32 days", "write 1 second to 31 days"),
        ("1/minute, 2/60 seconds", "the same time"),
        ("10/second, 10/minute", "10/second is never reached"),
        ("20/second, 10/minute", "20/second is never reached"),
        ("1/second, 60/minute", "60/minute is never reached"),
        ("1/second, 100/minute", "100/minute is never reached"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Rate.read(text)


@given(
    st.builds(
        Window,
        st.integers(1, MOST_REQUESTS),
        st.one_of(st.integers(1, 59), st.integers(1, 59).map(lambda m: m * 60), st.integers(1, 31).map(lambda d: d * 86_400)),
    )
)
def test_what_is_written_is_read_again(window: Window) -> None:
    assert Rate.read(str(window)).windows == (window,)


def test_settings_refuse_useless_rates_and_networks_and_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_RATE_LIMIT_ANONYMOUS", "often")
    monkeypatch.setenv("TRENZA_TRUSTED_PROXIES", "10.0.0.1/8")
    with pytest.raises(InvalidSettings) as caught:
        load_settings(PlatformSettings)
    said = str(caught.value)
    assert "TRENZA_RATE_LIMIT_ANONYMOUS is 'often'" in said
    assert "such as 100/minute" in said
    assert "TRENZA_TRUSTED_PROXIES is '10.0.0.1/8'" in said


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_RATE_LIMIT_AUTHENTICATED", "off")
    monkeypatch.setenv("TRENZA_RATE_LIMIT_EXEMPT", "ops, load-test")
    monkeypatch.setenv("TRENZA_TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8")
    settings = load_settings(PlatformSettings)
    assert settings.rate_limit_authenticated == "off"
    assert settings.rate_limit_exempt == ("ops", "load-test")
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
