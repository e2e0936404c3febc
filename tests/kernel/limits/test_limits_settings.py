"""How limits, quotas and proxies are written in the settings."""

from pathlib import Path

import pytest

from courtyard.kernel.settings import SettingsError, load_settings

pytestmark = pytest.mark.usefixtures("place")


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("[limits.policies]\n", '"a.b_c" = "5/minute"\n"a.d" = "off"'),
        ("[limits.policies]\n", 'a.b_c = "5/minute"\na.d = "off"'),
        ("[limits]\n", 'policies = "a.b_c=5/minute, a.d = off,"'),
        ("[limits]\n", """policies = '{"a.b_c": "5/minute", "a": {"d": "off"}}'"""),
    ],
)
def test_names_with_dots_can_be_written_in_several_ways(section: str, text: str, place: Path) -> None:
    (place / "courtyard.toml").write_text(section + text)
    assert load_settings().limits.policies == {"a.b_c": "5/minute", "a.d": "off"}


def test_quotas_are_numbers_or_unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURTYARD_LIMITS__QUOTAS", "a.b=20,a.c=unlimited")
    assert load_settings().limits.quotas == {"a.b": 20, "a.c": "unlimited"}
    for text in ("a.b=many", "a.b=-1", "a.b", "a.b=1e99", "{"):
        monkeypatch.setenv("COURTYARD_LIMITS__QUOTAS", text)
        with pytest.raises(SettingsError, match=r"limits\.quotas"):
            load_settings()


@pytest.mark.parametrize("proxy", ["*", "proxy.example.org", "10.0.0.1/8", "300.1.1.1"])
def test_a_proxy_is_an_address_or_a_network(proxy: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(server={"trusted_proxies": ["10.0.0.0/8", "::1", proxy]})
    (line,) = error.value.faults
    assert line.startswith("server.trusted_proxies.2: must be addresses or networks")
