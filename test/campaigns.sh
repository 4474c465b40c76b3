#!/bin/sh
# Every fault campaign at its full size, two at a time: a line each when it ends, with what it printed, and the
# sum. Each is repeatable from the seed that it prints.
#   sh test/campaigns.sh
#   CUSTMEM_SEED=7 sh test/campaigns.sh            another run
#   CAMPAIGNS='power model' sh test/campaigns.sh   only these
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
CAMPAIGN_AT_ONCE=${CAMPAIGN_AT_ONCE:-2}
SANITIZER_CC=${SANITIZER_CC:-$(command -v clang || echo cc)}
export BUILD SANITIZER_CC
export CUSTMEM_FAULTS=all
export ASAN_OPTIONS="${ASAN_OPTIONS:-malloc_context_size=1:quarantine_size_mb=4}"
# Thousands of small files a second: in memory, where it can be.
[ -n "${TMPDIR:-}" ] || { [ -d /dev/shm ] && [ -w /dev/shm ] && export TMPDIR=/dev/shm; }

without_memory='opening_and_closing_without_memory reading_without_memory resolving_without_memory
  writing_without_memory'
on_a_failing_disk='checking_and_backup_without_memory opening_and_closing_on_a_failing_disk
  reading_on_a_failing_disk resolving_on_a_failing_disk writing_on_a_failing_disk
  checking_and_backup_on_a_failing_disk
  an_interrupt_at_any_moment_leaves_all_or_nothing
  a_commit_that_finds_no_room_in_the_index_is_of_unknown_outcome'
cuts='what_was_acknowledged_survives_every_power_cut the_cuts_find_what_synchronous_off_loses
  the_cuts_find_what_a_lying_disk_loses
  synchronous_normal_loses_acknowledged_writes_and_stays_consistent'
damaged_files='a_whole_file_breaks_no_promise_and_is_found_sound damaged_files_give_nobody_a_wrong_customer'
damaged_wals='damaged_wals_give_nobody_a_wrong_customer
  a_wal_that_ends_early_is_an_earlier_time_which_only_an_anchor_shows
  an_older_file_or_wal_is_shown_by_an_anchor_or_is_refused'
recoveries='a_crashed_store_recovers_whenever_memory_fails_meanwhile
  a_crashed_store_recovers_whenever_the_disk_fails_meanwhile'

# NAME CONFIGURATION PROGRAM TEST…: the longest first, but for one that runs while the sanitizers' SQLite is
# still being compiled.
campaigns() {
  echo memory asan test_faults $without_memory
  echo recovery plain test_power $recoveries
  echo wals asan test_damage $damaged_wals
  echo disk asan test_faults $on_a_failing_disk
  echo files asan test_damage $damaged_files
  echo kill plain test_kill
  echo model plain test_model
  echo power plain test_power $cuts
  echo tamper plain test_tamper
  echo full plain test_full
  echo threads tsan test_concurrency
  echo histories plain test_histories
  echo threads8 tsan test_histories what_threads_were_told_is_what_the_audit_says
}

wanted() {
  campaigns | while read -r name rest; do
    case " ${CAMPAIGNS:-$name} " in *" $name "*) echo "$name $rest" ;; esac
  done
}

directory() { # CONFIGURATION
  case $1 in plain) echo "$BUILD" ;; *) echo "$BUILD/$1" ;; esac
}

# Each configuration has its own objects; SQLite is compiled once for each. Leaves a mark when it is done.
build() { # CONFIGURATION
  programs=$(wanted | awk -v c="$1" '$2 == c { print $3 }' | sort -u)
  built=$(directory "$1")
  mark=$BUILD/campaigns/$1
  case $1 in
    plain) set -- ;;
    asan)
      set -- CC="$SANITIZER_CC" \
        SANITIZE='-O2 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all'
      ;;
    tsan) set -- CC="$SANITIZER_CC" SANITIZE='-O0 -g1 -fsanitize=thread' ;;
  esac
  # shellcheck disable=SC2086
  if make -s BUILD="$built" "$@" $(printf "$built/%s " $programs); then
    : > "$mark.built"
  else
    : > "$mark.failed"
  fi
}

# Waits until a configuration is built; fails if it cannot be.
wait_for() { # CONFIGURATION
  until [ -e "$BUILD/campaigns/$1.built" ]; do
    [ ! -e "$BUILD/campaigns/$1.failed" ] || return 1
    sleep 0.2
  done
}

run() { # NAME CONFIGURATION PROGRAM TEST…
  name=$1 configuration=$2 program=$3
  shift 3
  log=$BUILD/campaigns/$name.log
  if wait_for "$configuration"; then
    started=$(date +%s)
    TSAN_OPTIONS=halt_on_error=1:suppressions=.ci/tsan.txt \
      "$(directory "$configuration")/$program" "$@" > "$log" 2>&1 < /dev/null
    status=$?
  else
    echo "not built: $configuration" > "$log"
    status=1
  fi
  {
    if [ "$status" -eq 0 ]; then
      echo "ok      $name ($configuration, $(($(date +%s) - started)) s)"
      grep -a '^  .*seed [0-9]' "$log"
    else
      echo "FAILED  $name ($configuration, exit status $status): the end of $log"
      tail -n 30 "$log"
    fi
  } > "$log.told"
  cat "$log.told"
  [ "$status" -eq 0 ]
}

if [ "${1-}" = --run ]; then
  shift
  run "$@"
  exit
fi

for name in ${CAMPAIGNS:-}; do
  campaigns | grep -q "^$name " || { echo "campaigns.sh: there is no campaign $name" >&2; exit 2; }
done
mkdir -p "$BUILD/campaigns" && rm -f "$BUILD"/campaigns/* || exit 1
for configuration in $(wanted | cut -d ' ' -f 2 | sort -u); do
  build "$configuration" &
done
all=$(wanted | wc -l)
wanted | xargs -P "$CAMPAIGN_AT_ONCE" -L 1 sh test/campaigns.sh --run
passed=$(cat "$BUILD"/campaigns/*.told | grep -c '^ok ')
echo
echo "$passed passed, $((all - passed)) failed"
[ "$passed" -eq "$all" ]
