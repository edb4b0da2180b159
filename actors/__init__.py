"""The cast: policies over messages, and the ports they ask. Public by file name."""
