"""Users' pictures: which files are accepted. A file's type is read from its content alone.

The bytes are never decoded here and are served only with the recognized type, so a file that is also
something else is shown as a picture or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from aisaas.accounts import store
from aisaas.accounts.models import Principal
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.errors import AuthError

MAX_BYTES = 256 * 1024
MAX_SIDE = 1024
ADDRESS = "/api/account/picture"

TOO_LARGE = "Choose a picture of up to 256 KB."
WRONG_KIND = "Choose a PNG, JPEG, or WebP picture."
TOO_WIDE = f"Choose a picture of up to {MAX_SIDE} × {MAX_SIDE} pixels."

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Picture:
    content: bytes
    content_type: str

    @property
    def version(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:32]


def address_of(user_id: UUID, version: str) -> str:
    return f"{ADDRESS}/{user_id}?v={version}"


def recognise(content: bytes) -> Picture:
    """The picture in an uploaded file. Raises AuthError `picture_invalid`."""
    if len(content) > MAX_BYTES:
        raise AuthError("picture_invalid", TOO_LARGE)
    for content_type, size_of in FORMATS:
        size = size_of(content)
        if size is None:
            continue
        if not all(0 < side <= MAX_SIDE for side in size):
            raise AuthError("picture_invalid", TOO_WIDE)
        return Picture(content, content_type)
    raise AuthError("picture_invalid", WRONG_KIND)


def _png(content: bytes) -> Size | None:
    # Signature, then the header as the first chunk: length 13, IHDR, width, height.
    if not content.startswith(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR") or len(content) < 33:
        return None
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


# Start of frame, baseline to arithmetic; the gaps are Huffman tables, JPG and arithmetic coding.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_END_OF_HEADERS = frozenset({0xD9, 0xDA})


def _jpeg(content: bytes) -> Size | None:
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _END_OF_HEADERS:
            return None
        elif marker in _FRAMES:
            if at + 9 > len(content):
                return None
            return int.from_bytes(content[at + 7 : at + 9]), int.from_bytes(
                content[at + 5 : at + 7]
            )
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4])
    return None


def _webp(content: bytes) -> Size | None:
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP" or len(content) < 30:
        return None
    match content[12:16]:
        case b"VP8X":
            return (
                int.from_bytes(content[24:27], "little") + 1,
                int.from_bytes(content[27:30], "little") + 1,
            )
        case b"VP8L" if content[20] == 0x2F:
            bits = int.from_bytes(content[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 " if content[23:26] == b"\x9d\x01\x2a":
            return (
                int.from_bytes(content[26:28], "little") & 0x3FFF,
                int.from_bytes(content[28:30], "little") & 0x3FFF,
            )
        case _:
            return None


FORMATS: tuple[tuple[str, Callable[[bytes], Size | None]], ...] = (
    ("image/png", _png),
    ("image/jpeg", _jpeg),
    ("image/webp", _webp),
)


class Pictures:
    """The pictures of this instance. Users write their own, under their own identity."""

    def __init__(self, user: UserDatabase, service: ServiceDatabase) -> None:
        self._user = user
        self._service = service

    async def put(self, principal: Principal, content: bytes) -> str:
        """Store a picture, replacing an earlier one; returns its address. Raises AuthError."""
        picture = recognise(content)
        address = address_of(principal.user_id, picture.version)
        async with self._user.as_user(principal.user_id) as db:
            await store.put_picture(
                db,
                principal.user_id,
                version=picture.version,
                content=picture.content,
                content_type=picture.content_type,
                address=address,
            )
        return address

    async def remove(self, principal: Principal) -> None:
        async with self._user.as_user(principal.user_id) as db:
            await store.remove_picture(db, principal.user_id)

    async def get(self, principal: Principal, user_id: UUID) -> Picture | None:
        """The user's own picture; an admin gets any user's."""
        if principal.is_admin:
            async with self._service.transaction() as db:
                found = await store.find_picture(db, user_id)
        else:
            # Row level security decides whose picture this may be.
            async with self._user.as_user(principal.user_id) as db:
                found = await store.find_picture(db, user_id)
        return Picture(*found) if found is not None else None
