# Reads custmem.c, then what llvm-cov show -show-mcdc says of it; prints each condition that no two runs have
# shown to decide by itself, and the share of those that were. Exit status 0: at least `least` percent.
FNR == NR { text[FNR] = $0; next }

# A decision that several programs hold is told once for each: only the first is read.
/MC\/DC Decision Region \(/ {
  place = $0
  sub(/.*Region \(/, "", place)
  sub(/\).*/, "", place)
  known = place in seen
  seen[place] = 1
  decisions += !known
  next
}
/Condition C[0-9]+ --> \(/ {
  name = $0
  sub(/.*Condition /, "", name)
  at = name
  sub(/ .*/, "", name)
  sub(/.*\(/, "", at)
  sub(/\).*/, "", at)
  where[name] = at
  next
}
/C[0-9]+-Pair: / {
  if (known) next
  name = $0
  sub(/.* C/, "C", name)
  sub(/-Pair.*/, "", name)
  if ($0 ~ /constant folded/) next
  conditions++
  if ($0 ~ /not covered/) {
    line = where[name]
    sub(/:.*/, "", line)
    source = text[line]
    gsub(/^[ \t]+/, "", source)
    printf "not shown: %s: %s\n", where[name], source
  } else {
    shown++
  }
}
END {
  share = conditions > 0 ? 100 * shown / conditions : 0
  printf "custmem.c: MC/DC %d of %d conditions (%.2f %%) in %d decisions\n", shown, conditions, share, decisions
  exit !(share >= least)
}
