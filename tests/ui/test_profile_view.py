"""What someone's settings show of what is known about them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import get_args
from uuid import UUID

import pytest

from aisaas.accounts.models import OpenedBy, OwnSession, Principal
from aisaas.accounts.pictures import address_of
from aisaas.ui.profile.view import OPENED, session_views
from aisaas.ui.session import initials, own_picture

ID = UUID(int=1)
SOME_TIME = datetime(2026, 11, 5, 12, 30, tzinfo=UTC)
NOBODY = Principal(
    user_id=ID,
    session_id=UUID(int=2),
    email="ada@example.com",
    full_name="",
    avatar_url=None,
    role="user",
    suspended=False,
    recovered=False,
)


def session(number: int, *, current: bool) -> OwnSession:
    return OwnSession(UUID(int=number), "Firefox on Mac", "password", SOME_TIME, SOME_TIME, current)


def test_this_device_comes_first_and_the_others_keep_their_order() -> None:
    views = session_views(
        [session(1, current=False), session(2, current=True), session(3, current=False)]
    )
    assert [view.id[-1] for view in views] == ["2", "1", "3"]
    assert [view.current for view in views] == [True, False, False]
    assert views[0].seen_at == "2026-11-05T12:30:00+00:00"


def test_every_way_in_has_words() -> None:
    assert set(OPENED) == set(get_args(OpenedBy))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ada Lovelace", "AL"),
        ("Augusta Ada King", "AK"),
        ("ada@example.com", "A"),
        ("Ada", "A"),
        ("Ada Ada", "A"),
        ("élodie (home)", "É"),
        ("李 小龙", "李小"),
        ("(!)", ""),
        ("", ""),
    ],
)
def test_initials_are_of_the_first_and_the_last_word(name: str, expected: str) -> None:
    assert initials(name) == expected


def test_only_pictures_of_ours_are_shown() -> None:
    ours = address_of(ID, "0" * 32)
    shown = {
        None: "",
        ours: ours,
        "https://pictures.example/a.png": "",
        f"https://pictures.example{ours}": "",
        "/api/account/pictures-of-others": "",
    }
    for address, expected in shown.items():
        assert own_picture(dataclasses.replace(NOBODY, avatar_url=address)) == expected
