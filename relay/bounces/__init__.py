"""Return paths and reports: takes what comes back over SMTP, and understands what it says about which email."""
