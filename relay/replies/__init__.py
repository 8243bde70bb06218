"""What a mail server's reply means: one mind for delivery's replies and for the diagnostics in bounce reports."""

from relay.replies.judging import judge
from relay.replies.parsing import parse
from relay.replies.reply import Reply, Stage, Verdict

__all__ = ["Reply", "Stage", "Verdict", "judge", "parse"]
