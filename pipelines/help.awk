# SPDX-License-Identifier: MIT
# Prints the variables of makefiles: each `NAME ?= default` with the lines of `## text` above it.
/^## / { text = text (text == "" ? "" : " ") substr($0, 4); next }
/^[A-Z_]+ \?=/ && text != "" && !seen[$1]++ {
    value = substr($0, index($0, "?=") + 2)
    gsub(/^ +| *\\$/, "", value)
    if (value ~ /^\$\(error/)
        note = " (needed)"
    else
        note = value == "" || value ~ /\$/ ? "" : " [" value "]"
    printf "%-13s %s%s\n", $1, text, note
}
{ text = "" }
