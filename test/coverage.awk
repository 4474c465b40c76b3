# Reads the list of what is left out, then gcov -b -c -t of custmem.c; prints every line and branch that
# was not taken and is not on the list. Exit status 0: there is none.
#
# A line of the list is
#   FUNCTION: TEXT OF THE LINE  # N: why
# where N is how many branches of that line are never taken, or `line`: it never runs at all.

function squeezed(text) {
  gsub(/[ \t]+/, " ", text)
  sub(/^ /, "", text)
  sub(/ $/, "", text)
  return text
}

function name_of(text) {
  sub(/\(.*/, "", text)
  sub(/.*[ *]/, "", text)
  return text
}

# A line that is said never to run has no branches that may be left out, once it does.
function left_out_branches(key) {
  return key in left_out && left_out[key] != "line" ? left_out[key] + 0 : 0
}

# Judges the line before: all of its branches are known.
function close_line() {
  if (number == "" || missed == 0) return
  key = name ": " squeezed(source)
  allowed = never_runs ? (key in left_out && left_out[key] == "line") : left_out_branches(key)
  used[key] = 1
  if (never_runs ? allowed : missed <= allowed) {
    excluded_lines += never_runs
    excluded_branches += never_runs ? 0 : missed
    return
  }
  uncovered++
  printf "not covered: %d: %s  # %s\n", number, key, never_runs ? "line" : missed
}

FILENAME != "-" {
  if ($0 ~ /^(#|$)/) next
  at = index($0, "  # ")
  rest = substr($0, at + 4)
  left_out[squeezed(substr($0, 1, at - 1))] = substr(rest, 1, index(rest, ":") - 1)
  next
}

/^branch/ {
  branches++
  if ($0 ~ /never executed/ || $0 ~ /taken 0( |$)/) {
    if (!never_runs) missed++
    else excluded_of_line++
  } else {
    taken++
  }
  next
}
/^(call|function|unconditional)/ { next }

/^ *[^:]*: *[0-9]+:/ {
  close_line()
  count = $0
  sub(/:.*/, "", count)
  gsub(/[ *]/, "", count)
  rest = $0
  sub(/^[^:]*: */, "", rest)
  number = rest
  sub(/:.*/, "", number)
  source = rest
  sub(/^[0-9]+:/, "", source)
  if (source ~ /^[a-z].*\(/ && source !~ /;$/) name = name_of(source)
  never_runs = count == "#####"
  missed = never_runs
  if (count ~ /^[0-9]+$/) covered++
  if (count ~ /^[0-9]+$/ || never_runs) lines++
}

END {
  close_line()
  for (key in left_out)
    if (!(key in used)) printf "no longer left out: %s\n", key
  printf "custmem.c: %d of %d lines, %d of %d branches; left out with a reason: %d lines, %d branches; %d not covered\n",
    covered, lines, taken, branches, excluded_lines, excluded_branches, uncovered
  exit uncovered > 0 || lines == 0
}
