#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A store, used through the shared library by a program that knows custmem.h only by reading it.

    python3 test/from_python.py build/libcustmem.so
"""
import ctypes
import sys

MISUSE, ALREADY_LINKED, HUMAN = 1, 25, 1


class Actor(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("actor_id", ctypes.c_char_p),
                ("instructor_id", ctypes.c_char_p)]


class Customer(ctypes.Structure):
    _fields_ = [("id", ctypes.c_char * 37), ("instructor_id", ctypes.c_char * 65),
                ("channel", ctypes.c_char * 97), ("normalized_identifier", ctypes.c_char * 161),
                ("display_identifier", ctypes.c_char * 256),
                ("created_at_ms", ctypes.c_int64), ("updated_at_ms", ctypes.c_int64)]


class Resolution(ctypes.Structure):
    _fields_ = [("outcome", ctypes.c_int32), ("step", ctypes.c_int32), ("why", ctypes.c_int32),
                ("refusal", ctypes.c_int32), ("rules_version", ctypes.c_int32),
                ("customer_id", ctypes.c_char * 37),
                ("normalized_identifier", ctypes.c_char * 161),
                ("event_name", ctypes.c_char * 48)]


class Head(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int64), ("hash", ctypes.c_char * 65)]


class Written(ctypes.Structure):
    _fields_ = [("current_customer_id", ctypes.c_char * 37), ("seq", ctypes.c_int64),
                ("created_at_ms", ctypes.c_int64), ("head", Head)]


def main() -> None:
    lib = ctypes.CDLL(sys.argv[1])
    lib.custmem_sizeof.restype = ctypes.c_size_t
    for name in ("code_name", "badge_label", "errmsg"):
        getattr(lib, "custmem_" + name).restype = ctypes.c_char_p
    for kind in (Actor, Customer, Resolution, Head, Written):
        name = b"custmem_" + kind.__name__.lower().encode()
        assert lib.custmem_sizeof(name) == ctypes.sizeof(kind), name
    assert lib.custmem_limit(b"CUSTMEM_ID_MAX") == 64

    store, size = ctypes.c_void_p(), ctypes.c_int64
    assert lib.custmem_open(b":memory:", None, ctypes.byref(store)) == 0
    ada, anna, written = Actor(HUMAN, b"user-1", b"ada"), Customer(), Written()
    raw = "+39\u00a0333 1234567".encode()
    assert lib.custmem_customer_create(store, ctypes.byref(ada), b"whatsapp", raw,
                                       size(len(raw)), None, size(0), ctypes.byref(anna),
                                       None) == 0
    assert anna.normalized_identifier == b"393331234567"
    link = (store, ctypes.byref(ada), b"c1", anna.id, b"told me", size(-1), None, size(0),
            ctypes.byref(written))
    assert lib.custmem_link(*link) == 0 and written.head.count == 1
    assert lib.custmem_link(*link) == ALREADY_LINKED
    assert written.current_customer_id == anna.id and anna.id in lib.custmem_errmsg(store)
    found = Resolution()
    assert lib.custmem_resolve(store, b"ada", b"c1", None, None, size(0),
                               ctypes.byref(found)) == 0
    assert found.customer_id == anna.id
    assert lib.custmem_badge_label(lib.custmem_badge(ctypes.byref(found))) == b"Known customer"
    assert lib.custmem_close(store) == 0
    print("a store was used from Python")


if __name__ == "__main__":
    main()
