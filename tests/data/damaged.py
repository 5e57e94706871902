"""Draws damaged and hostile content."""

from hypothesis import strategies as st

# What readers of tables trip over: other separators, quotes, line ends, numbers that are none, paths, halves of UTF-8.
PIECES = (
    *(b",", b'"', b"\n", b"\r", b";", b"\t", b" ", b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", "\u0663".encode()),
    *(
        b"-1",
        b"0",
        b"1e999",
        b"nan",
        b"inf",
        b"9" * 30,
        b"1.5",
        b"../",
        b"/",
        b"\\",
        b"[",
        b"{",
        b"}",
        b"]",
        b"<",
        b"&",
    ),
    *(rb'"\ud800"', b"null", b"true", b"a" * 300),
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, pieces: tuple[bytes, ...] = ()) -> bytes:
    """Some bytes changed, put in, left out or repeated, or the end cut off; `pieces` are put in as they are."""
    content = bytearray(whole)
    some = st.binary(max_size=40) | st.sampled_from(pieces) if pieces else st.binary(max_size=40)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["change", "put in", "leave out", "repeat", "cut off"])):
            case "change":
                content[place : place + 1] = draw(st.binary(min_size=1, max_size=4))
            case "put in":
                content[place:place] = draw(some)
            case "leave out":
                del content[place : place + draw(st.integers(1, 40))]
            case "repeat":
                content[place:place] = content[place : place + draw(st.integers(1, 80))]
            case "cut off":
                del content[place:]
    return bytes(content)
