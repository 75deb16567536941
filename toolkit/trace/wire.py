"""Rows of spans to bytes: the compiled loops of both renderings, and what they are made of.

A writer here takes a buffer and a position and returns the position after what
it wrote.  Unsigned positions, where it matters, spare numba a test of each for
negative ones: text is copied five times faster.  Importing this module imports
numba, so only functions that render import it; everything is compiled once and
then read from numba's cache.

Depth is followed with one stack a track, which outlives the call: a span is
closed when the next one begins that does not lie inside it, so that on every
track an end comes before a begin of the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = [
    "begin_end_packets",
    "chrome_counters",
    "chrome_spans",
    "close_all",
    "counter_packets",
]

Bytes = npt.NDArray[np.uint8]
Bits = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    """Compile, and cache where numba finds a folder it may write to."""
    return _njit(function)


def _part(function: _F) -> _F:
    """Compile for use inside compiled functions only: without wrappers, which take time."""
    return _njit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def _njit(function: _F, **options: Any) -> _F:
    try:
        return cast("_F", njit(cache=True, nogil=True, **options)(function))
    except RuntimeError:
        return cast("_F", njit(nogil=True, **options)(function))


# --- protobuf: https://protobuf.dev/programming-guides/encoding ----------------------------------


@_part
def put_varint(out: Bytes, at: int, value: int) -> int:
    """Write an unsigned integer, seven bits a byte, the lowest first."""
    left = np.uint64(value)
    while left >= np.uint64(0x80):
        out[np.uintp(at)] = np.uint8(left & np.uint64(0x7F)) | np.uint8(0x80)
        left >>= np.uint64(7)
        at += 1
    out[np.uintp(at)] = np.uint8(left)
    return at + 1


@_part
def put_fixed64(out: Bytes, at: int, value: int) -> int:
    """Write eight bytes, the lowest first."""
    left = np.uint64(value)
    for k in range(8):
        out[at + k] = np.uint8((left >> np.uint64(8 * k)) & np.uint64(0xFF))
    return at + 8


@_part
def close_message(out: Bytes, start: int, at: int) -> int:
    """Write the length of the message that began after the byte kept at `start`.

    One byte is enough below 128; a longer message moves up to make room.
    """
    length = at - start - 1
    if length < 0x80:
        out[start] = length
        return at
    more = 0
    left = length >> 7
    while left:
        more += 1
        left >>= 7
    for k in range(at - 1, start, -1):
        out[k + more] = out[k]
    put_varint(out, start, length)
    return at + more


def _int64(value: int) -> int:
    """Type a constant: numba compiles a function anew for each plain int it is called with."""
    return cast("int", np.int64(value))


ZERO = _int64(0)

# Field numbers of perfetto_trace.proto as tags, (number << 3 | wire type); those above 15 take two
# bytes.  A test holds them against the generated classes.
PACKET = 1 << 3 | 2
TIMESTAMP = 8 << 3
SEQUENCE = 10 << 3
TRACK_EVENT = 11 << 3 | 2
ANNOTATION = 4 << 3 | 2
TYPE = 9 << 3
NAME_IID = 10 << 3
TRACK_UUID = 11 << 3
COUNTER_VALUE = _int64(30 << 3)
DOUBLE_COUNTER_VALUE = _int64(44 << 3 | 1)
FLOW_ID = _int64(47 << 3 | 1)
TERMINATING_FLOW_ID = _int64(48 << 3 | 1)
CORRELATION_ID = _int64(52 << 3)
ANNOTATION_NAME_IID = 1 << 3
ANNOTATION_UINT = 3 << 3
BEGIN, END, COUNTER = 1, 2, 4

REQUEST, TOKEN, STEP, SIZE = (_int64(iid) for iid in (1, 2, 3, 4))
"""Interned names of the annotations."""

COUNTERS = _int64(1)
"""The packet sequence of all counters; a track's is its number + 2."""

SPAN_BYTES = 160
"""At most so many bytes are written for the begin and the end of a span."""
FLOW_BYTES = 16
COUNTER_BYTES = 48


@_part
def open_packet(out: Bytes, at: int, ts: int, sequence: int) -> int:
    """Write the head of a track event packet; its lengths go to bytes `at + 1` and the last."""
    out[at] = PACKET
    at += 2
    out[at] = TIMESTAMP
    at = put_varint(out, at + 1, ts)
    out[at] = SEQUENCE
    at = put_varint(out, at + 1, sequence)
    out[at] = TRACK_EVENT
    return at + 2


@_part
def put_end(out: Bytes, at: int, ts: int, sequence: int) -> int:
    """Write the packet that ends the innermost open slice of a sequence's track."""
    start = at + 1
    at = open_packet(out, at, ts, sequence)
    event = at - 1
    out[at] = TYPE
    out[at + 1] = END
    at = close_message(out, event, at + 2)
    return close_message(out, start, at)


