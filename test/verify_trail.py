#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Verifies an exported audit trail without custmem.

    verify_trail.py [--anchor COUNT HASH] [FILE]

Reads JSON lines, as `custmem audit export STORE --instructor INSTRUCTOR` writes them, from FILE or
standard input: first {"store_id", "instructor_id", "count", "head"}, then an object an event, in order, with the
columns of audit_events (schema.sql); a hash is lower-case hexadecimal, NULL is null. Everything
here follows from the encoding that custmem.h documents; nothing is taken from custmem's code.

Prints "OK: N events, head HASH" and exits 0; or "BAD: WHERE: WHY" of the first fault, where WHERE
is "header", "event N" or "anchor", and exits 1. What cannot be read at all exits 2.

A chain cannot show that its tail was cut off, or that all of it was made anew from some event on.
An anchor can: the count and hash of an earlier head, kept outside the store.
"""

import hashlib
import json
import re
import sys

HEADER = ("store_id", "instructor_id", "count", "head")
EVENT = ("instructor_id", "seq", "event_name", "conversation_id", "previous_customer_id",
         "new_customer_id", "actor_type", "actor_id", "reason", "context", "created_at", "hash")

# What is hashed of an event: its columns but the hash, with the tags 2, 3, 4 …
HASHED = tuple(enumerate(EVENT[:-1], start=2))

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HASH = re.compile(r"[0-9a-f]{64}")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
CONTROL_BUT_BREAKS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

EVENT_NAMES = {  # by whether there is a previous customer, and a new one
    (False, True): "conversation.customer_linked",
    (True, False): "conversation.customer_unlinked",
    (True, True): "conversation.customer_relinked",
}


class Bad(Exception):
    """The first fault of a trail."""

    def __init__(self, where, why):
        super().__init__(f"{where}: {why}")
        self.where = where


# ---- The encoding ------------------------------------------------------------------------------

def field(tag, value):
    """A field as it is hashed: None, bytes, a text, or a 64-bit number."""
    if value is None:
        return bytes([tag]) + b"\xff\xff\xff\xff"
    if isinstance(value, int):
        value = value.to_bytes(8, "big", signed=True)
    elif isinstance(value, str):
        value = value.encode("utf-8")
    return bytes([tag]) + len(value).to_bytes(4, "big") + value


def hash_of_none(store_id, instructor_id):
    """What the first event's hash is made over: the hash of a chain without events."""
    return hashlib.sha256(field(0, "custmem.audit.chain.1") + field(1, store_id)
                          + field(2, instructor_id)).digest()


def hash_of_event(before, event):
    """The hash of an event that follows the event with the hash `before`."""
    return hashlib.sha256(field(0, "custmem.audit.event.1") + field(1, before)
                          + b"".join(field(tag, event[name]) for tag, name in HASHED)).digest()


# ---- Reading -----------------------------------------------------------------------------------

