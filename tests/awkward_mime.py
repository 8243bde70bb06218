"""Messages of mime-index.jsonl that are legal SMTP but break RFC 5322: which are repaired, which refused, and why."""

# {file: the line that is no header field}. Nothing like a field follows it, so that an empty line is put in before it.
REPAIRED = {
    "mimetools-testmsgs_hdr-fakeout.msg.eml": b'The header is not properly terminated; the "blank line" ',
    "testmsgs_basic-plain-with-bad-header-separator.msg.eml": (
        b"This is a very simple message with a simple body but the separator"
    ),
    "testmsgs_malformedHeader-noheader.msg.eml": b"This is a simple message not having headers.",
    "ruby-mail_src_spec_fixtures_emails_error_emails_multiple_references_with_one_invalid.eml": b"something@bar.net>",
    "msg_19.txt.eml": b"Send Ppp mailing list submissions to",
    "msg_35.txt.eml": b"counter to RFC 2822, there's no separating newline here",
}
# {file: (the line that is no header field, why the body cannot begin there)}.
REFUSED = {
    "testmsgs_malformedHeader-nocrlfcrlf.msg.eml": (3, "words without a colon, then a line that reads as a field"),
    "eml_malformed_019.eml": (2, "a space in a field's name, then more fields"),
    "ruby-mail_src_spec_fixtures_emails_plain_emails_raw_email_incorrect_header.eml": (
        7,
        "a space in a field's name, then more fields",
    ),
    "ruby-mail_src_spec_fixtures_emails_rfc2822_example13.eml": (2, "spaces before the colons of most fields"),
    "mimekit_src_UnitTests_TestData_messages_feedback-report.txt.eml": (2, "a byte order mark, then more fields"),
}


def as_it_arrives(raw, name):
    """What has to arrive: these bytes, with the repair that is named for this file and no other."""
    if name not in REPAIRED:
        return raw
    before, line, after = raw.partition(b"\r\n" + REPAIRED[name] + b"\r\n")
    assert line
    assert b"\r\n\r\n" not in before
    return before + b"\r\n" + line + after
