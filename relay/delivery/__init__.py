"""SMTP out: claim due mail, find the destination's servers, sign, send, and record what they said."""
