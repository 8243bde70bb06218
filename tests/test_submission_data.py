"""The DATA reader: where a message ends, what is mended, and that no smuggler's sequence gets through unchanged."""

import json
import resource
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.limits import Room
from relay.submission.data import IN_MEMORY, MAX_LINE, Content, Problem

CORPUS = Path("../shared/corpora/smuggling-eod.jsonl")


def read(tmp_path, *chunks, limit=10_000_000, room=None):
    """(content, what came behind the end or None)."""
    content = Content(limit, tmp_path, (room or Room(10**9)).reserve)
    for number, chunk in enumerate(chunks):
        behind = content.feed(chunk)
        if behind is not None:
            return content, behind + b"".join(chunks[number + 1 :])
    return content, None


def text_of(content):
    assert content.problem is None
    return content.read_from(0)


def test_only_crlf_dot_crlf_ends_the_message(tmp_path):
    content, behind = read(tmp_path, b"a\r\nb\r\n.\r\nQUIT\r\n")
    assert (text_of(content), behind) == (b"a\r\nb\r\n", b"QUIT\r\n")


def test_a_message_may_be_empty(tmp_path):
    content, behind = read(tmp_path, b".\r\n")
    assert (text_of(content), behind) == (b"", b"")


def test_every_cut_of_the_stream_gives_the_same(tmp_path):
    stream = b"a\r\n..\r\n...b\n.c\r\n\r\n.\r\nRSET\r\n"
    whole = b"a\r\n.\r\n..b\r\nc\r\n\r\n"
    for cut in range(len(stream)):
        content, behind = read(tmp_path, stream[:cut], stream[cut:])
        assert (text_of(content), behind) == (whole, b"RSET\r\n"), cut
    content, behind = read(tmp_path, *(stream[n : n + 1] for n in range(len(stream))))
    assert (text_of(content), behind) == (whole, b"RSET\r\n")


def test_bare_line_feeds_become_line_ends(tmp_path):
    content, _ = read(tmp_path, b"a\nb\r\n\n\nc\r\n.\r\n")
    assert text_of(content) == b"a\r\nb\r\n\r\n\r\nc\r\n"


@pytest.mark.skipif(not CORPUS.exists(), reason="needs ../shared/corpora")
def test_no_smuggled_end_of_data_ends_the_message_or_leaves_unchanged(tmp_path):
    for line in CORPUS.read_text().splitlines():
        sequence = bytes.fromhex(json.loads(line)["sequence_hex"])
        stream = b"From: a@b.example\r\n\r\nhello" + sequence + b"MAIL FROM:<evil@b.example>\r\n.\r\n"
        content, behind = read(tmp_path, stream)
        assert behind == b"", sequence
        assert content.problem in (Problem.BARE_CR, Problem.NUL, Problem.LONE_DOT), sequence


@pytest.mark.parametrize("sequence", [b"\n.\n", b"\r\n.\n", b"\n.\r\n"])
def test_a_lone_dot_beside_a_bare_line_feed_is_found_across_blocks(tmp_path, sequence):
    filler = b"x" * 1_000 + b"\n"
    for size in (64, 65, 66, 130):
        content, behind = read(tmp_path, filler * size, b"y" + sequence[:1], sequence[1:], filler * 70, b"z\r\n.\r\n")
        assert (behind, content.problem) == (b"", Problem.LONE_DOT)


def test_lines_up_to_64_kb_are_carried_and_longer_ones_refused(tmp_path):
    line = b"x" * MAX_LINE
    content, _ = read(tmp_path, b"a\r\n" + line + b"\r\n" + line + b"\r\n.\r\n")
    assert text_of(content) == b"a\r\n" + line + b"\r\n" + line + b"\r\n"
    for chunks in ([b"a\r\nx" + line + b"\r\n.\r\n"], [b"a\r\nx", line, line, line, b"\r\n.\r\n"]):
        content, behind = read(tmp_path, *chunks)
        assert (content.problem, behind) == (Problem.LONG_LINE, b"")


def test_a_big_message_goes_to_disk_and_comes_back_whole(tmp_path):
    line = b".a line of some length, to be stuffed and unstuffed\r\n"
    count = IN_MEMORY // len(line) * 3
    stream = (b"." + line) * count + b".\r\nNOOP\r\n"
    chunks = [stream[at : at + 7_919] for at in range(0, len(stream), 7_919)]
    content, behind = read(tmp_path, *chunks)
    assert (text_of(content), behind) == (line * count, b"NOOP\r\n")
    assert content.store._rolled
    assert len(content.pending) < 100


def test_what_is_too_large_is_read_to_its_end_but_not_kept(tmp_path):
    room = Room(10**9)
    content, behind = read(
        tmp_path, b"a" * 70 + b"\r\n", b"b" * 70 + b"\r\n" * 100_000, b".\r\n", limit=5_000, room=room
    )
    assert (content.problem, behind) == (Problem.TOO_LARGE, b"")
    assert content.read_from(0) == b""
    content.close()
    assert room.used == 0


def test_without_room_a_message_is_not_kept(tmp_path):
    room = Room(100)
    content, behind = read(tmp_path, b"a" * 99 + b"\r\n.\r\n", room=room)
    assert (content.problem, behind) == (Problem.NO_ROOM, b"")
    assert room.used == 0


@pytest.fixture
def full_disk():
    """Files may grow to 300 KB and no further."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [300_001, 302_000, 2_000_000])
def test_on_a_full_disk_a_message_is_not_kept(tmp_path, full_disk, caplog, size):
    room = Room(10**9)
    content, behind = read(tmp_path, b"a" * 70 + b"\r\n", b"b" * 70 + b"\r\n" * (size // 2), b".\r\n", room=room)
    assert (content.problem, behind, content.read_from(0)) == (Problem.NO_DISK, b"", b"")
    assert "cannot be written" in caplog.text
    content.close()
    assert room.used == 0


@given(
    st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"..", b"a", b"\0", b"\r\n.", b"x" * 40_000]), max_size=30)
)
@example([b".", b"\r\n"])
def test_any_stream_ends_where_it_should_and_carries_nothing_dangerous(tmp_path_factory, parts):
    stream = b"".join(parts)
    content, behind = read(tmp_path_factory.getbasetemp(), *parts, b"\r\n.\r\nQUIT\r\n")
    first_end = (b"\r\n" + stream + b"\r\n.\r\nQUIT\r\n").find(b"\r\n.\r\n")
    assert behind == (b"\r\n" + stream + b"\r\n.\r\nQUIT\r\n")[first_end + 5 :]
    if content.problem is None:
        text = content.read_from(0)
        assert text.count(b"\r\n") == text.count(b"\r") == text.count(b"\n")
        assert b"\0" not in text
        assert text == b"" or text.endswith(b"\r\n")
    content.close()
