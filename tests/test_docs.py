"""The documents say what the code does."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETTING = re.compile(r"\"((?:RELAY_|DATABASE_URL|REDIS_URL)[A-Z_]*)\"")


def test_every_setting_is_documented_and_every_documented_setting_exists():
    read = set(SETTING.findall((ROOT / "relay/settings.py").read_text()))
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    assert read == documented


def test_every_file_that_the_documents_name_exists():
    for document in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text()
        named = re.findall(r"`((?:relay|activity|domains|billing|tests|docs|templates)/[\w./]+)`", text)
        named += re.findall(r"\]\(([\w./]+)\)", text)
        assert named
        for path in named:
            assert (ROOT / path).exists(), f"{document} names {path}"


def test_no_document_or_program_names_a_registry_or_this_machine():
    for path in (*ROOT.glob("*.md"), ROOT / "requirements.txt", ROOT / "Makefile", ROOT / ".ci/run"):
        text = path.read_text()
        assert "://pypi" not in text
        assert "/work/" not in text
