"""A QR code (ISO/IEC 18004) of a short text, as SVG.

Byte mode, error correction of level M, and always the first mask, a checkerboard: that is a valid
code, though not always the one with the fewest blemishes.
"""

from collections.abc import Iterable, Iterator

# For level M, by version from 1 on: correction codewords of each block, and blocks.
CORRECTION = (10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26)
BLOCKS = (1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16)
BYTE_MODE = 0b0100
PADDING = (0xEC, 0x11)
# Level M and the first mask, with their own correction bits.
FORMAT = 0b101010000010010
FIELD = 0x11D
VERSION_POLYNOMIAL = 0x1F25
# Versions from here on say their number, or count the text's bytes in 16 bits.
NUMBERED = 7
LONG_COUNT = 10
QUIET = 4

Position = tuple[int, int]


def svg(text: str) -> str:
    """Without `#` and double quotes, so that it fits into a data URL. Raises `ValueError` when the
    text is longer than 666 bytes.
    """
    dark = matrix(text)
    size = len(dark) + 2 * QUIET
    cells = (
        f"M{x + QUIET} {y + QUIET}h1v1h-1z"
        for y, row in enumerate(dark)
        for x, cell in enumerate(row)
        if cell
    )
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {size} {size}'"
        f" shape-rendering='crispEdges'><path fill='white' d='M0 0h{size}v{size}H0z'/>"
        f"<path d='{''.join(cells)}'/></svg>"
    )


def matrix(text: str) -> list[list[bool]]:
    """Rows from the top, without the quiet zone; true is dark."""
    content = text.encode()
    version = _version_for(content)
    fixed = _fixed(version)
    size = 17 + 4 * version
    dark = [[fixed.get((x, y), False) for x in range(size)] for y in range(size)]
    codewords = _codewords(content, version)
    bits = [codeword >> bit & 1 for codeword in codewords for bit in range(7, -1, -1)]
    free = (place for place in _path(size) if place not in fixed)
    for index, (x, y) in enumerate(free):
        bit = bits[index] if index < len(bits) else 0
        dark[y][x] = bool(bit) ^ ((x + y) % 2 == 0)
    return dark


def _total(version: int) -> int:
    """Codewords of all kinds."""
    modules = (16 * version + 128) * version + 64
    if version > 1:
        count = version // 7 + 2
        modules -= (25 * count - 10) * count - 55
    return (modules - (36 if version >= NUMBERED else 0)) // 8


def _room(version: int) -> int:
    """Codewords for the text, its length, and padding."""
    return _total(version) - CORRECTION[version - 1] * BLOCKS[version - 1]


def _version_for(content: bytes) -> int:
    for version in range(1, len(BLOCKS) + 1):
        header = 4 + (16 if version >= LONG_COUNT else 8)
        if header + 8 * len(content) <= 8 * _room(version):
            return version
    raise ValueError("too long for a QR code")


def _codewords(content: bytes, version: int) -> list[int]:
    """The text, padded, in blocks with their corrections, interleaved."""
    room, count, correction = _room(version), BLOCKS[version - 1], CORRECTION[version - 1]
    width = 16 if version >= LONG_COUNT else 8
    bits = f"{BYTE_MODE:04b}{len(content):0{width}b}" + "".join(f"{byte:08b}" for byte in content)
    bits += "0" * min(4, 8 * room - len(bits))
    bits += "0" * (-len(bits) % 8)
    data = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    data += [PADDING[index % 2] for index in range(room - len(data))]
    # The last blocks are one codeword longer where they can't all be equal.
    short, longer = divmod(room, count)
    blocks: list[list[int]] = []
    for index in range(count):
        length = short + (1 if index >= count - longer else 0)
        blocks.append(data[:length])
        data = data[length:]
    generator = _generator(correction)
    corrections = [_remainder(block, generator) for block in blocks]
    return [*_interleaved(blocks), *_interleaved(corrections)]