def pairs_once(pairs):
    """An object none of whose names stands twice: readers differ on which one counts."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def read_object(line, names, where):
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=pairs_once)
    except (ValueError, RecursionError) as error:
        raise Bad(where, f"not a line of JSON: {error}") from None
    if not isinstance(value, dict) or set(value) != set(names):
        raise Bad(where, "not an object of exactly " + ", ".join(names))
    return value


def need(holds, where, why):
    if not holds:
        raise Bad(where, why)


def is_text(value, least, most, control=CONTROL):
    if not isinstance(value, str) or control.search(value):
        return False
    try:
        return least <= len(value.encode("utf-8")) <= most
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def is_number(value, least, most):
    return type(value) is int and least <= value <= most


def matches(pattern, value):
    return isinstance(value, str) and pattern.fullmatch(value) is not None


# ---- Verifying ---------------------------------------------------------------------------------

def check_fields(event, where):
    """That the event holds only what a write can make."""
    previous, new = event["previous_customer_id"], event["new_customer_id"]
    for name, value in (("previous_customer_id", previous), ("new_customer_id", new)):
        need(value is None or matches(UUID, value), where, f"{name} is not a customer's id")
    need(previous != new, where, "nothing changes")
    need(event["event_name"] == EVENT_NAMES[previous is not None, new is not None], where,
         "event_name does not go with the two customers")
    need(is_text(event["conversation_id"], 1, 64), where, "conversation_id is not one")
    need(event["actor_type"] in ("human", "system"), where, "actor_type is neither of the two")
    need(is_text(event["actor_id"], 1, 64)
         or (event["actor_id"] is None and event["actor_type"] == "system"),
         where, "actor_id is not one")
    need(is_text(event["reason"], 1, 500, CONTROL_BUT_BREAKS), where, "reason is not one")
    need(event["context"] is None or is_text(event["context"], 1, 2000, CONTROL_BUT_BREAKS),
         where, "context is not one")
    need(is_number(event["created_at"], 0, 2**48 - 1), where, "created_at is not a time")
    need(matches(HASH, event["hash"]), where, "hash is not 64 hexadecimal digits")


def verify(trail, anchor=None):
    """Verifies a trail (bytes) and gives (count, head); raises Bad at the first fault. An anchor
    is (count, hash)."""
    lines = trail.split(b"\n")
    if lines[-1] == b"":
        lines.pop()  # what follows the last line break
    need(lines, "header", "the trail is empty")
    header = read_object(lines[0], HEADER, "header")
    need(matches(UUID, header["store_id"]), "header", "store_id is not a UUID")
    need(is_text(header["instructor_id"], 1, 64), "header", "instructor_id is not one")
    need(is_number(header["count"], 0, 2**63 - 1), "header", "count is not a number")
    need(matches(HASH, header["head"]), "header", "head is not 64 hexadecimal digits")

    head = hash_of_none(header["store_id"], header["instructor_id"])
    heads = [head.hex()]
    current = {}  # by conversation: what folding the events so far gives
    for seq, line in enumerate(lines[1:], start=1):
        where = f"event {seq}"
        event = read_object(line, EVENT, where)
        need(type(event["seq"]) is int and event["seq"] == seq, where,
             f"seq is {event['seq']!r}: an event is missing, or stands twice")
        need(event["instructor_id"] == header["instructor_id"], where,
             "instructor_id is not the trail's")
        check_fields(event, where)
        head = hash_of_event(head, event)
        need(event["hash"] == head.hex(), where, "hash is not that of the event and the one before")
        need(current.get(event["conversation_id"]) == event["previous_customer_id"], where,
             "previous_customer_id is not what the conversation was linked to")
        current[event["conversation_id"]] = event["new_customer_id"]
        heads.append(event["hash"])

    count = len(heads) - 1
    need(header["count"] == count, "header", f"count is not that of the events, {count}")
    need(header["head"] == heads[count], "header", "head is not the last event's hash")
    if anchor is not None:
        need(anchor[0] <= count, "anchor", f"the trail ends at event {count}, before the anchor")
        need(anchor[1] == heads[anchor[0]], "anchor", f"event {anchor[0]} has another hash")
    return count, heads[count]


def main(arguments):
    anchor = None
    if arguments[:1] == ["--anchor"] and len(arguments) >= 3:
        if re.fullmatch(r"[0-9]{1,19}", arguments[1]) and matches(HASH, arguments[2]):
            anchor = (int(arguments[1]), arguments[2])
        arguments = arguments[3:] if anchor else ["--anchor"]
    if len(arguments) > 1 or arguments[:1] and arguments[0].startswith("-"):
        print("usage: verify_trail.py [--anchor COUNT HASH] [FILE]", file=sys.stderr)
        return 2
    try:
        if arguments:
            with open(arguments[0], "rb") as file:
                trail = file.read()
        else:
            trail = sys.stdin.buffer.read()
    except OSError as error:
        print(f"verify_trail.py: {error}", file=sys.stderr)
        return 2
    try:
        print("OK: %d events, head %s" % verify(trail, anchor))
    except Bad as bad:
        print(f"BAD: {bad}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
