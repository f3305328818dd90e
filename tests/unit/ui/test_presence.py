import pytest

from ccsr.ui import presence as module
from ccsr.ui.presence import Owner, Presence


def test_a_visitor_is_here_while_a_connection_is_open() -> None:
    presence = Presence()
    with presence.connection("a", "1.2.3.4"):
        with presence.connection("a", "1.2.3.4"), presence.connection("b", "5.6.7.8"):
            assert (len(presence), presence.num_connections) == (2, 3)
            assert presence.connections_of("1.2.3.4") == 2
        assert presence.is_here("c", "a")
        assert not presence.is_here("b")
    assert (len(presence), presence.num_connections) == (0, 0)


def test_who_was_here_has_left_soon_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)
    presence = Presence()
    owner = Owner(presence, "session", "event")
    assert not owner.has_left()
    with presence.connection("event", ""):
        assert not owner.has_left()
    assert owner.has_left()


def test_who_does_not_come_in_time_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(Presence(), "session")
    assert not owner.has_left()
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.0)
    assert owner.has_left()
    assert not Owner(None, "session").has_left()
