"""Line numbers that match a regular expression, in a process of its own.

Run by `regex_search` by path, so it imports the standard library only. First line of stdin: JSON with
`pattern` and `ignore_case`. Then for each file eight bytes of length and the bytes; the answer is one line of
JSON with the numbers of the matching lines.
"""

from __future__ import annotations

import json
import re
import sys


def main() -> None:
    """Answer file after file until stdin ends."""
    asked = json.loads(sys.stdin.buffer.readline())
    pattern = re.compile(asked["pattern"], re.IGNORECASE if asked["ignore_case"] else 0)
    while header := sys.stdin.buffer.read(8):
        data = sys.stdin.buffer.read(int.from_bytes(header, "big"))
        lines = data.decode(errors="replace").split("\n")
        if lines[-1] == "":
            lines.pop()
        found = [n for n, line in enumerate(lines, 1) if pattern.search(line.removesuffix("\r"))]
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