def _interleaved(blocks: list[list[int]]) -> Iterator[int]:
    for index in range(max(len(block) for block in blocks)):
        yield from (block[index] for block in blocks if index < len(block))


def _times(left: int, right: int) -> int:
    product = 0
    while right:
        product ^= left if right & 1 else 0
        left = left << 1 ^ (FIELD if left & 0x80 else 0)
        right >>= 1
    return product


def _generator(degree: int) -> list[int]:
    """The product of (x - 2^i), highest power first and without its coefficient 1."""
    coefficients = [*[0] * (degree - 1), 1]
    root = 1
    for _ in range(degree):
        shifted = [*coefficients[1:], 0]
        coefficients = [
            _times(old, root) ^ new for old, new in zip(coefficients, shifted, strict=True)
        ]
        root = _times(root, 2)
    return coefficients


def _remainder(block: Iterable[int], generator: list[int]) -> list[int]:
    remainder = [0] * len(generator)
    for codeword in block:
        factor = codeword ^ remainder[0]
        remainder = [
            old ^ _times(coefficient, factor)
            for old, coefficient in zip([*remainder[1:], 0], generator, strict=True)
        ]
    return remainder


def _path(size: int) -> Iterator[Position]:
    """Where bits go: in columns of two from the right, up and down, around the timing column."""
    upward = True
    for right in (*range(size - 1, 6, -2), 5, 3, 1):
        for y in range(size - 1, -1, -1) if upward else range(size):
            yield right, y
            yield right - 1, y
        upward = not upward


def _fixed(version: int) -> dict[Position, bool]:
    """What is the same whatever the text: by position, whether it is dark."""
    size = 17 + 4 * version
    cells = {(at, 6): at % 2 == 0 for at in range(size)}
    cells |= {(6, at): at % 2 == 0 for at in range(size)}
    for center in ((3, 3), (size - 4, 3), (3, size - 4)):
        cells |= _rings(center, 4, size, light=(2, 4))
    centers = _alignment(version)
    corners = {(6, 6), (6, size - 7), (size - 7, 6)}
    for center in ((x, y) for x in centers for y in centers):
        if center not in corners:
            cells |= _rings(center, 2, size, light=(1,))
    for index, places in enumerate(_format_places(size)):
        cells |= dict.fromkeys(places, bool(FORMAT >> index & 1))
    cells[8, size - 8] = True
    if version >= NUMBERED:
        number = _numbered(version)
        for index in range(18):
            across, down = size - 11 + index % 3, index // 3
            cells[across, down] = cells[down, across] = bool(number >> index & 1)
    return cells


def _rings(
    center: Position, radius: int, size: int, *, light: tuple[int, ...]
) -> dict[Position, bool]:
    span = range(-radius, radius + 1)
    return {
        (center[0] + dx, center[1] + dy): max(abs(dx), abs(dy)) not in light
        for dx in span
        for dy in span
        if 0 <= center[0] + dx < size and 0 <= center[1] + dy < size
    }


def _alignment(version: int) -> list[int]:
    if version == 1:
        return []
    count, last = version // 7 + 2, 10 + 4 * version
    step = (version * 4 + count * 2 + 1) // (count * 2 - 2) * 2
    return [6, *(last - step * index for index in range(count - 2, -1, -1))]


def _format_places(size: int) -> Iterator[tuple[Position, Position]]:
    """Where each bit of the format stands, lowest first: by the first corner, and by the others."""
    first = [*((8, y) for y in (0, 1, 2, 3, 4, 5, 7, 8)), *((x, 8) for x in (7, 5, 4, 3, 2, 1, 0))]
    second = [*((size - 1 - at, 8) for at in range(8)), *((8, size - 7 + at) for at in range(7))]
    return zip(first, second, strict=True)


def _numbered(version: int) -> int:
    remainder = version
    for _ in range(12):
        remainder = remainder << 1 ^ (VERSION_POLYNOMIAL if remainder >> 11 else 0)
    return version << 12 | remainder
