#!/bin/sh
# Coverage-guided fuzzing with clang's libFuzzer, ASan and UBSan: each target for some seconds, from the
# corpus that is kept. Needs clang, and on Debian libclang-rt-dev. Fails on any crash, leak, hang or broken promise,
# and then leaves the input that made it under $BUILD/fuzz.
#   sh test/fuzz.sh [SECONDS]            60 without
#   CUSTMEM_SEED=7 sh test/fuzz.sh 60    the same random numbers again
#   FUZZ_TARGETS='calls image' sh test/fuzz.sh
#   FUZZ_KEEP=1 sh test/fuzz.sh 60       and add to the corpus what found something new, minimised
set -u
cd "$(dirname "$0")/.." || exit 1
seconds=${1:-60}
BUILD=${BUILD:-build}
seed=${CUSTMEM_SEED:-$(($(date +%s) % 1000000 + 1))}
targets=${FUZZ_TARGETS:-normalize image calls payload}
source=${CUSTMEM_C:-custmem.c}
sanitize='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all'
out=$BUILD/fuzz
mkdir -p "$out" || exit 1
export ASAN_OPTIONS="${ASAN_OPTIONS:-malloc_context_size=4:quarantine_size_mb=16}"

# SQLite is not what is fuzzed: it has the sanitizers, and no coverage.
make -s "$BUILD/asan/sqlite3.o" CC=clang BUILD="$BUILD/asan" \
  SANITIZE='-O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all' ||
  exit 1

compile() { # OBJECT SOURCE [FLAG …]
  object=$1
  file=$2
  shift 2
  # shellcheck disable=SC2086
  clang -std=c11 -I. $sanitize -fsanitize=fuzzer-no-link "$@" -c "$file" -o "$out/$object.o"
}

compile custmem "$source" && compile shell "${CUSTMEM_SHELL_C:-shell.c}" -Dmain=shell_main || exit 1
for file in support memory_vfs damage whole_api; do
  compile "$file" "test/$file.c" || exit 1
done
compile directory test/fuzz/directory.c || exit 1

build() { # TARGET OBJECT …
  name=fuzz_$1
  shift
  compile "$name" "test/fuzz/$name.c" || return 1
  objects=
  for object in "$name" custmem directory "$@"; do objects="$objects $out/$object.o"; done
  # shellcheck disable=SC2086
  clang $sanitize -fsanitize=fuzzer $objects "$BUILD/asan/sqlite3.o" -lpthread -lm -o "$out/$name"
}

# The last line of libFuzzer's with the coverage, and its counts.
fuzz() { # TARGET LONGEST OPTION …
  name=$1
  longest=$2
  shift 2
  grown=$out/grown-$name
  kept=test/fuzz/corpus/$name
  mkdir -p "$grown" "$kept"
  log=$out/$name.log
  "$out/fuzz_$name" -max_total_time="$seconds" -seed="$seed" -max_len="$longest" -timeout=25 \
    -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$out/$name-" "$@" "$grown" "$kept" \
    > "$log" 2>&1 < /dev/null
  status=$?
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(grep -o 'cov: [0-9]* ft: [0-9]* corp: [0-9]*' "$log" | tail -n 1)
  if [ "$status" -ne 0 ]; then
    tail -n 40 "$log"
    echo "fuzz_$name: FAILED, seed $seed"
    return 1
  fi
  echo "fuzz_$name: $runs runs, seed $seed, $coverage, no fault"
  if [ -n "${FUZZ_KEEP:-}" ]; then
    rm -rf "$out/merged-$name"
    mkdir "$out/merged-$name"
    "$out/fuzz_$name" -set_cover_merge=1 -max_len="$longest" "$@" "$out/merged-$name" "$kept" "$grown" \
      > "$log" 2>&1 < /dev/null || return 1
    rm -rf "$kept"
    mv "$out/merged-$name" "$kept"
    rm -rf "$grown"
    echo "fuzz_$name: $(find "$kept" -type f | wc -l) inputs kept, $(du -sb "$kept" | cut -f 1) bytes"
  fi
}

failed=0
for target in $targets; do
  case $target in
    normalize) build normalize && fuzz normalize 600 ;;
    image) build image support memory_vfs damage whole_api && fuzz image 98 -len_control=0 ;;
    calls) build calls support memory_vfs && fuzz calls 400 -len_control=0 ;;
    payload)
      build payload memory_vfs shell &&
        fuzz payload 8192 -dict=test/fuzz/payload.dict -close_fd_mask=2
      ;;
    *) echo "fuzz.sh: no target $target" && false ;;
  esac || failed=1
done
exit "$failed"
