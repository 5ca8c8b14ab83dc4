"""One short module a command: its options, and a call."""
