#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Trails that custmem exported, verified by a program that knows only the documented encoding
# (verify_trail.py); then altered in every way that was thought of, each of which must be found, at
# the right event. Wants python3, the built program and its objects.
#   sh test/test_trail.sh
set -u
cd "$(dirname "$0")/.." || exit 1
CC=${CC:-cc}
BUILD=${BUILD:-build}
PYTHON=${PYTHON:-python3}
program=${CUSTMEM_SHELL:-./custmem}
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "test_trail.sh: $*" >&2
  echo "0 passed, 1 failed"
  exit 1
}

for need in "$program" "$BUILD/custmem.o" "$BUILD/sqlite3.o"; do
  [ -e "$need" ] || fail "$need is missing: run make first"
done

# A store whose texts are awkward to export: quotes, escapes, line breaks, every size of character,
# and each at its limit.
cat > "$scratch/make.c" <<'END'
#include "custmem.h"
#include <stdio.h>
#include <string.h>

#define SMILE "\xf0\x9f\x98\x80"

static int64_t now_ms = 1750000000000;
static int64_t clock_back(void *ctx) { (void)ctx; return now_ms -= 86400000; }

static const char *const TEXTS[] = {
  "She told me on the phone", "\"quoted\", it's \\ and \\u0041 and </script>",
  "a tab\there,\r\na break\nthere", "na\xc3\xafve \xe4\xbd\xa0\xe5\xa5\xbd " SMILE,
  "\xe2\x80\xa8 line and paragraph \xe2\x80\xa9 marks, \xef\xbf\xbf \xf4\x8f\xbf\xbf",
  "'; DROP TABLE audit_events; --", "{\"seq\":1}", "null"};
enum { COUNT = sizeof TEXTS / sizeof TEXTS[0] };

static int make(custmem *store, const custmem_actor *me, const char *prefix) {
  char customers[2][CUSTMEM_UUID_SIZE + 1], reason[CUSTMEM_REASON_MAX + 1];
  char context[CUSTMEM_CONTEXT_MAX + 1], name[CUSTMEM_ID_MAX + 1];
  int i, rc = 0;
  for (i = 0; i < 2; i++) {
    custmem_customer customer;
    rc |= custmem_customer_create(store, me, "sms", i ? "+15005550001" : "+15005550002", -1, NULL,
                                  0, &customer, NULL);
    strcpy(customers[i], customer.id);
  }
  memset(reason, 'r', sizeof reason - 1);
  memset(context, 'c', sizeof context - 1);
  reason[sizeof reason - 1] = context[sizeof context - 1] = '\0';
  for (i = 0; i < COUNT; i++) {
    const char *note = i % 2 ? TEXTS[COUNT - i] : NULL;
    snprintf(name, sizeof name, "%s %d", prefix, i % 3);
    if (i < 3)
      rc |= custmem_link(store, me, name, customers[0], TEXTS[i], -1, note, -1, NULL);
    else if (i < 6)
      rc |= custmem_relink(store, me, name, customers[0], customers[1], TEXTS[i], -1, note, -1,
                           NULL);
    else
      rc |= custmem_unlink(store, me, name, customers[1], TEXTS[i], -1, note, -1, NULL);
  }
  return rc | custmem_link(store, me, name, customers[0], reason, -1, context, -1, NULL);
}

int main(int argc, char **argv) {
  const custmem_actor marta = {CUSTMEM_ACTOR_HUMAN, "user \"7\" " SMILE, "marta"};
  const custmem_actor jonas = {CUSTMEM_ACTOR_HUMAN, "\\", "jonas"};
  custmem_options options;
  custmem *store;
  int rc;
  custmem_options_init(&options);
  options.now_ms = clock_back;
  rc = argc == 2 ? custmem_open(argv[1], &options, &store) : 1;
  if (rc == 0) rc = make(store, &marta, "marta's \xc2\xab" "chat\xc2\xbb");
  if (rc == 0) rc = make(store, &jonas, "jonas");
  return rc != 0 || custmem_close(store) != 0;
}
END
# SANITIZE is a list of flags, or nothing.
# shellcheck disable=SC2086
"$CC" -std=c11 -I. "$scratch/make.c" "$BUILD/custmem.o" "$BUILD/sqlite3.o" ${SANITIZE:-} \
  -lpthread -lm -o "$scratch/make" || fail "the store's maker does not compile"
