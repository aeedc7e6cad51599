"""Read a ``.wandb`` file back: a 7-byte header, then records in LevelDB's log framing."""

import json
import struct

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768
HEADER = 7  # of the file, and of every chunk: crc u32, length u16, type u8
FULL, LAST = 1, 4


def read_records(path):
    """All records of the file."""
    data = path.read_bytes()
    at, parts, records = HEADER, b"", []
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        at += HEADER
        if kind == 0:  # padding
            break
        parts += data[at : at + length]
        at += length
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(parts)
            records.append(record)
            parts = b""
    assert not parts, "the file ends within a record"
    return records


def config_of(records):
    """The run's config as a nested dict."""
    updates = []
    for record in records:
        source = record.run.config if record.HasField("run") else record.config
        updates += source.update
    return _nested(updates)


def history_of(records):
    """Everything logged, key → value; media are dicts with their type and path."""
    return _nested([item for r in records if r.HasField("history") for item in r.history.item])


def _nested(items):
    found = {}
    for item in items:
        *path, last = [item.key] if item.key else item.nested_key
        node = found
        for name in path:
            node = node.setdefault(name, {})
        node[last] = json.loads(item.value_json)
    return found
