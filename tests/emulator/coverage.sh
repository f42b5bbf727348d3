#!/usr/bin/env bash
# Line coverage of kernels/cuda/ by the tests that have run on the plain emulated build.
# coverage.sh <source folder> <least share in percent> <folder of instrumented objects>…
# Exits with 77 where no test has run yet, and fails below the least share.
set -euo pipefail
source=$1 least=$2
shift 2

mapfile -t notes < <(find "$@" -name '*.gcno' | sort)
if [ ${#notes[@]} -eq 0 ]; then
  echo "[coverage] no instrumented objects in: $*" >&2
  exit 1
fi
if [ -z "$(find "$@" -name '*.gcda' -print -quit)" ]; then
  echo "[coverage] no data yet: run the emulated tests first"
  exit 77
fi

cd "$source"
# Of an object that never ran gcov says that its data file is missing, and counts its lines as not run.
for note in "${notes[@]}"; do
  gcov --stdout --relative-only --source-prefix "$source" --object-directory "$(dirname "$note")" "$note" 2>/dev/null ||
    { echo "[coverage] gcov failed for $note" >&2; exit 1; }
done | LC_ALL=C awk -v least="$least" '
  # <times>: <line>:<text>, or Source: in line 0. A line of a template comes with its sum, then once an instantiation.
  { count = $0; sub(/:.*/, "", count); gsub(/ /, "", count)
    rest = $0; if (!sub(/^[^:]*:/, "", rest)) next
    line = rest; sub(/:.*/, "", line); gsub(/ /, "", line)
    if (line !~ /^[0-9]+$/) next }
  line == 0 { if (rest ~ /^ *0:Source:/) { file = rest; sub(/^ *0:Source:/, "", file); source++ }
              next }
  file !~ /^kernels\/cuda\// || count == "-" { next }
  seen[source, line]++ { next }
  { if (!((file, line) in times)) { lines[file]++; order[file, lines[file]] = line + 0; times[file, line] = 0 }
    if (count !~ /^[#=]/) times[file, line] = 1 }
  END {
    printf "%-46s %5s %5s %6s  %s\n", "file", "lines", "run", "share", "lines not run"
    for (file in lines) {
      run = 0; missed = ""
      for (i = 1; i <= lines[file]; i++) run += times[file, order[file, i]]
      for (line = 1; line < 10000 && lines[file] > run; line++)
        if ((file, line) in times && !times[file, line]) missed = missed " " line
      printf "%-46s %5d %5d %5.1f%% %s\n", file, lines[file], run, 100 * run / lines[file], missed | "sort"
      all += lines[file]; all_run += run
    }
    close("sort")
    if (!all) { print "[coverage] gcov named no line of kernels/cuda/"; exit 1 }
    share = 100 * all_run / all
    printf "%-46s %5d %5d %5.1f%%\n", "all", all, all_run, share
    if (share < least) { printf "[coverage] below %s%%\n", least; exit 1 }
  }'
