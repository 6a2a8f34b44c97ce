"""Malformed JSON files, as a note of a foreign run or policy may hold."""

from __future__ import annotations

import json

HOSTILE_NOTES = {
    "half a surrogate pair": (b'{"config": {"name": "a\\ud83db"}}', "half a surrogate pair"),
    "a name that is half a pair": (b'{"\\udc00": 1}', "a field's name holds half a surrogate pair"),
    "a number of 400 digits": (b'{"step": ' + b"1" * 400 + b"}", "400 digits"),
    "a number of 5000 digits": (b'{"r": -' + b"1" * 5000 + b"}", "5000 digits"),
    "a float of 400 digits": (b'{"step": ' + b"1" * 400 + b".5}", "no finite number"),
    "100,000 lists in lists": (b'{"config": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
    "100,000 objects in objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested"),
    "200 objects in objects": (json.dumps(json.loads('{"a":' * 200 + "1" + "}" * 200)).encode(), "nested"),
    "NaN": (b'{"lora_alpha": NaN}', "NaN"),
    "minus infinity": (b'{"seed": -Infinity}', "-Infinity"),
    "a list": (b"[1]", "no JSON object"),
    "a string": (b'"trial"', "no JSON object"),
    "nothing": (b"", "not readable as JSON"),
    "a cut object": (b'{"key": "a', "not readable as JSON"),
    "bytes that are not UTF-8": (b"\xff\xfe{}", "not UTF-8"),
    "a byte-order mark": (b"\xef\xbb\xbf{}", "not readable as JSON"),
}
"""A file's bytes and words of its refusal."""