"$scratch/make" "$scratch/made.db" || fail "the store could not be made"

export_trail() {
  "$program" audit export "$1" --instructor "$2" > "$scratch/$3.trail" ||
    fail "cannot export $2's trail of $1"
}
export_trail "$scratch/made.db" marta marta
export_trail "$scratch/made.db" jonas jonas
export_trail "$scratch/made.db" nobody nobody

# The demo says how to export its own trail.
mkdir "$scratch/demo" || fail "no room for the demo"
TMPDIR=$scratch/demo "$program" demo > "$scratch/story" || fail "the demo failed"
export_line=$(sed -n 's/^ *[^ ]* audit export \([^ ]*\) --instructor \([^ ]*\)$/\1 \2/p' "$scratch/story")
[ -n "$export_line" ] || fail "the demo does not say how to export its trail"
export_trail "${export_line% *}" "${export_line#* }" demo

"$PYTHON" -B - "$scratch" <<'END'
import json
import random
import subprocess
import sys

sys.path.insert(0, "test")
import verify_trail
from verify_trail import Bad, verify

scratch = sys.argv[1]
randomness = random.Random(20250615)
counts = {True: 0, False: 0}
current = ""


def check(holds, what):
    counts[bool(holds)] += 1
    if not holds:
        print(f"{current}: {what}")


def where_bad(trail, anchor=None):
    """Where a trail is bad, or None."""
    try:
        verify(trail, anchor)
    except Bad as bad:
        return bad.where
    return None


def lines_of(trail):
    return trail.split(b"\n")[:-1]


def objects_of(trail):
    return [json.loads(line) for line in lines_of(trail)]


def trail_of(objects):
    return b"".join(json.dumps(o, ensure_ascii=False).encode() + b"\n" for o in objects)


def load(name):
    with open(f"{scratch}/{name}.trail", "rb") as file:
        return file.read()


# ---- The encoding: hashes frozen in test_audit.c ---------------------------------------------

def frozen_hashes():
    """Each hash that test_audit.c holds, made from nothing but the documented encoding."""
    store, other = "0197a3b2-c4d5-7e6f-8a9b-0c1d2e3f4a5b", "0197a3b2-c4d5-7e6f-8a9b-0c1d2e3f4a5c"
    who = ("instructor-a", "instructor-b", "istruttrice-" + "\U0001f600" * 13)
    actor = ("user-7", "user-8", "h" * 64)

    def customer(i, letter):
        return letter and f"0197a3b2-000{i}-7000-8000-00000000000{letter.lower()}"

    def event(i, seq, conversation, previous, new, reason, context, at):
        previous, new = customer(i, previous), customer(i, new)
        name = verify_trail.EVENT_NAMES[previous is not None, new is not None]
        return dict(zip(verify_trail.EVENT, (
            who[i], seq, name, conversation, previous, new, "human", actor[i], reason, context,
            at)))

    for s in store, other:
        for w in who:
            yield verify_trail.hash_of_none(s, w)
    heads = [verify_trail.hash_of_none(store, w) for w in who]
    noon = 1750000000000
    for i, *rest in (
            (0, 1, "conversation-1", None, "A", "She told me on the phone", None, noon),
            (0, 2, "conversazione «due»", None, "B", "r", "a tab\there, a break\nthere", 0),
            (2, 1, "c", None, "A", "naïve 你好 🙂", None, 1),
            (0, 3, "conversation-1", "A", "B", "x" * 500, "y" * 2000, 2**48 - 1),
            (0, 4, "conversation-1", "B", None, "'; DROP TABLE audit_events; --\" \\", None,
             noon - 1),
            (0, 5, "conversation-1", None, "A", "again", "?", noon - 1)):
        before, last = heads[i], event(i, *rest)
        heads[i] = verify_trail.hash_of_event(before, last)
        yield heads[i]
    relinked = "conversation.customer_relinked"
    for change in (
            {"reason": "forged"}, {"reason": "\x01"}, {"reason": "x" * 501}, {"context": ""},
            {"previous_customer_id": customer(0, "B"), "event_name": relinked},
            {"context": b"\xff"}, {"created_at": -1}, {"created_at": 2**48},
            {"event_name": relinked}, {"new_customer_id": None}, {"actor_id": None}):
        yield verify_trail.hash_of_event(before, {**last, **change})
    head, previous = verify_trail.hash_of_none(store, who[1]), None
    for seq in range(1, 301):
        new = "B" if previous == "A" else "A"
        head = verify_trail.hash_of_event(
            head, event(1, seq, "many", previous, new, "n", None, noon + seq))
        previous = new
        if seq in (255, 256, 300):
            yield head