@_part
def put_annotation(out: Bytes, at: int, iid: int, value: int) -> int:
    """Write a debug annotation of an unsigned value; an empty one (-1) writes nothing."""
    if value < 0:
        return at
    out[at] = ANNOTATION
    start = at + 1
    out[at + 2] = ANNOTATION_NAME_IID
    out[at + 3] = iid
    out[at + 4] = ANNOTATION_UINT
    at = put_varint(out, at + 5, value)
    out[start] = at - start - 1
    return at


@_part
def settle(ends: Ints, depths: Ints, track: int, ts: int, dur: int, depth: int) -> int:
    """Return how many spans stay open on a track as one begins, or -1 where it cannot begin.

    Those that stay are its parents: `depth` of them, each open until its end or later.
    """
    if depth < 0 or depth > depths[track] or depth >= ends.shape[1] or ts < 0 or dur < 0:
        return -1
    if depths[track] > depth and ends[track, depth] > ts:
        return -1
    if depth and ends[track, depth - 1] < ts + dur:
        return -1
    return depth


@_compiled
def begin_end_packets(
    out: Bytes,
    ts: Ints,
    dur: Ints,
    track: Ints,
    name: Ints,
    request: Ints,
    token: Ints,
    step: Ints,
    size: Ints,
    depth: Ints,
    flow_row: Ints,
    flow: Ints,
    flow_place: Ints,
    correlated: Flags,
    ends: Ints,
    depths: Ints,
) -> tuple[int, int]:
    """Write spans as begin and end packets; return the bytes written and the first wrong row or -1.

    `ends` of shape (tracks, most levels) and `depths` of shape (tracks,) are the open spans: those
    whose end is still to be written.  `correlated` says on which tracks a slice is coloured by its
    request.  A row is wrong when it overlaps another of its depth or leaves its parent.
    """
    at = ZERO
    following = 0
    for row in range(len(ts)):
        on = track[row]
        keep = settle(ends, depths, on, ts[row], dur[row], depth[row])
        if keep < 0:
            return at, row
        sequence = on + 2
        for level in range(depths[on] - 1, keep - 1, -1):
            at = put_end(out, at, ends[on, level], sequence)
        ends[on, keep] = ts[row] + dur[row]
        depths[on] = keep + 1

        start = at + 1
        at = open_packet(out, at, ts[row], sequence)
        event = at - 1
        out[at] = TYPE
        out[at + 1] = BEGIN
        out[at + 2] = NAME_IID
        at = put_varint(out, at + 3, name[row] + 1)
        at = put_annotation(out, at, REQUEST, request[row])
        at = put_annotation(out, at, TOKEN, token[row])
        at = put_annotation(out, at, STEP, step[row])
        at = put_annotation(out, at, SIZE, size[row])
        while following < len(flow_row) and flow_row[following] == row:
            tag = TERMINATING_FLOW_ID if flow_place[following] == 2 else FLOW_ID
            at = put_varint(out, at, tag)
            at = put_fixed64(out, at, flow[following] + 1)
            following += 1
        if correlated[on] and depth[row] == 0 and request[row] >= 0:
            at = put_varint(out, at, CORRELATION_ID)
            at = put_varint(out, at, request[row] + 1)
        at = close_message(out, event, at)
        at = close_message(out, start, at)
    return at, -1


@_compiled
def close_all(out: Bytes, at: int, track: int, ends: Ints, depths: Ints) -> int:
    """Write the ends of what is still open on one track, the innermost first."""
    for level in range(depths[track] - 1, -1, -1):
        at = put_end(out, at, ends[track, level], track + 2)
    depths[track] = 0
    return at


@_compiled
def counter_packets(out: Bytes, ts: Ints, uuid: Ints, value: Floats, bits: Bits) -> int:
    """Write counter values: whole ones as integers, others as doubles (`bits`: `value` as such)."""
    at = ZERO
    for row in range(len(ts)):
        start = at + 1
        at = open_packet(out, at, ts[row], COUNTERS)
        event = at - 1
        out[at] = TYPE
        out[at + 1] = COUNTER
        out[at + 2] = TRACK_UUID
        at = put_varint(out, at + 3, uuid[row])
        whole = np.int64(value[row]) if abs(value[row]) < 2.0**53 else np.int64(0)
        if np.float64(whole) == value[row]:
            at = put_varint(out, at, COUNTER_VALUE)
            at = put_varint(out, at, int(whole))
        else:
            at = put_varint(out, at, DOUBLE_COUNTER_VALUE)
            at = put_fixed64(out, at, bits[row])
        at = close_message(out, event, at)
        at = close_message(out, start, at)
    return at


# --- JSON text -----------------------------------------------------------------------------------

JSON_SPAN_BYTES = 220
"""At most so many bytes are written for a span, its texts aside."""
JSON_FLOW_BYTES = 140


_POWERS = 10 ** np.arange(20, dtype=np.uint64)
_PAIRS = np.frombuffer(b"".join(b"%02d" % pair for pair in range(100)), np.uint8).copy()


