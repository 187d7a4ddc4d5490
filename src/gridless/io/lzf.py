"""LZF, the compression inside binary_compressed PCD files.

A stream is a sequence of runs. Control byte c < 32: c + 1 literal bytes follow. Otherwise a copy of earlier output:
length (c >> 5) + 2, where a field of 7 is extended by the next byte, from distance ((c & 31) << 8 | next byte) + 1.
Format: libLZF by Marc Lehmann.
"""

from __future__ import annotations

LONGEST_LITERAL = 32
LONGEST_COPY = 264
FARTHEST_COPY = 8192


def decompress(data: bytes, size: int) -> bytes:
    """Restore exactly ``size`` bytes.

    Raises:
        ValueError: the stream is damaged: it ends too early, gives another size, or copies from before its start.

    Example:
        >>> decompress(compress(b"abcabcabcabc"), 12)
        b'abcabcabcabc'
    """
    output = bytearray()
    at, end = 0, len(data)
    try:
        while at < end:
            control = data[at]
            at += 1
            if control < LONGEST_LITERAL:
                if at + control >= end:
                    raise ValueError("compressed data end inside a literal run")
                output += data[at : at + control + 1]
                at += control + 1
            else:
                length = control >> 5
                if length == 7:
                    length += data[at]
                    at += 1
                length += 2
                start = len(output) - ((control & 31) << 8 | data[at]) - 1
                at += 1
                if start < 0:
                    raise ValueError("compressed data copy from before their start")
                repeated = output[start : start + length]
                if len(repeated) < length:  # a copy may read what it writes
                    repeated *= -(-length // len(repeated))
                output += repeated[:length]
            if len(output) > size:
                raise ValueError(f"compressed data give more than the promised {size} bytes")
    except IndexError:
        raise ValueError("compressed data end inside a copy") from None
    if len(output) != size:
        raise ValueError(f"compressed data give {len(output)} of the promised {size} bytes")
    return bytes(output)


def compress(data: bytes) -> bytes:
    """Compress greedily: at each byte copy from the latest place where the same three bytes stood, if near enough.

    Example:
        >>> len(compress(bytes(10_000))) < 200
        True
    """
    output = bytearray()
    latest: dict[bytes, int] = {}
    at = literal_start = 0
    end = len(data)
    while at + 2 < end:
        key = data[at : at + 3]
        earlier = latest.get(key, -FARTHEST_COPY - 1)
        latest[key] = at
        if at - earlier > FARTHEST_COPY:
            at += 1
            continue
        length = 3
        longest = min(LONGEST_COPY, end - at)
        while length < longest and data[earlier + length] == data[at + length]:
            length += 1
        _append_literals(output, data[literal_start:at])
        distance = at - earlier - 1
        field = length - 2
        output.append(min(field, 7) << 5 | distance >> 8)
        if field >= 7:
            output.append(field - 7)
        output.append(distance & 255)
        at += length
        literal_start = at
    _append_literals(output, data[literal_start:])
    return bytes(output)


def _append_literals(output: bytearray, literals: bytes) -> None:
    for start in range(0, len(literals), LONGEST_LITERAL):
        run = literals[start : start + LONGEST_LITERAL]
        output.append(len(run) - 1)
        output += run