current = "frozen"
with open("test/test_audit.c", encoding="utf-8") as file:
    source = file.read()
for frozen in frozen_hashes():
    check(frozen.hex() in source, f"test_audit.c does not hold {frozen.hex()}")


# ---- Sound trails ----------------------------------------------------------------------------

def run(arguments, trail=None):
    done = subprocess.run([sys.executable, "-B", "test/verify_trail.py", *arguments], input=trail,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    return done.returncode, done.stdout.decode()


def check_sound(name, trail):
    objects = objects_of(trail)
    header, events = objects[0], objects[1:]
    head = (header["count"], header["head"])
    check(where_bad(trail) is None, "not verified")
    check(len(events) == header["count"], "another count than events")
    check(where_bad(trail_of(objects)) is None, "not verified when written another way")
    check(run([f"{scratch}/{name}.trail"]) == (0, "OK: %d events, head %s\n" % head), "by a file")
    check(run([], trail) == (0, "OK: %d events, head %s\n" % head), "by standard input")
    check(run(["--anchor", str(head[0]), head[1]], trail)[0] == 0, "with its own head as anchor")
    none = verify_trail.hash_of_none(header["store_id"], header["instructor_id"]).hex()
    for seq, anchor in enumerate([none] + [event["hash"] for event in events]):
        check(where_bad(trail, (seq, anchor)) is None, f"with the anchor {seq}")
        other = ("0" if anchor[0] != "0" else "1") + anchor[1:]
        check(where_bad(trail, (seq, other)) == "anchor", f"another anchor {seq}")
    check(where_bad(trail, (len(events) + 1, header["head"])) == "anchor", "an anchor beyond")


# ---- Altered values --------------------------------------------------------------------------

def others(name, value):
    """Values of the same kind, then of others, that are not this one."""
    if isinstance(value, int):
        yield from (value + 1, value - 1, value + 2**32, -value - 1, 2**63, 10**30)
    elif isinstance(value, str):
        yield from (value + " ", value[:-1], value.swapcase() if value.swapcase() != value else "#",
                    "", value[::-1] if value[::-1] != value else "##", "\0", "\ud800", "é" * 2001)
    else:
        yield from ("", "x", "null", "0197a3b2-0000-7000-8000-00000000000a", 0)
    yield from (None if value is not None else False, True, 1.5, [value], {name: value},
                str(value) + "0", float(value) if isinstance(value, int) else 0.0)


def check_values(trail):
    """Every column of every event, and of the header, to many other values."""
    objects = objects_of(trail)
    for index, row in enumerate(objects):
        places = [f"event {index}"] if index > 0 else ["header", "event 1"]
        for name in row:
            for value in others(name, row[name]):
                altered = [*objects]
                altered[index] = {**row, name: value}
                text = b"".join(json.dumps(o).encode() + b"\n" for o in altered)
                check(where_bad(text) in places, f"{places[0]}: {name} = {value!r:.60}")
            altered = [*objects]
            altered[index] = {key: row[key] for key in row if key != name}
            check(where_bad(trail_of(altered)) in places, f"{places[0]}: no {name}")
        lines = lines_of(trail)
        lines[index] = lines[index][:-1] + b',"more":1}'
        check(where_bad(b"\n".join(lines) + b"\n") in places, f"{places[0]}: a name more")
        lines[index] = b'{"instructor_id":"x",' + lines_of(trail)[index][1:]
        check(where_bad(b"\n".join(lines) + b"\n") in places, f"{places[0]}: a name twice")


def check_rows(trail, foreign):
    """Events left out, doubled, exchanged, put in from another trail."""
    objects = objects_of(trail)
    count = len(objects) - 1
    for k in range(1, count + 1):
        def bad_at(rows, place, what):
            check(where_bad(trail_of(rows)) == place, f"event {k} {what}")
        here = f"event {k}"
        # Without its last event a trail is sound, but for what its first line says.
        bad_at(objects[:k] + objects[k + 1:], here if k < count else "header", "left out")
        bad_at(objects[:k + 1] + objects[k:], f"event {k + 1}", "doubled")
        if k < count:
            swapped = [*objects]
            swapped[k], swapped[k + 1] = swapped[k + 1], swapped[k]
            bad_at(swapped, here, "exchanged with the next")
        for stranger in objects_of(foreign)[1:]:
            bad_at(objects[:k] + [stranger] + objects[k + 1:], here, "another trail's")
            adapted = {**stranger, "instructor_id": objects[0]["instructor_id"], "seq": k}
            bad_at(objects[:k] + [adapted] + objects[k + 1:], here, "another trail's, adapted")
    check(where_bad(trail_of(objects[:1] + objects_of(foreign)[1:])) == "event 1", "all exchanged")
    check(where_bad(trail_of(objects[1:])) == "header", "no first line")
    check(where_bad(b"") == "header", "nothing at all")
    check(where_bad(trail + b"\n") == f"event {count + 1}", "an empty line more")


# ---- Altered bytes ---------------------------------------------------------------------------

def meaning(trail):
    """What a trail says, so that two spellings of one value are equal, and 1 and 1.0 are not."""
    try:
        lines = trail.split(b"\n")
        return [json.dumps(json.loads(line.decode(), object_pairs_hook=list))
                for line in (lines[:-1] if lines[-1] == b"" else lines)]
    except (ValueError, RecursionError):
        return None


def check_bytes(trail, mutate, positions):
    """One byte altered at each position: found in its line, unless the trail says the same."""
    said = meaning(trail)
    found = 0
    for position in positions:
        altered, is_break = mutate(trail, position)
        index = trail.count(b"\n", 0, position)
        places = {f"event {index}"} if index > 0 else {"header", "event 1"}
        if is_break:  # two lines of one: the second half, if the first is whole
            places.add(f"event {index + 1}")
        place = where_bad(altered)
        if altered == trail or meaning(altered) == said:
            check(place is None, f"byte {position}: the same said otherwise is {place}")
            continue
        found += 1
        check(place in places, f"byte {position}: {altered[position:position + 1]!r}: {place}")
    return found


def replaced(trail, position):
    byte = randomness.choice([b for b in range(256) if b != trail[position]])
    return trail[:position] + bytes([byte]) + trail[position + 1:], byte == 10


def flipped(trail, position):
    byte = trail[position] ^ 1 << randomness.randrange(8)
    return trail[:position] + bytes([byte]) + trail[position + 1:], byte == 10


def likely(trail, position):
    """A byte that stands somewhere in the trail: more of these keep it JSON."""
    byte = trail[randomness.randrange(len(trail))]
    return trail[:position] + bytes([byte]) + trail[position + 1:], byte == 10


def removed(trail, position):
    return trail[:position] + trail[position + 1:], False


def added(trail, position):
    byte = trail[randomness.randrange(len(trail))]
    return trail[:position] + bytes([byte]) + trail[position:], byte == 10


# ---- What a chain cannot show ----------------------------------------------------------------

def made_anew(objects, k, changes):
    """The trail with event k changed, and every hash from there on made again."""
    rows = [dict(row) for row in objects]
    rows[k].update(changes)
    head = (bytes.fromhex(rows[k - 1]["hash"]) if k > 1 else verify_trail.hash_of_none(
        rows[0]["store_id"], rows[0]["instructor_id"]))
    for row in rows[k:]:
        head = verify_trail.hash_of_event(head, row)
        row["hash"] = head.hex()
    rows[0]["head"] = head.hex()
    return trail_of(rows)


def check_forged(trail):
    objects = objects_of(trail)
    events = objects[1:]
    count = len(events)
    head = (count, objects[0]["head"])
    for k, event in enumerate(events, start=1):
        for changes in ({"reason": "It was not me"}, {"actor_id": "somebody else"},
                        {"created_at": event["created_at"] + 1}, {"context": "as agreed"}):
            forged = made_anew(objects, k, changes)
            check(where_bad(forged) is None, f"event {k} made anew is found without an anchor")
            check(where_bad(forged, head) == "anchor", f"event {k} made anew, by the head")
            if k > 1:
                before = (k - 1, events[k - 2]["hash"])
                check(where_bad(forged, before) is None, f"event {k} made anew, by what is before")
            own = (k, event["hash"])
            check(where_bad(forged, own) == "anchor", f"event {k} made anew, by its own hash")
        # With hashes that are right, and what no write makes.
        for changes in ({"actor_id": None}, {"created_at": -1}, {"created_at": 2**48},
                        {"reason": ""}, {"reason": "\x01"}, {"reason": "x" * 501}, {"context": ""},
                        {"actor_type": "robot"}, {"event_name": "conversation.customer_resolved"},
                        {"previous_customer_id": "0197a3b2-0000-7000-8000-00000000000a",
                         "new_customer_id": "0197a3b2-0000-7000-8000-00000000000b",
                         "event_name": "conversation.customer_relinked"}):
            check(where_bad(made_anew(objects, k, changes)) == f"event {k}",
                  f"event {k} with {changes}")
        cut = [{**objects[0], "count": k - 1, "head": events[k - 2]["hash"] if k > 1 else
                verify_trail.hash_of_none(objects[0]["store_id"],
                                          objects[0]["instructor_id"]).hex()}] + events[:k - 1]
        check(where_bad(trail_of(cut)) is None, f"cut off before event {k}, without an anchor")
        check(where_bad(trail_of(cut), head) == "anchor", f"cut off before event {k}")


# ---- All of it -------------------------------------------------------------------------------

trails = {name: load(name) for name in ("marta", "jonas", "nobody", "demo")}
foreign = {"marta": "jonas", "jonas": "marta", "demo": "marta"}
mutations = 0
for current, trail in trails.items():
    check_sound(current, trail)
    if current == "nobody":
        check(objects_of(trail)[0]["count"] == 0, "has events")
        continue
    check(objects_of(trail)[0]["count"] > 0, "has no events")
    check_values(trail)
    check_rows(trail, trails[foreign[current]])
    check_forged(trail)
    if current == "demo":
        mutations += check_bytes(trail, replaced, range(len(trail)))
    for mutate in replaced, flipped, likely, removed, added:
        mutations += check_bytes(trail, mutate, randomness.sample(range(len(trail)), 400))
current = "bytes"
check(mutations >= 5000, f"{mutations} altered bytes")

current = "command line"
sound = trails["marta"]
altered = sound.replace(b"She told me", b"He told me", 1)
check(run([], altered)[0] == 1 and run([], altered)[1].startswith("BAD: event 1: "), "BAD")
for arguments in (["--anchor"], ["--anchor", "1"], ["--anchor", "x", "0" * 64],
                  ["--anchor", "-1", "0" * 64], ["--anchor", "1", "0" * 63],
                  ["--anchor", "1", "G" * 64], ["--other"], ["a", "b"],
                  [f"{scratch}/missing.trail"]):
    check(run(arguments, sound)[0] == 2, f"{arguments} is not refused")

print("test_trail           %4d passed, %d failed  (%d altered bytes)"
      % (counts[True], counts[False], mutations))
sys.exit(counts[False] > 0)
END