@_part
def put_decimal(out: Bytes, at: int, value: int) -> int:
    """Write a non-negative integer in decimal digits, two at a time."""
    left = np.uint64(value)
    digits = 1
    while digits < 20 and left >= _POWERS[digits]:
        digits += 1
    k = at + digits
    while left >= np.uint64(10):
        rest = left // np.uint64(100)
        pair = np.intp(left - rest * np.uint64(100)) * 2
        k -= 1
        out[np.uintp(k)] = _PAIRS[np.uintp(pair + 1)]
        if k > at:
            k -= 1
            out[np.uintp(k)] = _PAIRS[np.uintp(pair)]
        left = rest
    if k > at:
        out[at] = np.uint8(48) + np.uint8(left)
    return at + digits


@_part
def put_us(out: Bytes, at: int, ns: int) -> int:
    """Write nanoseconds as microseconds with exactly three decimals, never through a float."""
    whole = np.uint64(ns) // np.uint64(1000)
    rest = np.intp(np.uint64(ns) - whole * np.uint64(1000))
    at = put_decimal(out, at, int(np.int64(whole)))
    pair = rest % 100 * 2
    out[at] = 46
    out[at + 1] = 48 + rest // 100
    out[at + 2] = _PAIRS[pair]
    out[at + 3] = _PAIRS[pair + 1]
    return at + 4


@_part
def put_text(out: Bytes, at: int, texts: Bytes, start: int, end: int) -> int:
    """Copy `texts[start:end]`."""
    length = end - start
    for k in range(length):
        out[np.uintp(at) + np.uintp(k)] = texts[np.uintp(start) + np.uintp(k)]
    return at + length


@_part
def put_piece(out: Bytes, at: int, texts: Bytes, bounds: Ints, which: int) -> int:
    """Copy text number `which` of several, written end to end with their bounds."""
    return put_text(out, at, texts, bounds[which], bounds[which + 1])


@_compiled
def chrome_spans(
    out: Bytes,
    ts: Ints,
    dur: Ints,
    track: Ints,
    name: Ints,
    values: Ints,
    depth: Ints,
    flow_row: Ints,
    flow: Ints,
    flow_place: Ints,
    ends: Ints,
    depths: Ints,
    words: Bytes,
    word_at: Ints,
    names: Bytes,
    name_at: Ints,
    tracks: Bytes,
    track_at: Ints,
) -> tuple[int, int]:
    """Write spans as X events; return the bytes written and the first wrong row or -1.

    `values` has shape (keys, spans).  Texts come as bytes end to end with their bounds: `words`
    are the fixed parts (see `chrome._WORDS`), `names` what stands before the place of a span of
    each name, `tracks` the place of each track.
    """
    at = ZERO
    following = 0
    keys = len(values)
    for row in range(len(ts)):
        on = track[row]
        keep = settle(ends, depths, on, ts[row], dur[row], depth[row])
        if keep < 0:
            return at, row
        ends[on, keep] = ts[row] + dur[row]
        depths[on] = keep + 1

        at = put_piece(out, at, names, name_at, name[row])
        at = put_piece(out, at, tracks, track_at, on)
        at = put_us(out, at, ts[row])
        at = put_piece(out, at, words, word_at, keys)
        at = put_us(out, at, dur[row])
        at = put_piece(out, at, words, word_at, keys + 1)
        between = at
        for key in range(keys):
            if values[key, row] >= 0:
                if at > between:
                    out[at] = 44
                    at += 1
                at = put_piece(out, at, words, word_at, key)
                at = put_decimal(out, at, values[key, row])
        at = put_piece(out, at, words, word_at, keys + 2)
        while following < len(flow_row) and flow_row[following] == row:
            at = put_piece(out, at, words, word_at, keys + 3 + flow_place[following])
            at = put_decimal(out, at, flow[following] + 1)
            at = put_piece(out, at, tracks, track_at, on)
            at = put_us(out, at, ts[row])
            at = put_piece(out, at, words, word_at, keys + 6)
            following += 1
    return at, -1


@_compiled
def chrome_counters(
    out: Bytes,
    ts: Ints,
    which: Ints,
    value: Floats,
    heads: Bytes,
    head_at: Ints,
    units: Bytes,
    unit_at: Ints,
    odd: Bytes,
    odd_at: Ints,
) -> int:
    """Write counter values as C events: a head and a unit for each counter.

    A value has its text in `odd` where it is not a non-negative whole number.
    """
    at = ZERO
    for row in range(len(ts)):
        at = put_piece(out, at, heads, head_at, which[row])
        at = put_us(out, at, ts[row])
        at = put_piece(out, at, units, unit_at, which[row])
        if odd_at[row + 1] > odd_at[row]:
            at = put_piece(out, at, odd, odd_at, row)
        else:
            at = put_decimal(out, at, int(value[row]))
        out[at] = 125
        out[at + 1] = 125
        out[at + 2] = 44
        out[at + 3] = 10
        at += 4
    return at
