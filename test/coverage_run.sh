# What coverage.sh and coverage_mcdc.sh share, to be sourced by them: the test programs built over a custmem.o
# that counts, and run. BUILD is the directory; the tests are the arguments, or all.
mkdir -p "$BUILD" || exit 1
start=$(date +%s)
if [ $# -gt 0 ]; then tests=$*; else tests=$(cd test && ls test_*.c | sed 's/\.c$//'); fi
programs=
for test in $tests; do programs="$programs $BUILD/$test"; done

# The counts are kept where children that gave up their privileges can write them, too.
counts=$(mktemp -d) || exit 1
trap 'rm -rf "$counts"' EXIT
chmod 0777 "$counts"

# COMPILER FUNCTION FLAG: links the programs so that a child that ends by _exit calls FUNCTION, which writes
# down what it ran.
link_programs() {
  cat > "$BUILD/flush.c" <<END_OF_C
void $2(void);
void __real__exit(int status);
void __wrap__exit(int status);
void __wrap__exit(int status) {
  $2();
  __real__exit(status);
}
END_OF_C
  "$1" -O1 -c "$BUILD/flush.c" -o "$BUILD/flush.o" || exit 1
  if [ ! -f "$BUILD/sqlite3.o" ] && [ -f build/sqlite3.o ]; then cp build/sqlite3.o "$BUILD/"; fi
  # shellcheck disable=SC2086
  make -s CC="$1" BUILD="$BUILD" PROGRAM="$BUILD/custmem" CFLAGS='-O1 -g' \
    LDFLAGS="$3 -Wl,--wrap=_exit $BUILD/flush.o" "$BUILD/custmem" $programs || exit 1
}

run_program() { # PROGRAM [SHARE]
  CUSTMEM_SHELL="$BUILD/custmem" CUSTMEM_FAULTS="${2:-}" "$1" > "$1.log" 2>&1
  status=$?
  tail -n 1 "$1.log"
  if [ "$status" -ne 0 ]; then echo "${1##*/}: exit status $status"; fi
  return "$status"
}

# Runs every program; the fault tests go through all of their points, beside the others.
run_programs() {
  bad=0 faults=
  case " $programs " in *"/test_faults "*)
    run_program "$BUILD/test_faults" all &
    faults=$!
    ;;
  esac
  for program in $programs; do
    case $program in
      */test_faults) ;;
      *) run_program "$program" || bad=1 ;;
    esac
  done
  if [ -n "$faults" ]; then wait "$faults" || bad=1; fi
}
