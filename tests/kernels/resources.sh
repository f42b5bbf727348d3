#!/usr/bin/env bash
# Fails where a kernel in a library keeps anything in local memory, on the stack or as spilled registers, and is not allowed to.
# resources.sh <cuobjdump> <library> <allow list>
# Exits with 77 where there is no cuobjdump, which some installations of the toolkit leave out.
set -euo pipefail
cuobjdump=$1 library=$2 allowed=$3

if ! command -v "$cuobjdump" >/dev/null; then
  echo "[resources] $cuobjdump is not there"
  exit 77
fi

usage=$("$cuobjdump" --dump-resource-usage "$library" 2>&1) || { printf '%s\n[resources] cuobjdump failed\n' "$usage"; exit 1; }
c++filt <<<"$usage" | LC_ALL=C awk -v allowed="$allowed" -v least=20 '
  function amount(name,    i, pair) {
    for (i = 1; i <= NF; i++) if (split($i, pair, ":") == 2 && pair[1] == name) return pair[2] + 0
    print "[resources] no " name " in: " $0; bad = 1
    return 0
  }
  BEGIN {
    while ((got = (getline line < allowed)) > 0) {
      if (line ~ /^#/ || line !~ /[^ ]/) continue
      split(line, words, " ")
      if (words[2] == "") { print "[resources] no reason given: " line; bad = 1 }
      patterns[words[1]] = 0
    }
    if (got < 0) { print "[resources] cannot read " allowed; bad = 1 }
  }
  $1 == "arch" { arch = $3 }
  $1 == "Function" { kernel = $0; sub(/^ *Function /, "", kernel); sub(/: *$/, "", kernel) }
  $1 ~ /^REG:/ && kernel != "" {
    archs[arch]; kernels[kernel]
    registers = amount("REG"); stack = amount("STACK"); local = amount("LOCAL")
    if (registers > most) { most = registers; of = kernel " on " arch }
    if (stack || local) {
      excused = 0
      for (pattern in patterns) if (kernel ~ pattern) { excused = 1; patterns[pattern]++ }
      if (!excused) { print "[resources] " arch ": STACK " stack ", LOCAL " local ": " kernel; bad = 1 }
    }
    kernel = ""
  }
  END {
    for (pattern in patterns) if (!patterns[pattern]) { print "[resources] allowed but not needed: " pattern; bad = 1 }
    for (kernel in kernels) count++
    for (arch in archs) list = list " " arch
    n = split(list, sorted, " ")
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (sorted[j] < sorted[i]) { t = sorted[i]; sorted[i] = sorted[j]; sorted[j] = t }
    list = ""
    for (i = 1; i <= n; i++) list = list " " sorted[i]
    printf "[resources] %d kernels on%s; most registers %d, %s\n", count, list, most, of
    if (count < least) { print "[resources] fewer than " least " kernels: the test looks in the wrong place"; bad = 1 }
    exit bad
  }'
